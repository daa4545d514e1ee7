"""Authentication: the tokens, and that nothing shows a password."""

from __future__ import annotations

import sys
import types
from typing import Any

import cassandra.auth
import pytest

from geventcql import auth
from geventcql.errors import AuthenticationFailed


@pytest.mark.parametrize(("user", "password"), [("cassandra", "cassandra"), ("", ""), ("Jürgen", "pass wörd'\"")])
def test_plain_text(user: str, password: str) -> None:
    ours = auth.PlainTextAuthProvider(user, password).new_authenticator("127.0.0.1")
    theirs = cassandra.auth.PlainTextAuthProvider(user, password).new_authenticator("127.0.0.1")
    for authenticator in (ours, theirs):
        authenticator.server_authenticator_class = "org.apache.cassandra.auth.PasswordAuthenticator"
    assert ours.initial_response() == theirs.initial_response() == f"\0{user}\0{password}".encode()
    assert ours.evaluate_challenge(b"PLAIN-START") == theirs.evaluate_challenge(b"PLAIN-START")
    ours.on_authentication_success(None)


def test_an_unknown_challenge_is_an_authentication_error() -> None:
    authenticator = auth.PlainTextAuthenticator("user", "hidden")
    authenticator.server_authenticator_class = "com.example.Odd"
    with pytest.raises(AuthenticationFailed, match=r"com\.example\.Odd") as caught:
        authenticator.evaluate_challenge(b"GSSAPI-START")
    assert "hidden" not in str(caught.value)


def test_a_new_password_serves_the_next_connection() -> None:
    provider = auth.PlainTextAuthProvider("user", "old")
    first = provider.new_authenticator("127.0.0.1")
    provider.password = "new"
    assert first.initial_response() == b"\0user\0old"
    assert provider.new_authenticator("127.0.0.1").initial_response() == b"\0user\0new"


def test_no_repr_shows_the_password() -> None:
    provider = auth.PlainTextAuthProvider("user", "hidden")
    for thing in (provider, provider.new_authenticator("127.0.0.1")):
        assert "user" in repr(thing)
        assert "hidden" not in f"{thing} {thing!r}"


def test_the_base_classes_ask_to_be_overridden() -> None:
    assert auth.Authenticator().initial_response() is None
    with pytest.raises(NotImplementedError):
        auth.Authenticator().evaluate_challenge(b"")
    with pytest.raises(NotImplementedError):
        auth.AuthProvider().new_authenticator("127.0.0.1")


def test_sasl_without_its_package_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "puresasl.client", None)
    with pytest.raises(ImportError, match="pure-sasl"):
        auth.SaslAuthProvider(service="cassandra", mechanism="GSSAPI")
    with pytest.raises(ImportError, match="pure-sasl"):
        auth.SaslAuthenticator("127.0.0.1", "cassandra")


def test_sasl_passes_tokens_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class SASLClient:
        def __init__(self, host: str, service: str, mechanism: str, **options: Any) -> None:
            self.made_with = (host, service, mechanism, options)

        def process(self, challenge: bytes | None = None) -> bytes:
            return b"first" if challenge is None else challenge[::-1]

    package, client = types.ModuleType("puresasl"), types.ModuleType("puresasl.client")
    client.SASLClient = SASLClient  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "puresasl", package)
    monkeypatch.setitem(sys.modules, "puresasl.client", client)
    provider = auth.SaslAuthProvider(service="cassandra", mechanism="DIGEST-MD5", password="hidden")
    assert "hidden" not in repr(provider)
    authenticator = provider.new_authenticator("127.0.0.9")
    assert authenticator.sasl.made_with == ("127.0.0.9", "cassandra", "DIGEST-MD5", {"password": "hidden"})
    assert authenticator.initial_response() == b"first"
    assert authenticator.evaluate_challenge(b"abc") == b"cba"
    with pytest.raises(ValueError, match="host"):
        auth.SaslAuthProvider(host="127.0.0.1", service="cassandra")
