"""Names around the encryption of columns by the client, which is refused (layer: model)."""

from __future__ import annotations

from typing import NamedTuple

from geventcql.unsupported import Unsupported

__all__ = ["ColDesc", "ColumnEncryptionPolicy"]


class ColDesc(NamedTuple):
    """A column (`cassandra.policies.ColDesc`)."""

    ks: str
    table: str
    col: str


class ColumnEncryptionPolicy(Unsupported):
    """Encrypts columns in the client (`cassandra.policies.ColumnEncryptionPolicy`); none can be made."""

    reason = "encryption of columns by the client is not supported by geventcql; encrypt values before they are bound"
