"""What is not there is importable where that is usual, and refused with a reason where it is used."""

from __future__ import annotations

from typing import Any

import pytest

from geventcql import UnsupportedOperation, cluster, policies
from geventcql.cluster import Cluster
from geventcql.column_encryption.policies import AES256ColumnEncryptionPolicy


@pytest.mark.parametrize(
    "kind",
    [
        cluster.ContinuousPagingOptions, cluster.GraphExecutionProfile, cluster.GraphAnalyticsExecutionProfile,
        policies.ColumnEncryptionPolicy, AES256ColumnEncryptionPolicy,
    ],
)  # fmt: skip
def test_classes(kind: Any) -> None:
    with pytest.raises(UnsupportedOperation, match=f"{kind.__name__}: .*support|{kind.__name__}: .*not have"):
        kind("any", other="arguments")


def test_names_of_columns_are_plain_values() -> None:
    column = policies.ColDesc("ks", "t", "c")
    assert column == ("ks", "t", "c") and column.col == "c"


@pytest.mark.parametrize(("module", "name"), [("graph", "GraphStatement"), ("datastax", "cloud"), ("cqlengine", "models")])
def test_modules(module: str, name: str) -> None:
    for text in (f"import geventcql.{module}", f"from geventcql.{module} import {name}", f"import geventcql.{module}.{name}"):
        with pytest.raises(ImportError, match=f"geventcql.{module} is not there: .*not"):
            exec(text)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cloud", {"secure_connect_bundle": "x.zip"}, "by SNI"),
        ("column_encryption_policy", object(), "before they are bound"),
    ],
)
def test_arguments_of_a_cluster(name: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"Cluster\({name}=.*{reason}"):
        Cluster(**{name: value})
