"""The command `geventcql` (layer: facade): what is done from a shell. Needs the extra `cli`."""
