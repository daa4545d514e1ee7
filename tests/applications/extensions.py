"""What applications subclass of cassandra-driver, besides policies, as they write it."""

import collections
import datetime

from cassandra.auth import Authenticator, AuthProvider, PlainTextAuthProvider
from cassandra.connection import EndPoint, EndPointFactory
from cassandra.cqltypes import BytesType, CassandraType, DateType
from cassandra.encoder import Encoder
from cassandra.policies import AddressTranslator, HostStateListener
from cassandra.protocol import ProtocolHandler
from cassandra.query import named_tuple_factory


class TokenAuthenticator(Authenticator):
    def __init__(self, token, log):
        self.token = token
        self.log = log

    def initial_response(self):
        self.log.append(("class", self.server_authenticator_class))
        return b"hello"

    def evaluate_challenge(self, challenge):
        self.log.append(("challenge", challenge))
        return self.token + challenge

    def on_authentication_success(self, token):
        self.log.append(("success", token))


class TokenAuthProvider(AuthProvider):
    def __init__(self, token):
        self.token = token
        self.log = []
        self.hosts = []

    def new_authenticator(self, host):
        self.hosts.append(host)
        return TokenAuthenticator(self.token, self.log)


class RotatingAuthProvider(PlainTextAuthProvider):
    """Reads the password anew for each connection."""

    def __init__(self, username, passwords):
        super().__init__(username, None)
        self.passwords = passwords

    def new_authenticator(self, host):
        self.password = next(self.passwords)
        return super().new_authenticator(host)


class Listener(HostStateListener):
    def __init__(self):
        self.told = collections.Counter()

    def on_up(self, host):
        self.told["up", host.address] += 1

    def on_down(self, host):
        self.told["down", host.address] += 1

    def on_add(self, host):
        self.told["add", host.address] += 1

    def on_remove(self, host):
        self.told["remove", host.address] += 1


class ForwardedEndPoint(EndPoint):
    """A node behind a port that is forwarded."""

    def __init__(self, inner, port):
        self.inner = inner
        self._port = port

    @property
    def address(self):
        return self.inner

    @property
    def port(self):
        return self._port

    def resolve(self):
        return self.inner, self._port

    def __eq__(self, other):
        return isinstance(other, ForwardedEndPoint) and (self.inner, self._port) == (other.inner, other._port)

    def __hash__(self):
        return hash((self.inner, self._port))

    def __str__(self):
        return f"forwarded {self.inner}:{self._port}"

    __repr__ = __str__


class ForwardingFactory(EndPointFactory):
    def __init__(self):
        self.rows = []

    def configure(self, cluster):
        self.cluster = cluster
        return self

    def create(self, row):
        self.rows.append(row)
        return ForwardedEndPoint(row.get("native_address") or row.get("rpc_address"), self.cluster.port)


class Translator(AddressTranslator):
    def __init__(self, addresses):
        self.addresses = addresses
        self.asked = []

    def translate(self, addr):
        self.asked.append(addr)
        return self.addresses.get(addr, addr)


class IsoEncoder(Encoder):
    """Times as text, and objects of our own."""

    def __init__(self):
        super().__init__()
        self.mapping[datetime.datetime] = self.iso
        self.mapping[Point] = lambda point: self.cql_encode_tuple(point.at)

    def iso(self, value):
        return self.cql_encode_str(value.strftime("%Y-%m-%dT%H:%M:%SZ"))


class Point:
    def __init__(self, *at):
        self.at = at


class JsonishType(CassandraType):
    typename = "JsonishType"

    @staticmethod
    def serialize(val, protocol_version):
        return repr(val).encode()

    @staticmethod
    def deserialize(byts, protocol_version):
        return eval(byts.decode(), {})


class AwareDateType(DateType):
    @staticmethod
    def deserialize(byts, protocol_version):
        return DateType.deserialize(byts, protocol_version).replace(tzinfo=datetime.timezone.utc)


class ReversedBytesType(BytesType):
    @classmethod
    def serialize(cls, val, protocol_version):
        return super().serialize(val, protocol_version)[::-1]

    @classmethod
    def deserialize(cls, byts, protocol_version):
        return super().deserialize(byts, protocol_version)[::-1]


class CountingHandler(ProtocolHandler):
    """One that changes nothing."""


class Row(dict):
    __getattr__ = dict.__getitem__


def row_factory(colnames, rows):
    return [Row(zip(colnames, row, strict=True)) for row in rows]


def first_column_factory(colnames, rows):
    return [row[0] for row in rows]


def counted_factory(colnames, rows):
    """One that wraps another."""
    return [(n, row) for n, row in enumerate(named_tuple_factory(colnames, rows))]


class Table:
    """A result of one's own kind, as a DataFrame is."""

    def __init__(self, colnames, rows):
        self.columns = {name: [row[i] for row in rows] for i, name in enumerate(colnames)}
