"""Import statements that fall into several (layer: facade): each takes its names along, with the comments that are theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

__all__ = ["statement_for"]


def statement_for(module: str, aliases: Sequence[cst.ImportAlias], original: cst.ImportFrom) -> cst.ImportFrom:
    """What imports some of an import's names from another module.

    Where they have comments, or the first of them began the original and that had line breaks, there is one name in a line;
    else all are in one.

    :param aliases: some of the names of ``original``
    """
    comments = dict(_comments(original))
    names = [cst.Module([]).code_for_node(alias.with_changes(comma=cst.MaybeSentinel.DEFAULT)).strip() for alias in aliases]
    ours = [comments.get(alias, ([], "")) for alias in aliases]
    is_first = original.names[0] is aliases[0]  # type: ignore[index]
    if not any(above or beside for above, beside in ours) and not (is_first and _is_broken(original)):
        return _parsed(f"from {module} import {', '.join(names)}")
    lines = []
    for name, (above, beside) in zip(names, ours, strict=True):
        lines += [*above, f"{name},{beside and '  '}{beside}"]
    return _parsed("".join([f"from {module} import (\n", *(f"    {line}\n" for line in lines), ")"]))


def _parsed(text: str) -> cst.ImportFrom:
    line = cst.ensure_type(cst.parse_statement(text), cst.SimpleStatementLine)
    return cst.ensure_type(line.body[0], cst.ImportFrom)


def _is_broken(node: cst.ImportFrom) -> bool:
    """Whether its names stand in lines of their own."""
    return node.lpar is not None and isinstance(node.lpar.whitespace_after, cst.ParenthesizedWhitespace)


def _comments(node: cst.ImportFrom) -> Iterator[tuple[cst.ImportAlias, tuple[list[str], str]]]:
    """For each name of an import the comments in the lines above it, and the one beside it. What is below the last name counts
    as above it.
    """
    aliases = [] if isinstance(node.names, cst.ImportStar) else list(node.names)
    between = [
        node.lpar.whitespace_after if node.lpar is not None else None,
        *(alias.comma.whitespace_after if isinstance(alias.comma, cst.Comma) else None for alias in aliases),
    ]
    end = _comments_of(node.rpar.whitespace_before if node.rpar is not None else None)  # unless a comma is before it
    found = [_comments_of(space) for space in between]
    for number, alias in enumerate(aliases):
        beside, _ = found[number + 1]
        _, above = found[number]
        if number == 0 and found[0][0]:  # beside the opening parenthesis
            above = [found[0][0], *above]
        if number == len(aliases) - 1:
            beside = beside or end[0]
            above = [*above, *found[number + 1][1], *end[1]]
        yield alias, (above, beside)


def _comments_of(space: cst.BaseParenthesizableWhitespace | None) -> tuple[str, list[str]]:
    """The comment in the first line of white space, and those in lines of their own."""
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return "", []
    first = space.first_line.comment
    return first.value if first else "", [line.comment.value for line in space.empty_lines if line.comment]
