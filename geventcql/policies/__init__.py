"""Policies: the decisions that applications may take over, under the names of `cassandra.policies`.

Layer: model. Each family has a module of its own.
"""

from typing import TYPE_CHECKING

from geventcql.handed_on import handing_on
from geventcql.policies.conviction import ConvictionPolicy, SimpleConvictionPolicy
from geventcql.policies.encryption import ColDesc, ColumnEncryptionPolicy
from geventcql.policies.load_balancing import (
    DCAwareRoundRobinPolicy,
    HostDistance,
    HostStateListener,
    LoadBalancingPolicy,
    RackAwareRoundRobinPolicy,
    RoundRobinPolicy,
    WhiteListRoundRobinPolicy,
)
from geventcql.policies.reconnection import (
    ConstantReconnectionPolicy,
    ExponentialReconnectionPolicy,
    ReconnectionPolicy,
)
from geventcql.policies.retry import (
    DowngradingConsistencyRetryPolicy,
    ExponentialBackoffRetryPolicy,
    FallthroughRetryPolicy,
    NeverRetryPolicy,
    RetryPolicy,
)
from geventcql.policies.speculative import (
    ConstantSpeculativeExecutionPolicy,
    NoSpeculativeExecutionPlan,
    NoSpeculativeExecutionPolicy,
    PercentileSpeculativeExecutionPolicy,
    SpeculativeExecutionPlan,
    SpeculativeExecutionPolicy,
)
from geventcql.policies.translation import AddressTranslator, EC2MultiRegionTranslator, IdentityTranslator, Resolver
from geventcql.policies.wrappers import (
    DefaultLoadBalancingPolicy,
    DSELoadBalancingPolicy,
    HostFilterPolicy,
    TokenAwarePolicy,
    WrapperPolicy,
    default_lbp_factory,
)
from geventcql.protocol.constants import WriteType

__all__ = [
    "AddressTranslator",
    "ColDesc",
    "ColumnEncryptionPolicy",
    "ConstantReconnectionPolicy",
    "ConstantSpeculativeExecutionPolicy",
    "ConvictionPolicy",
    "DCAwareRoundRobinPolicy",
    "DSELoadBalancingPolicy",
    "DefaultLoadBalancingPolicy",
    "DowngradingConsistencyRetryPolicy",
    "EC2MultiRegionTranslator",
    "ExponentialBackoffRetryPolicy",
    "ExponentialReconnectionPolicy",
    "FallthroughRetryPolicy",
    "HostDistance",
    "HostFilterPolicy",
    "HostStateListener",
    "IdentityTranslator",
    "LoadBalancingPolicy",
    "NeverRetryPolicy",
    "NoSpeculativeExecutionPlan",
    "NoSpeculativeExecutionPolicy",
    "PercentileSpeculativeExecutionPolicy",
    "RackAwareRoundRobinPolicy",
    "ReconnectionPolicy",
    "Resolver",
    "RetryPolicy",
    "RoundRobinPolicy",
    "SimpleConvictionPolicy",
    "SpeculativeExecutionPlan",
    "SpeculativeExecutionPolicy",
    "TokenAwarePolicy",
    "WhiteListRoundRobinPolicy",
    "WrapperPolicy",
    "WriteType",
    "default_lbp_factory",
]

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
