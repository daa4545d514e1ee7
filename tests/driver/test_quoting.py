"""Names are quoted wherever they get into CQL: whatever is in them, it stays a name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from geventcql.errors import InvalidRequest, UserTypeDoesNotExist
from geventcql.metadata import protect_name
from geventcql.query import SimpleStatement
from tests.driver.support import cluster_of, have_keyspaces
from tests.support.fakenode import FakeNode, Opcode, Request, Rows, SetKeyspace

NAMES = [
    'we"ird; DROP KEYSPACE x', "a'b", "Quoted", "select", "ключ 鍵", "a b\n--c", "x/*", "%s", "1st", '"', "'; USE other; --",
]  # fmt: skip
WHERE = "SELECT v FROM t"
_NAME = re.compile(r'USE (?:"((?:[^"]|"")+)"|([a-z]\w*))', re.ASCII)
_LITERAL = r"'((?:[^']|'')*)'"
_BY_NAME = re.compile(
    rf"SELECT \w+ FROM system_schema\.(\w+) WHERE keyspace_name = {_LITERAL}(?: AND type_name = {_LITERAL})?"
)


def unquoted(text: str) -> str | None:
    """The keyspace of a USE that is one statement, read by the rules of the grammar alone."""
    match = _NAME.fullmatch(text)
    return None if match is None else match[1].replace('""', '"') if match[1] else match[2]


@pytest.fixture(params=[4, 5])
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    """It knows its keyspaces and their user types by their names exactly, and understands nothing that it was not told."""
    with FakeNode(versions=[request.param]) as started:
        have_keyspaces(started, *NAMES)

        def use(asked: Request, connection: object) -> SetKeyspace:
            name = unquoted(asked.text or "")
            assert name in NAMES, asked.text
            return SetKeyspace(name)

        def select(asked: Request, connection: object) -> Rows:
            match = _BY_NAME.fullmatch((asked.text or "").strip())
            assert match is not None, asked.text
            keyspace, type_name = (name and name.replace("''", "'") for name in match.groups()[1:])
            there = keyspace in NAMES and type_name in (None, *NAMES)
            return Rows([("keyspace_name", "text")], [(keyspace,)] * there) if match[1] == "keyspaces" else Rows(
                [("field_names", "list<text>")], [(["a"],)] * there
            )

        started.on(re.compile(r"^\s*USE", re.IGNORECASE), use)
        started.on(re.compile(r"system_schema\.(keyspaces|types)\s+WHERE"), select)
        started.on(WHERE, lambda asked, connection: Rows([("v", "text")], [(asked.effective_keyspace,)]))
        yield started


@pytest.mark.parametrize("name", NAMES)
def test_keyspaces_of_any_name(node: FakeNode, name: str) -> None:
    with cluster_of(node) as cluster:
        session = cluster.connect(name)
        assert session.keyspace == name and session.execute(WHERE).one() == (name,)
        other = cluster.connect()
        other.set_keyspace(name)
        assert other.execute(WHERE).one() == (name,)
        third = cluster.connect()
        third.execute(f"USE {protect_name(name)}")
        assert third.keyspace == name and third.execute(WHERE).one() == (name,)
        third.prepare(WHERE)
        assert [r.effective_keyspace for r in node.requests if r.opcode == Opcode.PREPARE] == [name]
        if node.versions == (5,):
            assert cluster.connect().execute(SimpleStatement(WHERE, keyspace=name)).one() == (name,)
    for request in node.requests:
        assert "DROP" not in (request.text or "") or name in (request.text or "").replace('""', '"').replace("''", "'")


@pytest.mark.parametrize("name", ['we"ird', "x; USE alpha", 'Quoted"; DROP KEYSPACE "Quoted', ""])
def test_a_name_that_is_no_keyspace_is_no_statement(node: FakeNode, name: str) -> None:
    with cluster_of(node) as cluster:
        session = cluster.connect("Quoted")
        with pytest.raises(InvalidRequest):
            session.set_keyspace(name)
        assert session.execute(WHERE).one() == ("Quoted",)


@pytest.mark.parametrize("name", NAMES)
def test_user_types_of_any_name(node: FakeNode, name: str) -> None:
    with cluster_of(node) as cluster:
        cluster.connect()
        cluster.register_user_type(name, name, dict)
        with pytest.raises(UserTypeDoesNotExist):
            cluster.register_user_type(name, "x' OR type_name = 'y", dict)
        with pytest.raises(UserTypeDoesNotExist):
            cluster.register_user_type("x' OR '1' = '1", name, dict)
