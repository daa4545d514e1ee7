"""`python -m geventcql.cli` is the command `geventcql` (layer: facade)."""

from geventcql.cli.main import main

main()
