"""Answers whose lengths are negative or longer than what there is: a named error for whoever asked, and nobody else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from geventcql.errors import DecodeError, FrameError
from geventcql.session import Session
from tests.driver.support import cluster_of, pooled, settled
from tests.support.fakenode import FakeNode, Opcode, Prepared, Rows
from tests.support.wire import int_, short

GOOD = Rows([("v", "text"), ("l", "list<int>")], [("a", [1, 2]), ("b", [3])])
# What stands where, counted from the end: two rows of which the second ends in a list of one int.
LAST_INT, LAST_LIST, LAST_TEXT, COUNT_OF_INTS, COUNT_OF_ROWS = -8, -16, -21, -12, -54
PLACES = (LAST_INT, LAST_LIST, LAST_TEXT, COUNT_OF_INTS, COUNT_OF_ROWS)
IN_ROWS = [
    (at, length)
    for at in PLACES
    for length in (-3, -(1 << 31), 1 << 20, (1 << 31) - 1)
    if at != LAST_LIST or length > 0  # a value of negative length is null, and nobody looks at what follows the last one
]


@pytest.fixture(params=[4, 5], ids=["v4", "v5"])
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with FakeNode(versions=[request.param]) as node:
        node.on("SELECT good", GOOD)
        yield node


@pytest.fixture
def session(node: FakeNode) -> Iterator[Session]:
    with cluster_of(node, protocol_version=node.versions[0]) as cluster:
        yield cluster.connect()


def test_where_the_lengths_are(session: Session, node: FakeNode) -> None:
    """What the tests overwrite is what they mean."""
    session.execute("SELECT good")
    _, body = GOOD.message(node.queries[0])
    found = [int.from_bytes(body[at:][:4], "big") for at in PLACES]
    assert found == [4, 12, 1, 1, 2]


@pytest.mark.parametrize(("at", "length"), IN_ROWS)
def test_rows(session: Session, node: FakeNode, at: int, length: int) -> None:
    node.on("SELECT odd", GOOD.overwrite(at, int_(length)))
    before = session.execute_async("SELECT good")
    odd = session.execute_async("SELECT odd")
    behind = session.execute_async("SELECT good")
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as raised:
            odd.result().all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20, "a length that is told is not to be believed"
    assert raised.value.host.address == node.host
    for good in (before, behind):
        assert [(row.v, row.l) for row in good.result()] == [("a", [1, 2]), ("b", [3])]
    assert node.accepted == 2 and settled(session)


@pytest.mark.parametrize("what", ["columns", "name", "type"])
def test_metadata(session: Session, node: FakeNode, what: str) -> None:
    """The number of columns; the length of the first one's name; that of the table's name."""
    at, raw = {"columns": (8, int_((1 << 31) - 1)), "name": (19, short(0xFFFF)), "type": (12, short(0xFFFF))}[what]
    node.on("SELECT odd", GOOD.overwrite(at, raw))
    with pytest.raises(DecodeError):
        session.execute("SELECT odd").all()
    assert len(session.execute("SELECT good").all()) == 2
    assert node.accepted == 2 and settled(session)


@pytest.mark.parametrize("what", ["id", "-1 parameters", "2147483647 parameters", "name"])
def test_prepared(session: Session, node: FakeNode, what: str) -> None:
    """The length of the id, the number of parameters, the length of the name of the last column."""
    statement = node.prepare("SELECT v FROM t WHERE k = ?", [("k", "int")], [("v", "int")])
    if "parameters" in what:
        at, raw = 44 if node.versions == (5,) else 26, int_(int(what.split()[0]))
    else:
        at, raw = {"id": 4, "name": -5}[what], short(0xFFFF)
    node.on(Opcode.PREPARE, Prepared(statement).overwrite(at, raw), times=1)
    with pytest.raises(FrameError):
        session.prepare(statement.text)
    assert session.prepare(statement.text).query_string == statement.text
    assert node.accepted == 2 and settled(session)


@pytest.mark.parametrize("length", [-1, (1 << 31) - 1, 300 << 20])
def test_frames(session: Session, node: FakeNode, length: int) -> None:
    """Longer than anything may be: the connection ends, and what is under way on it goes over the next."""

    node.on("SELECT odd", GOOD.claiming(length), times=1)
    [broken] = pooled(session)
    session.execute_async("SELECT odd").wait()
    assert broken.closed and "claims a body of" in str(broken.cause)
    assert str(length & 0xFFFFFFFF) in str(broken.cause)
    assert len(session.execute("SELECT good").all()) == 2
