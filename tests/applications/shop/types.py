"""What the shop's values are in Python."""

import uuid

from cassandra.cqltypes import CassandraType


class Address:
    """The user type of the same name."""

    def __init__(self, street, number=None, tags=None):
        self.street = street
        self.number = number
        self.tags = tags

    def __repr__(self):
        return f"Address({self.street!r}, {self.number!r}, {sorted(self.tags or ())!r})"


class LexicalUUIDType(CassandraType):
    """A class of the server's that CQL has no name for: here its values are text."""

    typename = "'org.apache.cassandra.db.marshal.LexicalUUIDType'"

    @staticmethod
    def serialize(val, protocol_version):
        return uuid.UUID(val).bytes

    @staticmethod
    def deserialize(byts, protocol_version):
        return str(uuid.UUID(bytes=byts)).upper()


SCHEMA = [
    "CREATE TYPE address (street text, number int, tags set<text>)",
    "CREATE TABLE customers (id uuid PRIMARY KEY, name text, home frozen<address>, others map<text, frozen<address>>, "
    "since timestamp, birthday date, wakes time, credit decimal, code 'org.apache.cassandra.db.marshal.LexicalUUIDType')",
    "CREATE TABLE orders (customer uuid, n int, article text, price decimal, PRIMARY KEY (customer, n))",
    "CREATE TABLE stock (article text PRIMARY KEY, amount int)",
    "CREATE TABLE visits (page text PRIMARY KEY, n counter)",
]
