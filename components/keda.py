"""KEDA: scales deployments by what its triggers measure, such as requests that wait."""

from typing import TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s

from components import keda_manifests as manifests
from components.controller import Installation, Rights, install
from components.keda_manifests import ADAPTER, EXTERNAL_METRICS, NAMESPACE, OPERATOR, SYSTEM_NAMESPACE, marks
from components.manifests import PART_OF
from components.options import child_of


class KedaArgs(TypedDict):
    cluster: str
    """The cluster's name, as the operator's events tell it."""
    vpc_cidr: str
    """The VPC's range: the API server asks the adapter from an address in it."""
    namespace: pulumi.Input[str]
    """Of gateways and engines: the only one that it watches and scales in."""
    operator_image: pulumi.Input[str]
    """Image of KEDA's operator, with tag or digest; rights and types are those of version 2.20."""
    adapter_image: pulumi.Input[str]
    """Image of KEDA's metrics adapter, with tag or digest, of the operator's version."""
    replicas: int
    """Pods of the operator, of which one leads, and as many of the adapter."""


class Keda(pulumi.ComponentResource):
    """The operator, the adapter, and the API through which Kubernetes' autoscaler asks for their numbers."""

    def __init__(self, name: str, args: KedaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Keda", name, None, opts)
        child = child_of(self, opts)
        platform = args["namespace"]
        home = k8s.core.v1.Namespace(
            name, metadata=cast("k8s.meta.v1.ObjectMetaArgsDict", manifests.home()), opts=child
        )
        closed = k8s.networking.v1.NetworkPolicy(
            f"{name}-default-deny",
            metadata={"name": "default-deny", "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": PART_OF}},
            spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[home]),
        )
        child = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[home]))
        services = [
            k8s.core.v1.Service(f"{name}-{short}", metadata=found["metadata"], spec=found["spec"], opts=child)
            for short, found in manifests.services().items()
        ]
        operator = install(
            f"{name}-operator",
            Installation(
                app=OPERATOR,
                namespace=NAMESPACE,
                marks=marks(OPERATOR),
                deployment=manifests.operator(
                    image=args["operator_image"], replicas=args["replicas"], cluster=args["cluster"], watched=platform
                ),
                policy=manifests.operator_policy(),
                cluster_rules=manifests.operator_rules(),
                rights=[
                    Rights("platform", platform, manifests.operator_rules_of_the_platform()),
                    Rights("own", NAMESPACE, manifests.operator_rules_of_its_own()),
                ],
                definitions=manifests.definitions(),
            ),
            child,
            [*services, closed],
        )
        role = "keda-external-metrics-reader"
        reader: k8s.meta.v1.ObjectMetaArgsDict = {"name": role, "labels": marks(ADAPTER)}
        may_read = k8s.rbac.v1.ClusterRole(
            f"{name}-reader",
            metadata=reader,
            rules=[cast("k8s.rbac.v1.PolicyRuleArgsDict", each) for each in manifests.reader_rules()],
            opts=child,
        )
        reads = k8s.rbac.v1.ClusterRoleBinding(
            f"{name}-reader",
            metadata=reader,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            subjects=[{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": SYSTEM_NAMESPACE}],
            opts=child,
        )
        # It waits for certificates that the operator makes.
        adapter = install(
            f"{name}-adapter",
            Installation(
                app=ADAPTER,
                namespace=NAMESPACE,
                marks=marks(ADAPTER),
                deployment=manifests.adapter(image=args["adapter_image"], replicas=args["replicas"], watched=platform),
                policy=manifests.adapter_policy(args["vpc_cidr"]),
                cluster_rules=manifests.adapter_rules(),
                rights=[
                    Rights("platform", platform, manifests.adapter_rules_of_the_platform()),
                    Rights("api", SYSTEM_NAMESPACE, manifests.adapter_rules_of_the_api()),
                ],
            ),
            child,
            [operator, may_read, reads],
        )
        # Last, and so the first to go: an API that nobody answers would keep namespaces from being deleted.
        # To wait for the component would be to wait for each of its forty resources, and Pulumi 3.259 walks every way
        # through the dependencies where a delete is refused (`markAsDependency`): 200 million in `prod`.
        self.ready = k8s.apiregistration.v1.APIService(
            name,
            metadata={"name": f"v1beta1.{EXTERNAL_METRICS}", "labels": marks(ADAPTER)},
            spec=cast("k8s.apiregistration.v1.APIServiceSpecArgsDict", manifests.api_service()),
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(depends_on=[adapter], ignore_changes=["spec.caBundle"])
            ),
        )
        self.register_outputs({})
