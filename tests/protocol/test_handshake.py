"""Handshakes as dialogues: what the client sends, what the server answers, how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from geventcql._version import __version__
from geventcql.errors import (
    AuthenticationFailed,
    BadCredentials,
    ConnectionException,
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ProtocolError,
    ProtocolException,
    ProtocolVersionUnsupported,
    ServerError,
)
from geventcql.protocol.constants import Opcode
from geventcql.protocol.handshake import Handshake, negotiate, startup_identity
from geventcql.protocol.responses import (
    AuthChallenge,
    Authenticate,
    AuthSuccess,
    Event,
    Message,
    Ready,
    Supported,
    Void,
)
from tests.protocol import octets as o

PLAIN = "org.apache.cassandra.auth.PasswordAuthenticator"
WANTS_PLAIN = Authenticate(PLAIN)

# What real servers say: Cassandra 2.1, 3.11 (v5 was its beta), 4.0, 5.0, and ScyllaDB.
UNSUPPORTED_21 = "Invalid or unsupported protocol version: 5"
UNSUPPORTED_30 = "Invalid or unsupported protocol version (5); the lowest supported version is 3 and the greatest is 4"
BETA_311 = "Beta version of the protocol used (5/v5-beta), but USE_BETA flag is unset"
LISTED_311 = "Invalid or unsupported protocol version (66); supported versions are (3/v3, 4/v4, 5/v5-beta)"
LISTED_40 = "Invalid or unsupported protocol version (66); supported versions are (3/v3, 4/v4, 5/v5, 6/v6-beta)"


class Script:
    """An authenticator that answers from a list and remembers what it was asked."""

    server_authenticator_class: str | None = None

    def __init__(self, *answers: bytes | str | None) -> None:
        self.answers = list(answers)
        self.challenges: list[bytes | None] = []
        self.success: list[bytes | None] = []

    def initial_response(self) -> bytes | str | None:
        assert self.server_authenticator_class is not None
        return self.answers.pop(0)

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | str | None:
        self.challenges.append(challenge)
        return self.answers.pop(0)

    def on_authentication_success(self, token: bytes | None) -> None:
        self.success.append(token)


def startup(**options: str) -> tuple[int, bytes]:
    """STARTUP with these options, in this order."""
    return Opcode.STARTUP, o.b2(len(options)) + b"".join(o.text(k) + o.text(v) for k, v in options.items())


def answer(token: bytes) -> tuple[int, bytes]:
    """AUTH_RESPONSE."""
    return Opcode.AUTH_RESPONSE, o.blob(token)


OPTIONS = (Opcode.OPTIONS, b"")
CQL = {"CQL_VERSION": "3.0.0"}

# (name, version, arguments, the dialogue: request, answer, request, answer ...)
DIALOGUES: list[tuple[str, int, dict[str, Any], list[Any]]] = [
    ("plain", 4, {}, [startup(**CQL), Ready()]),
    ("the server's version of CQL", 4, {"cql_version": "3.4.7"}, [startup(CQL_VERSION="3.4.7"), Ready()]),
    ("no compact", 3, {"no_compact": True}, [startup(**CQL, NO_COMPACT="true"), Ready()]),
    (
        "options of the application",
        5,
        {"startup_options": {"APPLICATION_NAME": "shop", "THROW_ON_OVERLOAD": "1"}},
        [startup(APPLICATION_NAME="shop", THROW_ON_OVERLOAD="1", **CQL), Ready()],
    ),
    ("options asked for", 4, {"ask_options": True}, [OPTIONS, Supported({}), startup(**CQL), Ready()]),
    (
        "lz4",
        4,
        {"compression": ("lz4", "snappy")},
        [OPTIONS, Supported({"COMPRESSION": ["snappy", "lz4"]}), startup(**CQL, COMPRESSION="lz4"), Ready()],
    ),
    (
        "the second choice",
        3,
        {"compression": ("lz4", "snappy")},
        [OPTIONS, Supported({"COMPRESSION": ["snappy"]}), startup(**CQL, COMPRESSION="snappy"), Ready()],
    ),
    (
        "nothing in common",
        4,
        {"compression": ("snappy",)},
        [OPTIONS, Supported({"COMPRESSION": ["zstd"]}), startup(**CQL), Ready()],
    ),
    ("no word of compression", 4, {"compression": ("lz4",)}, [OPTIONS, Supported({}), startup(**CQL), Ready()]),
    ("v5 has no snappy, so nothing is asked", 5, {"compression": ("snappy",)}, [startup(**CQL), Ready()]),
    (
        "v5 takes lz4 though snappy is the first choice",
        5,
        {"compression": ("snappy", "lz4")},
        [OPTIONS, Supported({"COMPRESSION": ["snappy", "lz4"]}), startup(**CQL, COMPRESSION="lz4"), Ready()],
    ),
    (
        "password",
        4,
        {"authenticator": Script(b"\x00user\x00pw")},
        [startup(**CQL), WANTS_PLAIN, answer(b"\x00user\x00pw"), AuthSuccess(None)],
    ),
    (
        "text counts as UTF-8",
        4,
        {"authenticator": Script("\x00usér\x00pw")},
        [startup(**CQL), WANTS_PLAIN, answer("\x00usér\x00pw".encode()), AuthSuccess(b"")],
    ),
    (
        "many steps",
        5,
        {"authenticator": Script(None, b"two", None, "four")},
        [
            startup(**CQL),
            WANTS_PLAIN,
            answer(b""),
            AuthChallenge(b"1"),
            answer(b"two"),
            AuthChallenge(None),
            answer(b""),
            AuthChallenge(b"3"),
            answer(b"four"),
            AuthSuccess(b"bye"),
        ],
    ),
    (
        "credentials that nobody asks for",
        4,
        {"authenticator": Script()},
        [startup(**CQL), Ready()],
    ),
    (
        "compression and password",
        4,
        {"compression": ("lz4",), "authenticator": Script(b"x")},
        [
            OPTIONS,
            Supported({"COMPRESSION": ["lz4"]}),
            startup(**CQL, COMPRESSION="lz4"),
            WANTS_PLAIN,
            answer(b"x"),
            AuthSuccess(None),
        ],
    ),
]


def handshake_of(version: int, arguments: dict[str, Any]) -> Handshake:
    """A handshake whose authenticator is made from a script."""
    arguments = {"endpoint": "127.0.0.1:9042", **arguments}
    script = arguments.get("authenticator")
    if script is not None:
        arguments["authenticator"] = lambda server_class: script
    return Handshake(version, **arguments)


@pytest.mark.parametrize(("name", "version", "arguments", "dialogue"), DIALOGUES, ids=[case[0] for case in DIALOGUES])
def test_dialogues_that_end_well(name: str, version: int, arguments: dict[str, Any], dialogue: list[Any]) -> None:
    handshake = handshake_of(version, arguments)
    assert repr(handshake) == f"<Handshake v{version} with 127.0.0.1:9042: new>"
    request: tuple[int, bytes] | None = handshake.start()
    for wanted, reply in zip(dialogue[::2], dialogue[1::2], strict=True):
        assert request == wanted
        assert not handshake.done
        before_start = not handshake.started
        request = handshake.receive(reply)
        # v5 switches to segments exactly when READY or AUTHENTICATE has arrived.
        assert handshake.segmented is (version == 5 and handshake.started)
        assert handshake.started is (isinstance(reply, (Ready, Authenticate)) or not before_start)
    assert request is None
    assert handshake.done
    requested = next(body for opcode, body in dialogue[::2] if opcode == Opcode.STARTUP)
    assert (handshake.compression is not None) is (b"COMPRESSION" in requested)
    if handshake.compression:
        assert requested.endswith(o.text("COMPRESSION") + o.text(handshake.compression))
    supported = [reply.options for reply in dialogue[1::2] if isinstance(reply, Supported)]
    assert handshake.supported == (supported[0] if supported else None)


def test_the_authenticator_learns_the_servers_class_challenges_and_success() -> None:
    script = Script(b"1", b"2")
    classes: list[str] = []

    def make(server_class: str) -> Script:
        classes.append(server_class)
        return script

    handshake = Handshake(4, authenticator=make)
    handshake.start()
    handshake.receive(WANTS_PLAIN)
    handshake.receive(AuthChallenge(b"why"))
    handshake.receive(AuthSuccess(b"token"))
    assert classes == [PLAIN]
    assert script.server_authenticator_class == handshake.server_authenticator == PLAIN
    assert (script.challenges, script.success) == ([b"why"], [b"token"])


def test_without_credentials_the_error_says_what_to_configure() -> None:
    handshake = handshake_of(4, {})
    handshake.start()
    words = r"127\.0\.0\.1:9042 wants.*PasswordAuthenticator.*auth_provider"
    with pytest.raises(AuthenticationFailed, match=words) as info:
        handshake.receive(WANTS_PLAIN)
    assert info.value.host == "127.0.0.1:9042"
    assert not handshake.done


@pytest.mark.parametrize("steps", [0, 1])
def test_refused_credentials(steps: int) -> None:
    error = BadCredentials(0x100, "wrong password")
    handshake = handshake_of(5, {"authenticator": Script(b"1", b"2")})
    handshake.start()
    handshake.receive(WANTS_PLAIN)
    for _ in range(steps):
        handshake.receive(AuthChallenge(b""))
    words = r"127\.0\.0\.1:9042 \(org.*PasswordAuthenticator\) refused.*Script.*wrong password.*auth_provider"
    with pytest.raises(AuthenticationFailed, match=words) as info:
        handshake.receive(error)
    assert info.value.__cause__ is error
    assert not handshake.done


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        ServerError(0, "too much"),
        ProtocolException(0xA, "Invalid or unsupported protocol version: too much"),
        OverloadedErrorMessage(0x1001, "too much"),
        IsBootstrappingErrorMessage(0x1002, "too much"),
    ],
)
def test_errors_that_tell_nothing_of_the_credentials(error: ErrorMessage, steps: int) -> None:
    """The version is settled by then, too: there is no other to be tried."""
    handshake = handshake_of(5, {"authenticator": Script(b"1", b"2")})
    handshake.start()
    handshake.receive(WANTS_PLAIN)
    for _ in range(steps):
        handshake.receive(AuthChallenge(b""))
    with pytest.raises(ConnectionException, match=r"127\.0\.0\.1:9042 in state 'auth'.*too much") as info:
        handshake.receive(error, 4)
    assert type(info.value) is ConnectionException
    assert info.value.__cause__ is error
    assert not handshake.done


def test_bad_credentials_without_a_question() -> None:
    handshake = handshake_of(4, {})
    handshake.start()
    with pytest.raises(AuthenticationFailed, match="unknown authenticator"):
        handshake.receive(BadCredentials(0x100, "no"))


@pytest.mark.parametrize(("ask", "state"), [(True, "options"), (False, "startup")])
def test_any_other_error_is_a_connection_that_failed(ask: bool, state: str) -> None:
    handshake = handshake_of(4, {"ask_options": ask})
    handshake.start()
    error = OverloadedErrorMessage(0x1001, "too much")
    with pytest.raises(ConnectionException, match=f"127.*'{state}'.*code=1001.*too much") as info:
        handshake.receive(error, 4)
    assert type(info.value) is ConnectionException
    assert info.value.endpoint == "127.0.0.1:9042"
    assert info.value.__cause__ is error


VERSION_ANSWERS = [
    # (version asked, text, version of the answer's header, version to try next)
    (5, UNSUPPORTED_21, 3, 3),
    (5, UNSUPPORTED_21, 4, 4),
    (5, UNSUPPORTED_21, 5, 4),
    (5, UNSUPPORTED_21, None, 4),
    (5, UNSUPPORTED_30, 4, 4),
    (4, UNSUPPORTED_21.replace("5", "4"), None, 3),
    (3, UNSUPPORTED_21.replace("5", "3"), None, 0),
    (3, UNSUPPORTED_21.replace("5", "3"), 2, 0),
    (5, BETA_311, 5, 4),
    (5, BETA_311, 4, 4),
    (5, BETA_311, None, 4),
    (5, LISTED_311, 4, 4),
    (5, LISTED_311, 5, 4),
    (66, LISTED_311, 5, 4),
    (66, LISTED_40, None, 5),
    (66, LISTED_40, 4, 5),
    (3, LISTED_40, 4, 0),
    (5, "Invalid or unsupported protocol version (5); supported versions are (3/v3)", 4, 3),
    (5, "unheard of", 4, 4),
    (5, "unheard of", 1, 0),
]


@pytest.mark.parametrize(("version", "text", "header", "following"), VERSION_ANSWERS)
def test_negotiation(version: int, text: str, header: int | None, following: int) -> None:
    error = ProtocolException(0x0A, text)
    assert negotiate(version, error, header) == following
    handshake = handshake_of(version, {})
    handshake.start()
    with pytest.raises(ProtocolVersionUnsupported) as info:
        handshake.receive(error, header)
    assert (info.value.startup_version, info.value.next_version) == (version, following)
    assert text in str(info.value) and "127.0.0.1:9042" in str(info.value)
    assert info.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ProtocolException(0x0A, "Unexpected message QUERY, expecting STARTUP or OPTIONS"),
        ServerError(0, UNSUPPORTED_21),
        OverloadedErrorMessage(0x1001, "busy"),
    ],
)
def test_what_is_not_about_the_version(error: ErrorMessage) -> None:
    assert negotiate(5, error, 5) is None
    assert negotiate(5, error, None) is None


@pytest.mark.parametrize(
    ("answers", "tried"),
    [
        ({5: (LISTED_311, 4)}, [5, 4]),
        ({5: (BETA_311, 5)}, [5, 4]),
        ({5: (UNSUPPORTED_21, 5), 4: (UNSUPPORTED_21, 4)}, [5, 4, 3]),
        ({5: (UNSUPPORTED_21, 3)}, [5, 3]),
    ],
)
def test_stepping_down_to_what_the_server_speaks(answers: dict[int, tuple[str, int]], tried: list[int]) -> None:
    version, seen = 5, []
    while True:
        seen.append(version)
        handshake = handshake_of(version, {})
        handshake.start()
        if version not in answers:
            assert handshake.receive(Ready(), version) is None
            break
        text, header = answers[version]
        with pytest.raises(ProtocolVersionUnsupported) as info:
            handshake.receive(ProtocolException(0x0A, text), header)
        assert info.value.next_version
        version = info.value.next_version
    assert seen == tried


ALL = [Ready(), WANTS_PLAIN, Supported({}), AuthChallenge(b""), AuthSuccess(b""), Void(), Event("STATUS_CHANGE", {})]
EXPECTED = {
    "options": (Supported,),
    "startup": (Ready, Authenticate),
    "auth": (AuthChallenge, AuthSuccess),
    "done": (),
    "new": (),
}


def in_state(state: str) -> Handshake:
    """A handshake that has come to `state`."""
    script = {"authenticator": Script(b"1", b"2")}
    handshake = handshake_of(4, {**script, "ask_options": state == "options"})
    if state == "new":
        return handshake
    handshake.start()
    if state == "auth":
        handshake.receive(WANTS_PLAIN)
    if state == "done":
        handshake.receive(Ready())
    assert handshake.state == state
    return handshake


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("state", list(EXPECTED))
def test_an_answer_that_a_state_does_not_have_is_told(state: str, message: Message) -> None:
    handshake = in_state(state)
    if isinstance(message, EXPECTED[state]):
        handshake.receive(message)
        return
    with pytest.raises(ProtocolError, match=f"127.* answered with {type(message).__name__} in state '{state}'"):
        handshake.receive(message)
    assert handshake.state == state


def test_an_answer_in_another_version_is_refused() -> None:
    handshake = in_state("startup")
    with pytest.raises(ProtocolError, match=f"in protocol v9 what was asked in v{handshake.version}"):
        handshake.receive(Ready(), 9)


def test_a_handshake_starts_once() -> None:
    handshake = in_state("startup")
    with pytest.raises(ProtocolError, match="'startup'"):
        handshake.start()


def test_an_authenticator_that_raises_is_heard() -> None:
    handshake = handshake_of(4, {"authenticator": Script()})
    handshake.start()
    with pytest.raises(IndexError):  # the script is empty
        handshake.receive(WANTS_PLAIN)
    assert not handshake.done


def test_who_connects() -> None:
    driver = {"DRIVER_NAME": "geventcql", "DRIVER_VERSION": __version__}
    assert startup_identity() == driver
    assert startup_identity("shop", "1.2", "id", throw_on_overload=True) == {
        **driver,
        "APPLICATION_NAME": "shop",
        "APPLICATION_VERSION": "1.2",
        "CLIENT_ID": "id",
        "THROW_ON_OVERLOAD": "1",
    }
