"""The entry point of the command `geventcql` (layer: facade)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; its packages are optional, so that they are missed here first."""
    try:
        from geventcql.cli.commands import cli
    except ModuleNotFoundError as error:
        if error.name not in ("click", "libcst"):
            raise
        sys.exit(f"geventcql: the package {error.name} is missing: pip install 'geventcql[cli]'")
    cli()
