"""cassandra-driver's policy of column encryption, which is refused (layer: facade; names only)."""

from geventcql.policies.encryption import ColumnEncryptionPolicy

__all__ = ["AES256ColumnEncryptionPolicy"]


class AES256ColumnEncryptionPolicy(ColumnEncryptionPolicy):
    """(`cassandra.column_encryption.policies.AES256ColumnEncryptionPolicy`); none can be made."""
