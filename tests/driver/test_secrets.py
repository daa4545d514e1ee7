"""No password, token or value gets into what people read: log lines of any level, reprs, texts of errors. Bound values are
told where they are asked for by name.
"""

from __future__ import annotations

import logging
import re
from typing import Any
from uuid import UUID

import pytest

import geventcql
from geventcql.auth import PlainTextAuthProvider, SaslAuthProvider
from geventcql.errors import EncodeError, InvalidRequest
from geventcql.query import BatchStatement, BoundStatement, SimpleStatement
from geventcql.session import Session
from geventcql.showing import shown_cql, shown_words
from geventcql.trace import QueryTrace
from tests.driver.support import cluster_of, outcome
from tests.support.fakenode import AuthChallenge, Authenticate, AuthSuccess, Error, ErrorCode, FakeNode, Opcode, Rows, Void

pytestmark = pytest.mark.logs("WARNING ", r"ERROR control connection: .* sent a challenge")

SECRET = "hunter2"
TEXT = "INSERT INTO t (k, v) VALUES (?, ?)"
LITERAL = f"INSERT INTO t (k, v) VALUES (1, '{SECRET}')"
ROLE = f"ALTER ROLE ada WITH PASSWORD = '{SECRET}'"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def tells_nothing(*things: Any) -> None:
    for thing in things:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert SECRET not in text and SECRET.encode().hex() not in text, text


def test_all_that_a_request_goes_through(caplog: pytest.LogCaptureFixture) -> None:
    """Credentials, values and literals, over requests that succeed and fail."""
    with FakeNode(auth={"ada": SECRET}) as node:
        node.on(TEXT, Void().with_warnings("careful"), binds=[("k", "int"), ("v", "text")], pk_indexes=[0])
        node.on(LITERAL, Void().with_warnings("careful"))
        node.on(ROLE, Error(ErrorCode.INVALID, "ada is not known"))
        provider = PlainTextAuthProvider("ada", SECRET)
        with cluster_of(node, auth_provider=provider, metrics_enabled=True) as cluster:
            session = cluster.connect()
            prepared = session.prepare(TEXT)
            bound = prepared.bind((1, SECRET))
            batch = BatchStatement(session=session).add(prepared, (1, SECRET))
            batch.add("INSERT INTO t (k, v) VALUES (1, %s)", (SECRET,))
            futures = [session.execute_async(what) for what in (bound, LITERAL, SimpleStatement(LITERAL), batch)]
            futures.append(session.execute_async(prepared, (1, SECRET)))
            futures.append(session.execute_async("INSERT INTO t (k, v) VALUES (1, %s)", (SECRET,)))
            for future in futures:
                future.exception  # noqa: B018  waits
                tells_nothing(future, future._execution, future._execution.resolved, outcome(future.result))
            role = session.execute_async(ROLE)
            assert isinstance(outcome(role.result), InvalidRequest)
            things = (cluster, session, provider, provider.new_authenticator("x"), session.get_pools(), cluster.metrics, role)
            tells_nothing(*things, outcome(role.result), batch, bound, prepared, SimpleStatement(ROLE))
            for pool in session.get_pools():
                tells_nothing(*pool.connections)
    assert caplog.records and SECRET not in caplog.text


@pytest.mark.parametrize(
    "kind",
    ["int", "decimal", "inet", "uuid", "date", "time", "duration", "boolean", "double", "list<date>", "tuple<int>",
     "map<text, time>", "set<inet>", "vector<float, 2>", "timestamp", "blob"],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_not_shown(kind: str, session: Session, node: FakeNode) -> None:
    node.prepare("SELECT v FROM t WHERE v = ?", [("v", kind)])
    prepared = session.prepare("SELECT v FROM t WHERE v = ?")
    for value in (SECRET, [SECRET], {SECRET: 1}):
        error = outcome(lambda value=value: prepared.bind([value]))  # type: ignore[misc]
        if not isinstance(error, BoundStatement):
            assert isinstance(error, EncodeError) and error.value is value
            assert f"'v' as {prepared.bind_columns[0].type.name}: a value of type {type(value).__name__}" in str(error)
            tells_nothing(error)
    tells_nothing(outcome(lambda: session.execute((SECRET,))), outcome(lambda: BatchStatement().add([SECRET])))  # type: ignore[arg-type]


def test_tokens_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """Its challenges and its last word."""
    token = SECRET.encode()
    for answer in (AuthChallenge(token), AuthSuccess(token), Authenticate(f"{SECRET}Authenticator")):
        with FakeNode(auth=lambda request, connection, answer=answer: answer) as node:
            error = outcome(lambda node=node: geventcql.connect(  # type: ignore[misc]
                [node.host], port=node.port, connect_timeout=0.5, auth_provider=PlainTextAuthProvider("ada", SECRET)
            ))  # fmt: skip
            if isinstance(error, Session):
                error.cluster.shutdown()
            elif not isinstance(answer, Authenticate):
                tells_nothing(error)
    assert caplog.records and not re.search(f"{SECRET}(?!Authenticator)", caplog.text)


def test_sasl() -> None:
    provider = SaslAuthProvider(service="cassandra", mechanism="PLAIN", username="ada", password=SECRET)
    tells_nothing(provider, provider.new_authenticator("127.0.0.1"))


def test_a_trace(session: Session) -> None:
    trace = QueryTrace(UUID(int=1))
    trace.parameters = {"query": ROLE, "bound_var_0_v": SECRET}
    tells_nothing(trace)
    assert "bound_var_0_v" in repr(trace) and trace.parameters["bound_var_0_v"] == SECRET


def test_ever_new_texts(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """A text with literals is an example of what should not be prepared; the warning shows it without them."""
    with cluster_of(node, prepared_cache_size=2) as cluster:
        session = cluster.connect()
        for number in range(3):
            node.prepare(f"INSERT INTO t (k, v) VALUES ({number}, '{SECRET}')")
            session.prepare(f"INSERT INTO t (k, v) VALUES ({number}, '{SECRET}')")
    assert "the last one \"INSERT INTO t (k, v) VALUES (2, '...')\"" in caplog.text and SECRET not in caplog.text


def test_a_prepare_that_is_answered_otherwise(session: Session, node: FakeNode) -> None:
    node.on(LITERAL, Rows([("v", "int")], []), opcode=Opcode.PREPARE)
    error = outcome(lambda: session.prepare(LITERAL))
    assert "answered PREPARE with" in str(error)
    tells_nothing(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT 1", "SELECT 1"),
        ("", ""),
        (None, ""),
        ("a = 'x''y' AND b = 'z'", "a = '...' AND b = '...'"),
        ("a = ''", "a = '...'"),
        ('"it\'s" = \'x\'', '"it\'s" = \'...\''),
        ('"a""b" = \'x\'', '"a""b" = \'...\''),
        ("'never ends", "'...'"),
        ("$$ it's $$, 0xCAFE, 0x, cafe0x1", "'...', '...', 0x, cafe0x1"),
        ("$$ never ends", "'...'"),
        ("-- don't\nx = 'a' // it's\ny = 'b'", "--\nx = '...' --\ny = '...'"),
        ("/* 5\" */ x = 'my\"own' /* never ends", "-- x = '...' --"),
        ("'-- no comment' AND \"// none\" = 1", "'...' AND \"// none\" = 1"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500 + "..."),
        ("'" + "x" * 100_000 + "' tail", "'...'..."),
    ],
)
def test_statements_are_shown_without_literals(text: str | None, shown: str) -> None:
    assert shown_cql(text) == shown


def test_words_of_a_server() -> None:
    assert shown_words([]) == "" and shown_words(["a", "b"]) == "a; b"
    assert shown_words(["schön\r\n\t\x1b[31m\ud800"]) == r"schön\r\n\t\x1b[31m\ud800"
    assert shown_words(["x" * 1001] * 11) == "; ".join(["x" * 1000 + "..."] * 10) + "; and 1 more"
