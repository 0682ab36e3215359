"""What the component package offers. A type token is public API: it is `penstock:index:<class name>`."""

import json
from collections.abc import Mapping
from typing import Any

from pulumi import ComponentResource
from pulumi.provider.experimental.component import ComponentProvider

from components.audit import AccessLogs, AuditTrail
from components.certificate import Certificate
from components.cluster import Cluster
from components.collector import Collector
from components.copies import Copies
from components.databases import Cache, Database
from components.device_plugin import DevicePlugin
from components.edge import Edge, Traffic
from components.events import Events
from components.fault_injection import FaultInjection
from components.firewall import Firewall
from components.ground import Ground
from components.guard import Guard
from components.isolation import Isolation
from components.jobs import Files, JobWorkers
from components.karpenter import Karpenter
from components.keda import Keda
from components.keys import DataKeys
from components.load_balancer_controller import LoadBalancerController
from components.meanings import with_shared_meanings
from components.network import Network
from components.nodes import NodeGroups
from components.release import Release
from components.role import ServiceRole
from components.security_groups import SecurityGroups
from components.spend import CostAnomalies, MonthlyBudget
from components.stores import Registry, Weights
from components.telemetry import Telemetry
from components.watch import Watch

PACKAGE = "penstock"
VERSION = "0.1.0"

COMPONENTS: list[type[ComponentResource]] = [
    AccessLogs,
    AuditTrail,
    Cache,
    Certificate,
    Cluster,
    Collector,
    CostAnomalies,
    DataKeys,
    Copies,
    Database,
    DevicePlugin,
    Edge,
    Events,
    FaultInjection,
    Firewall,
    Ground,
    Guard,
    Isolation,
    Files,
    JobWorkers,
    Karpenter,
    Keda,
    LoadBalancerController,
    MonthlyBudget,
    Network,
    NodeGroups,
    Registry,
    Release,
    SecurityGroups,
    ServiceRole,
    Telemetry,
    Traffic,
    Watch,
    Weights,
]

AWS, KUBERNETES = "aws", "kubernetes"
PROVIDERS: Mapping[type[ComponentResource], tuple[str, ...]] = dict.fromkeys(COMPONENTS, (AWS,)) | {
    Collector: (AWS, KUBERNETES),
    DevicePlugin: (KUBERNETES,),
    Ground: (KUBERNETES,),
    Guard: (),
    Isolation: (KUBERNETES,),
    JobWorkers: (KUBERNETES,),
    Karpenter: (AWS, KUBERNETES),
    Keda: (KUBERNETES,),
    LoadBalancerController: (AWS, KUBERNETES),
    Release: (KUBERNETES,),
}
"""Pulumi packages whose resources each component makes, so whose providers it must be given."""


class Package(ComponentProvider):
    """Makes the components for programs in other languages, and tells these what there is."""

    def __init__(self) -> None:
        super().__init__(COMPONENTS, PACKAGE, version=VERSION)
        # Inferred from annotations and from the docstrings behind them, but for what many have in common.
        self.schema = json.dumps(with_shared_meanings(json.loads(self.schema or "{}")))


def package_schema() -> dict[str, Any]:
    """The package's schema, as other languages see it: without any CLI."""
    return json.loads(Package().schema or "{}")
