"""The subcommands of `geventcql` (layer: facade)."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from pathlib import Path

import click
import libcst

from geventcql._version import __version__
from geventcql.cli.files import is_settings, relevant_files
from geventcql.cli.rewriting import migrated
from geventcql.cli.settings import mentions

__all__ = ["cli"]

UNREADABLE = (
    OSError, RecursionError, SyntaxError, UnicodeDecodeError, libcst.CSTValidationError, libcst.ParserSyntaxError,
)  # fmt: skip
"""What a file may be refused for; the others go on. RecursionError: it is nested deeper than it can be looked through."""


@click.group()
@click.version_option(__version__, prog_name="geventcql")
def cli() -> None:
    """Tools of geventcql, the gevent-native driver for Cassandra and ScyllaDB."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--write", is_flag=True, help="Change the files, rather than showing what would be changed.")
@click.pass_context
def migrate(context: click.Context, paths: tuple[Path, ...], write: bool) -> None:
    """Have applications of cassandra-driver use geventcql: imports and what hangs on them, in PATHS, which are files or
    directories.

    Shows a diff, or with --write changes the files; then tells, as path:line, what there is no counterpart of, and where
    requirements and settings name cassandra-driver. Running it again changes nothing more.

    Exits with 0 if nothing is to be looked at, 1 if something is, 2 if a file cannot be read or written.
    """
    changed = problems = unreadable = 0
    for path in relevant_files(paths):
        try:
            before = path.read_bytes()
            if b"cassandra" not in before.lower():
                continue
            after, found = (before, list(mentions(before.decode()))) if is_settings(path) else migrated(before)
            if write and after != before:
                _replace(path, after)
        except UNREADABLE as error:
            click.echo(f"{path}: cannot be changed: {' '.join(str(error).split())}", err=True)
            unreadable += 1
            continue
        if after != before:
            changed += 1
            if write:
                click.echo(f"changed {path}")
            else:
                click.echo(_diff(path, before, after), nl=False)
        for line, text in found:
            click.echo(f"{path}:{line}: {text}", err=True)
        problems += len(found)
    done = "changed" if write else "to be changed (--write does it)"
    click.echo(f"{changed} files {done}, {problems} places to be looked at, {unreadable} files left out", err=True)
    context.exit(2 if unreadable else 1 if problems else 0)


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, whatever happens; a link stays one."""
    target = path.resolve()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as new:
        try:
            new.write(content)
            new.flush()
            shutil.copymode(target, new.name)
            os.replace(new.name, target)
        except BaseException:
            os.unlink(new.name)
            raise


def _diff(path: Path, before: bytes, after: bytes) -> str:
    old, new = (text.decode(errors="replace").splitlines(keepends=True) for text in (before, after))
    lines = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
