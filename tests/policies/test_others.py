"""Retry, reconnection, conviction, speculation and translation, next to cassandra-driver's."""

from __future__ import annotations

import itertools
import random
import warnings
from typing import Any

import cassandra
import cassandra.policies
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import policies
from geventcql.errors import OperationTimedOut
from geventcql.host import Host
from geventcql.protocol.constants import ConsistencyLevel, WriteType

# -- retry


def retry_policies(name: str) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(policies, name)(), getattr(cassandra.policies, name)()


@pytest.mark.parametrize(
    "name", ["RetryPolicy", "FallthroughRetryPolicy", "NeverRetryPolicy", "DowngradingConsistencyRetryPolicy"]
)
def test_decisions_are_those_of_cassandra_driver(name: str) -> None:
    ours, theirs = retry_policies(name)
    levels = (ConsistencyLevel.ONE, ConsistencyLevel.QUORUM, ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL)
    for level, required, received, retries in itertools.product(levels, range(1, 6), range(6), range(3)):
        for data in (True, False):
            call = (None, level, required, received, data, retries)
            assert ours.on_read_timeout(*call) == theirs.on_read_timeout(*call)
        for write_type in WriteType.value_to_name:
            call = (None, level, write_type, required, received, retries)
            assert ours.on_write_timeout(*call) == theirs.on_write_timeout(*call)
        assert ours.on_unavailable(None, level, required, received, retries) == theirs.on_unavailable(
            None, level, required, received, retries
        )
        error = OSError()
        assert ours.on_request_error(None, level, error, retries) == theirs.on_request_error(
            None, level, error, retries
        )


def test_decisions_by_their_names() -> None:
    policy = policies.RetryPolicy()
    assert (policy.RETRY, policy.RETHROW, policy.IGNORE, policy.RETRY_NEXT_HOST) == (0, 1, 2, 3)
    assert policy.on_read_timeout(
        query=None, consistency=1, required_responses=1, received_responses=1, data_retrieved=False, retry_num=0
    ) == (policy.RETRY, 1)
    assert policy.on_write_timeout(
        query=None, consistency=1, write_type=policies.WriteType.BATCH_LOG, required_responses=1, received_responses=0,
        retry_num=0,
    ) == (policy.RETRY, 1)  # fmt: skip
    assert policy.on_unavailable(None, consistency=1, required_replicas=2, alive_replicas=1, retry_num=0) == (3, None)


def test_downgrading_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match="Downgrading"):
        policies.DowngradingConsistencyRetryPolicy()


def test_exponential_backoff_is_the_default_policy_more_often() -> None:
    policy = policies.ExponentialBackoffRetryPolicy(5)
    assert (policy.min_interval, policy.max_interval) == (0.1, 10.0)
    default = policies.RetryPolicy()
    for retries, required, received, data in itertools.product(range(7), (1, 2), (0, 1, 2), (True, False)):
        for write_type in WriteType.value_to_name:
            for method, call in (
                ("on_read_timeout", (None, 6, required, received, data)),
                ("on_write_timeout", (None, 6, write_type, required, received)),
                ("on_unavailable", (None, 6, required, received)),
                ("on_request_error", (None, 6, OSError())),
            ):
                first = getattr(default, method)(*call, 0)
                decision, level, pause = getattr(policy, method)(*call, retries)
                assert (decision, level) == (first if retries < 5 else (policy.RETHROW, None))
                assert (pause is None) == (decision == policy.RETHROW)


def test_pauses_double_up_to_a_maximum() -> None:
    policy = policies.ExponentialBackoffRetryPolicy(max_num_retries=float("inf"), min_interval=0.2, max_interval=2.0)
    for retries, pause in enumerate([0.2, 0.4, 0.8, 1.6, 2.0, 2.0, *[2.0] * 100]):
        given = [policy.on_request_error(None, 1, OSError(), retries)[2] for _ in range(40)]
        assert all(abs(seconds - pause) <= 0.1 for seconds in given) and len(set(given)) > 20
    for intervals in ((-1, 1), (2, 1)):
        with pytest.raises(ValueError, match="intervals"):
            policies.ExponentialBackoffRetryPolicy(1, *intervals)


# -- reconnection


@given(st.floats(0, 10), st.floats(0, 100), st.integers(0, 70))
def test_exponential_delays_stay_below_a_doubling_bound(base: float, more: float, attempts: int) -> None:
    policy = policies.ExponentialReconnectionPolicy(base, base + more, attempts)
    delays = list(policy.new_schedule())
    assert len(delays) == attempts == len(
        list(cassandra.policies.ExponentialReconnectionPolicy(base, base + more, attempts).new_schedule())
    )
    assert all(0 <= delay <= min(base * 2.0**i, base + more) for i, delay in enumerate(delays))


def test_the_jitter_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policies.ExponentialReconnectionPolicy(1.0, 10.0, max_attempts=6)
    monkeypatch.setattr(random, "uniform", lambda low, high: (low, high))
    assert list(policy.new_schedule()) == [(0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0), (0, 10.0), (0, 10.0)]


def test_schedules_without_end() -> None:
    for policy in (policies.ExponentialReconnectionPolicy(0.5, 2, None), policies.ConstantReconnectionPolicy(2, None)):
        delays = list(itertools.islice(policy.new_schedule(), 5000))
        assert len(delays) == 5000 and max(delays) <= 2
    assert policies.ExponentialReconnectionPolicy(1, 2).max_attempts == 64


def test_constant_delays() -> None:
    assert list(policies.ConstantReconnectionPolicy(1.5, 3).new_schedule()) == [1.5] * 3
    assert len(list(policies.ConstantReconnectionPolicy(1.5).new_schedule())) == 64
    assert len(list(itertools.islice(policies.ConstantReconnectionPolicy(1, 0).new_schedule(), 99))) == 99


@pytest.mark.parametrize("arguments", [(-1, 1), (1, -1), (2, 1), (1, 2, -1)])
def test_exponential_delays_that_make_no_sense(arguments: tuple[Any, ...]) -> None:
    for module in (policies, cassandra.policies):
        with pytest.raises(ValueError, match=r"(?i)delay|max_attempts"):
            module.ExponentialReconnectionPolicy(*arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize("arguments", [(-1,), (1, -1)])
def test_constant_delays_that_make_no_sense(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="negative"):
        policies.ConstantReconnectionPolicy(*arguments)


# -- conviction


def test_conviction() -> None:
    host = Host("127.0.0.1", policies.SimpleConvictionPolicy)
    assert isinstance(host.conviction_policy, policies.SimpleConvictionPolicy) and host.conviction_policy.host is host
    for error in (OSError(), None, EOFError()):
        theirs = cassandra.policies.SimpleConvictionPolicy(host).add_failure(error)
        assert host.conviction_policy.add_failure(error) is theirs is True
    assert host.conviction_policy.add_failure(OperationTimedOut()) is False
    assert cassandra.policies.SimpleConvictionPolicy(host).add_failure(cassandra.OperationTimedOut()) is False
    host.conviction_policy.reset()


# -- speculation


def test_speculative_plans() -> None:
    policy = policies.ConstantSpeculativeExecutionPolicy(0.5, 2)
    first, second = policy.new_plan("ks", None), policy.new_plan("ks", None)
    assert [first.next_execution(None) for _ in range(4)] == [0.5, 0.5, -1, -1]
    assert second.next_execution(None) == 0.5
    assert policies.NoSpeculativeExecutionPolicy().new_plan("ks", None).next_execution(None) == -1


# -- translation


class Resolver:
    """An Amazon of its own: the name of 54.0.0.1 resolves to private addresses."""

    def name(self, address: str) -> str:
        return "ec2-" + address

    def addresses(self, name: str) -> list[str]:
        known = {"ec2-54.0.0.1": ["fd00::7", "10.0.0.1", "10.0.0.2"], "ec2-2600::1": ["10.0.0.1", "fd00::1"]}
        return known.get(name, [])


def test_translators() -> None:
    assert policies.IdentityTranslator().translate("54.0.0.1") == "54.0.0.1"
    translator = policies.EC2MultiRegionTranslator(Resolver())
    assert translator.translate("54.0.0.1") == "10.0.0.1"
    assert translator.translate("2600::1") == "fd00::1"
    assert translator.translate("54.0.0.9") == "54.0.0.9"
    with pytest.raises(RuntimeError, match="resolver"):
        policies.EC2MultiRegionTranslator().translate("54.0.0.1")


def test_the_interfaces_ask_to_be_implemented() -> None:
    host = Host("127.0.0.1", policies.SimpleConvictionPolicy)
    for call in (
        lambda: policies.AddressTranslator().translate("127.0.0.1"),
        lambda: policies.ReconnectionPolicy().new_schedule(),
        lambda: policies.ConvictionPolicy(host).add_failure(None),
        lambda: policies.ConvictionPolicy(host).reset(),
        lambda: policies.SpeculativeExecutionPolicy().new_plan(None, None),
        lambda: policies.SpeculativeExecutionPlan().next_execution(None),
    ):
        with pytest.raises(NotImplementedError):
            call()
