"""Which reply a fake node gives to which request: the test's rules first, then what every Cassandra answers.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .replies import (
    Error,
    ErrorCode,
    Handler,
    Prepared,
    Reply,
    Rows,
    SchemaChange,
    SetKeyspace,
    Void,
    statement_id,
)
from .requests import Request, Statement
from .wire import Opcode

if TYPE_CHECKING:
    from .server_connection import ServerConnection

Match = str | re.Pattern[str] | Opcode | Callable[[Request], bool]
Answer = Reply | Sequence[Reply] | Handler | None

_USE = re.compile(r'use\s+"?(\w+)"?\s*;?\s*$', re.IGNORECASE)
_DDL = re.compile(
    r"(?P<verb>create|alter|drop)\s+(?P<target>keyspace|table|type|index|function|aggregate|materialized\s+view)\s+"
    r'(?:if\s+(?:not\s+)?exists\s+)?(?:"?(?P<keyspace>\w+)"?\.)?"?(?P<name>\w+)"?',
    re.IGNORECASE,
)
_DML = re.compile(r"(insert|update|delete|truncate|begin|create|alter|drop|grant|revoke)\b", re.IGNORECASE)
_MARKER = re.compile(r"\?|:\w+")
_CHANGES = {"create": "CREATED", "alter": "UPDATED", "drop": "DROPPED"}


def normal(text: str) -> str:
    """A query text without differences in white space and without a closing semicolon."""
    return " ".join(text.split()).rstrip("; ")


class Matching:
    """Which requests a rule is for, and how often. `hits`: how many it was for so far; `remove()` ends it."""

    def __init__(self, match: Match, opcode: Opcode | None, times: int | None) -> None:
        self.hits = 0
        self._match = normal(match) if isinstance(match, str) else match
        self._opcode = opcode
        self._left = times
        self._removed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._match!r} hits {self.hits}>"

    @property
    def active(self) -> bool:
        return not self._removed and self._left != 0

    def remove(self) -> None:
        """Be for no further request."""
        self._removed = True

    def hit(self) -> None:
        """Note that it was for a request."""
        self.hits += 1
        if self._left is not None:
            self._left -= 1

    def matches(self, request: Request) -> bool:
        """Texts and patterns look at QUERY and EXECUTE, or at what `opcode` says (for BATCH: at any of its entries)."""
        if isinstance(self._match, Opcode):
            return request.opcode == self._match
        if self._opcode is not None and request.opcode != self._opcode:
            return False
        if not isinstance(self._match, (str, re.Pattern)):
            return self._match(request)
        if self._opcode is None and request.opcode not in (Opcode.QUERY, Opcode.EXECUTE):
            return False
        texts = [entry.text for entry in request.entries] if request.entries else [request.text]
        return any(text is not None and self._text_matches(text) for text in texts)

    def _text_matches(self, text: str) -> bool:
        if isinstance(self._match, re.Pattern):
            return self._match.search(text) is not None
        return self._match == normal(text)


class Rule(Matching):
    """One `node.on(...)`. `hits`: how many requests it has answered; `requests`: those; `remove()` ends it."""

    def __init__(self, match: Match, answer: Answer, opcode: Opcode | None, times: int | None) -> None:
        super().__init__(match, opcode, times)
        self.answer = answer
        self.requests: list[Request] = []

    def apply(self, request: Request, connection: ServerConnection) -> Reply | Sequence[Reply] | None:
        """The replies to a request that matched."""
        self.hit()
        if connection.node.record:
            self.requests.append(request)
        return self.answer(request, connection) if callable(self.answer) else self.answer


class Statements:
    """The statements a node can prepare and those it has prepared."""

    def __init__(self) -> None:
        self.declared: dict[str, Statement] = {}
        self.by_id: dict[bytes, Statement] = {}

    def declare(self, statement: Statement) -> None:
        """Replace what was declared (and prepared) for the same text: as ALTER TABLE does to prepared statements."""
        key = normal(statement.text)
        self.declared[key] = statement
        for known_id, known in list(self.by_id.items()):
            if normal(known.text) == key:
                self.by_id[known_id] = statement

    def prepare(self, request: Request, columns_of: Callable[[Request], Reply | None]) -> Reply:
        """Answer a PREPARE; `columns_of` tells what a text without declaration would be answered."""
        text = request.text or ""
        statement = self.declared.get(normal(text))
        if statement is None:
            if _MARKER.search(text):
                return Error(ErrorCode.INVALID, f"fake node: bind markers of {text!r} are not declared (node.prepare)")
            sample = columns_of(request)
            if isinstance(sample, Error):
                return sample
            statement = Statement(text, [], sample.columns if isinstance(sample, Rows) else None, [])
        self.by_id[statement_id(statement.text, request.effective_keyspace)] = statement
        return Prepared(statement)

    def resolve(self, request: Request) -> Reply | None:
        """Fill in the statements of an EXECUTE or BATCH; UNPREPARED for the first id that is not known."""
        if request.opcode == Opcode.EXECUTE and request.id is not None:
            request.statement = self.by_id.get(request.id)
            if request.statement is None:
                return _unprepared(request.id)
            request.text = request.statement.text
        for entry in request.entries:
            if entry.id is not None:
                entry.statement = self.by_id.get(entry.id)
                if entry.statement is None:
                    return _unprepared(entry.id)
                entry.text = entry.statement.text
        return None


def _unprepared(unknown: bytes) -> Reply:
    return Error(ErrorCode.UNPREPARED, f"Prepared query with ID {unknown.hex()} not found", id=unknown)


def default_answer(request: Request) -> Reply:
    """What a node without a rule for it answers to a QUERY, an EXECUTE or a BATCH (system tables apart)."""
    text = (request.text or "").strip()
    if request.opcode == Opcode.BATCH:
        return Void()
    if match := _USE.match(text):
        return SetKeyspace(match[1])
    if match := _DDL.match(text):
        return _schema_change(match, request)
    if request.statement is not None and request.statement.columns:
        return Rows()
    if _DML.match(text):
        return Void()
    return Error(ErrorCode.INVALID, f"fake node: no rule for {text!r}")


def _schema_change(match: re.Match[str], request: Request) -> Reply:
    change = _CHANGES[match["verb"].lower()]
    target = match["target"].upper()
    if target == "KEYSPACE":
        return SchemaChange(change, target, match["name"])
    keyspace = match["keyspace"] or request.effective_keyspace or "ks"
    if target not in ("TYPE", "FUNCTION", "AGGREGATE"):
        target = "TABLE"
    return SchemaChange(change, target, keyspace, match["name"])
