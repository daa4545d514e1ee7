"""Authentication: the tokens, and that nothing shows a password."""

from __future__ import annotations

import hmac
import sys
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


@pytest.mark.parametrize("value", [None, b"bytes", "a \udcff"])
def test_what_is_no_text_is_told_and_not_shown(value: Any) -> None:
    """cassandra-driver sends "None", or raises an error that shows the password."""
    for user, password in (("user", value), (value, "hidden")):
        with pytest.raises(AuthenticationFailed, match="nothing was sent") as caught:
            auth.PlainTextAuthenticator(user, password).initial_response()
        assert "bytes'" not in repr(caught.value) and "udcff" not in repr(caught.value)
        assert caught.value.__context__ is None


def test_transitional_mode() -> None:
    ours = auth.TransitionalModePlainTextAuthProvider().new_authenticator("127.0.0.1")
    theirs = cassandra.auth.TransitionalModePlainTextAuthProvider().new_authenticator("127.0.0.1")
    assert ours.initial_response() == theirs.initial_response() == b"\0\0"


def test_a_dse_server_is_told_the_mechanism_first() -> None:
    for module in (auth, cassandra.auth):
        authenticator = module.PlainTextAuthenticator("ada", "secret")
        authenticator.server_authenticator_class = "com.datastax.bdp.cassandra.auth.DseAuthenticator"
        assert authenticator.initial_response() == b"PLAIN"
        assert authenticator.evaluate_challenge(b"PLAIN-START") == b"\0ada\0secret"


def test_names_of_dse() -> None:
    assert auth.DSEPlainTextAuthProvider is auth.PlainTextAuthProvider
    for make in (
        lambda: auth.DSEGSSAPIAuthProvider(service="dse", qops=["auth"]),
        lambda: auth.GSSAPIAuthenticator("127.0.0.1", "dse", ["auth"], None),
        lambda: auth.SaslAuthProvider(service="dse"),
        lambda: auth.SaslAuthenticator("127.0.0.1", "dse"),
    ):
        with pytest.raises(NotImplementedError, match=r"GSSAPI .* not supported yet: .* thread pool"):
            make()


def test_sasl_without_its_package_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "puresasl.client", None)
    with pytest.raises(ImportError, match=r"geventcql\[sasl\]"):
        auth.SaslAuthProvider(service="cassandra", mechanism="PLAIN")
    with pytest.raises(ImportError, match=r"geventcql\[sasl\]"):
        auth.SaslAuthenticator("127.0.0.1", "cassandra", "PLAIN")


ADA = {"username": "ada", "password": "hidden"}


def test_sasl_mechanisms() -> None:
    def made(mechanism: str, **options: Any) -> auth.SaslAuthenticator:
        return auth.SaslAuthProvider(service="cassandra", mechanism=mechanism, **options).new_authenticator("127.0.0.1")

    assert made("PLAIN", **ADA).initial_response() == b"\0ada\0hidden"
    assert made("PLAIN", authorization_id="eve", **ADA).initial_response() == b"eve\0ada\0hidden"
    assert made("EXTERNAL").initial_response() == b""
    assert made("ANONYMOUS").initial_response() == b"Anonymous, None"
    cram = made("CRAM-MD5", **ADA)
    assert cram.initial_response() is None
    assert cram.evaluate_challenge(b"<1@x>") == b"ada " + hmac.new(b"hidden", b"<1@x>", "md5").hexdigest().encode()
    asked: list[str] = []
    lazy = made("PLAIN", callback=lambda name: asked.append(name) or ADA[name])
    assert lazy.initial_response() == b"\0ada\0hidden" and asked == ["username", "password"]


def test_sasl_tokens_are_those_of_cassandra_driver() -> None:
    for mechanism in ("PLAIN", "CRAM-MD5"):
        options = {"service": "cassandra", "mechanism": mechanism, **ADA}
        ours = auth.SaslAuthProvider(**options).new_authenticator("127.0.0.9")
        theirs = cassandra.auth.SaslAuthProvider(**options).new_authenticator("127.0.0.9")
        assert ours.initial_response() == theirs.initial_response()
        assert ours.evaluate_challenge(b"<2@x>") == theirs.evaluate_challenge(b"<2@x>")


def test_sasl_providers_show_no_password_and_take_a_new_one() -> None:
    provider = auth.SaslAuthProvider(service="cassandra", mechanism="PLAIN", **ADA)
    assert "hidden" not in f"{provider!r} {provider.new_authenticator('127.0.0.1')!r}"
    provider.sasl_kwargs["password"] = "new"
    assert provider.new_authenticator("127.0.0.1").initial_response() == b"\0ada\0new"
    with pytest.raises(ValueError, match="host"):
        auth.SaslAuthProvider(host="127.0.0.1", service="cassandra", mechanism="PLAIN")
