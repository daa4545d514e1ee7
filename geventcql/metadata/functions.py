"""User types, functions and aggregates, as system_schema describes them.

Layer: model. Plain objects, made in the driver's greenlets and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geventcql.metadata.cqltext import braced, separator, unfrozen
from geventcql.metadata.names import protect_name, protect_value
from geventcql.protocol.constants import SignatureDescriptor

__all__ = ["Aggregate", "Function", "UserType"]


class UserType:
    """A user type (`cassandra.metadata.UserType`).

    `keyspace`, `name`; `field_names` and `field_types`, the latter as CQL text, in the order of the fields.
    """

    def __init__(
        self, keyspace: str, name: str, field_names: Sequence[str] | None, field_types: Sequence[str] | None
    ) -> None:
        self.keyspace = keyspace
        self.name = name
        self.field_names = list(field_names or ())
        self.field_types = list(field_types or ())

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> UserType:
        """From a row of system_schema.types."""
        return cls(row["keyspace_name"], row["type_name"], row["field_names"], row["field_types"])

    def as_cql_query(self, formatted: bool = False) -> str:
        """The CREATE TYPE statement, each field on its own line if `formatted`."""
        fields = (f"{protect_name(name)} {kind}" for name, kind in zip(self.field_names, self.field_types, strict=True))
        return f"CREATE TYPE {protect_name(self.keyspace)}.{protect_name(self.name)} {braced(fields, formatted)}"

    def export_as_string(self) -> str:
        """The CREATE TYPE statement on several lines, with its semicolon."""
        return self.as_cql_query(formatted=True) + ";"

    def __repr__(self) -> str:
        return f"<UserType: {self.keyspace}.{self.name} {self.field_names}>"


class Function:
    """A user defined function (`cassandra.metadata.Function`).

    `keyspace`, `name`; `argument_types` and `return_type` as CQL text; `argument_names`; `language`, `body`;
    `called_on_null_input`: if not, null as any argument gives null. `deterministic`, `monotonic` and `monotonic_on`
    are set by servers of DataStax only.
    """

    def __init__(
        self,
        keyspace: str,
        name: str,
        argument_types: Sequence[str],
        argument_names: Sequence[str] | None,
        return_type: str,
        language: str,
        body: str,
        called_on_null_input: bool,
        deterministic: bool,
        monotonic: bool,
        monotonic_on: Sequence[str],
    ) -> None:
        self.keyspace = keyspace
        self.name = name
        self.argument_types = list(argument_types)
        self.argument_names = list(argument_names or ())
        self.return_type = return_type
        self.language = language
        self.body = body
        self.called_on_null_input = called_on_null_input
        self.deterministic = deterministic
        self.monotonic = monotonic
        self.monotonic_on = monotonic_on

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Function:
        """From a row of system_schema.functions."""
        return cls(
            row["keyspace_name"], row["function_name"], row["argument_types"], row["argument_names"], row["return_type"],
            row["language"], row["body"], row["called_on_null_input"], row.get("deterministic", False),
            row.get("monotonic", False), row.get("monotonic_on", ()),
        )  # fmt: skip

    @property
    def signature(self) -> str:
        """'name(type,type)': tells functions of one name apart; the key in `KeyspaceMetadata.functions`."""
        return SignatureDescriptor.format_signature(self.name, self.argument_types)

    def as_cql_query(self, formatted: bool = False) -> str:
        """The CREATE FUNCTION statement, each clause on its own line if `formatted`."""
        pairs = zip(self.argument_names, self.argument_types, strict=True)
        arguments = ", ".join(f"{protect_name(name)} {unfrozen(kind)}" for name, kind in pairs)
        clauses = [
            f"CREATE FUNCTION {protect_name(self.keyspace)}.{protect_name(self.name)}({arguments})",
            "CALLED ON NULL INPUT" if self.called_on_null_input else "RETURNS NULL ON NULL INPUT",
            f"RETURNS {unfrozen(self.return_type)}",
        ]
        if self.deterministic:
            clauses.append("DETERMINISTIC")
        if self.monotonic:
            clauses.append("MONOTONIC")
        elif self.monotonic_on:  # one argument, else the whole function is
            clauses.append(f"MONOTONIC ON {protect_name(self.monotonic_on[0])}")
        clauses += [f"LANGUAGE {self.language}", f"AS {self._quoted_body()}"]
        return separator(formatted).join(clauses)

    def _quoted_body(self) -> str:
        # Dollars within end a body between dollars, and so does one at its end.
        dollars = "$$" not in self.body and not self.body.endswith("$")
        return f"$${self.body}$$" if dollars else protect_value(self.body)

    def export_as_string(self) -> str:
        """The CREATE FUNCTION statement on several lines, with its semicolon."""
        return self.as_cql_query(formatted=True) + ";"

    def __repr__(self) -> str:
        return f"<Function: {self.keyspace}.{self.signature}>"


class Aggregate:
    """A user defined aggregate (`cassandra.metadata.Aggregate`).

    `keyspace`, `name`; `argument_types`, `state_type` and `return_type` as CQL text; `state_func` and `final_func`:
    names of functions of the same keyspace, the latter or None; `initial_condition`: CQL text or None.
    `deterministic` is set by servers of DataStax only.
    """

    def __init__(
        self,
        keyspace: str,
        name: str,
        argument_types: Sequence[str],
        state_func: str,
        state_type: str,
        final_func: str | None,
        initial_condition: str | None,
        return_type: str,
        deterministic: bool,
    ) -> None:
        self.keyspace = keyspace
        self.name = name
        self.argument_types = list(argument_types)
        self.state_func = state_func
        self.state_type = state_type
        self.final_func = final_func
        self.initial_condition = initial_condition
        self.return_type = return_type
        self.deterministic = deterministic

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Aggregate:
        """From a row of system_schema.aggregates."""
        return cls(
            row["keyspace_name"], row["aggregate_name"], row["argument_types"], row["state_func"], row["state_type"],
            row["final_func"], row["initcond"], row["return_type"], row.get("deterministic", False),
        )  # fmt: skip

    @property
    def signature(self) -> str:
        """'name(type,type)': tells aggregates of one name apart; the key in `KeyspaceMetadata.aggregates`."""
        return SignatureDescriptor.format_signature(self.name, self.argument_types)

    def as_cql_query(self, formatted: bool = False) -> str:
        """The CREATE AGGREGATE statement, each clause on its own line if `formatted`."""
        arguments = ", ".join(map(unfrozen, self.argument_types))
        clauses = [
            f"CREATE AGGREGATE {protect_name(self.keyspace)}.{protect_name(self.name)}({arguments})",
            f"SFUNC {protect_name(self.state_func)}",
            f"STYPE {unfrozen(self.state_type)}",
        ]
        if self.final_func:
            clauses.append(f"FINALFUNC {protect_name(self.final_func)}")
        if self.initial_condition is not None:
            clauses.append(f"INITCOND {self.initial_condition}")
        if self.deterministic:
            clauses.append("DETERMINISTIC")
        return separator(formatted).join(clauses)

    def export_as_string(self) -> str:
        """The CREATE AGGREGATE statement on several lines, with its semicolon."""
        return self.as_cql_query(formatted=True) + ";"

    def __repr__(self) -> str:
        return f"<Aggregate: {self.keyspace}.{self.signature}>"
