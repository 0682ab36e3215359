"""What keeps pods apart: who may talk to whom, and who goes first when there is not room for all."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s

from components.manifests import PART_OF
from components.network_policies import network_policies
from components.pods import BATCH_PRIORITY_CLASS, INTERACTIVE_PRIORITY_CLASS

INTERACTIVE_PRIORITY = 1_000_000
BATCH_PRIORITY = 1_000


class IsolationArgs(TypedDict):
    namespace: pulumi.Input[str]
    vpc_cidr: str
    """The VPC's range: gateways reach cache and database in it, engines only what is outside."""
    edge_cidrs: Sequence[str]
    """Ranges of the load balancer's subnets: it speaks to gateway pods from there."""
    scaled: NotRequired[bool]
    """KEDA reads the gateways' demand."""
    grouped: NotRequired[bool]
    """There are engines of several pods."""


class Isolation(pulumi.ComponentResource):
    """Network policies that deny all but what gateways and engines need, and priorities of pods."""

    interactive_priority: pulumi.Output[str]
    """Name of the PriorityClass of what a user waits for."""
    batch_priority: pulumi.Output[str]
    """Name of the PriorityClass of work that can wait: it never takes a place from another pod."""

    def __init__(self, name: str, args: IsolationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Isolation", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        marks = {"app.kubernetes.io/part-of": PART_OF}
        policies = network_policies(
            args["vpc_cidr"],
            args["edge_cidrs"],
            scaled=args.get("scaled", False),
            grouped=args.get("grouped", False),
        )
        for policy, spec in policies.items():
            k8s.networking.v1.NetworkPolicy(
                f"{name}-{policy}",
                metadata={"name": policy, "namespace": args["namespace"], "labels": marks},
                spec=cast("k8s.networking.v1.NetworkPolicySpecArgsDict", spec),
                opts=child,
            )
        interactive = k8s.scheduling.v1.PriorityClass(
            f"{name}-interactive",
            metadata={"name": INTERACTIVE_PRIORITY_CLASS, "labels": marks},
            value=INTERACTIVE_PRIORITY,
            global_default=False,
            preemption_policy="PreemptLowerPriority",
            description="Gateways and engines: a user waits for them",
            opts=child,
        )
        batch = k8s.scheduling.v1.PriorityClass(
            f"{name}-batch",
            metadata={"name": BATCH_PRIORITY_CLASS, "labels": marks},
            value=BATCH_PRIORITY,
            global_default=False,
            preemption_policy="Never",
            description="Work that can wait: it gives way to interactive pods",
            opts=child,
        )
        self.interactive_priority = interactive.metadata["name"]
        self.batch_priority = batch.metadata["name"]
        self.register_outputs({"interactivePriority": self.interactive_priority, "batchPriority": self.batch_priority})
