"""The tests: a package, so that no directory of it can become importable under its bare name."""
