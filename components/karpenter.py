"""Karpenter: nodes for engines beyond the managed groups, spot first, with its queue, its rights and its controller."""

from collections.abc import Sequence
from typing import TypedDict, cast

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import controller_policies, policies
from components import karpenter_manifests as manifests
from components.arns import supported
from components.karpenter_manifests import NAME, NAMESPACE, PoolShape
from components.options import child_of
from components.pods import Manifest
from components.role import ServiceRole
from components.spend import COLOUR_TAG, PART_TAG, STACK_TAG, part

QUEUE_KEPT_SECONDS = 300
"""An interruption is two minutes away: an older message is of no use."""
EVENTS: dict[str, tuple[str, str]] = {
    "spot-interruption": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state-change": ("aws.ec2", "EC2 Instance State-change Notification"),
    "health": ("aws.health", "AWS Health Event"),
}
"""What Karpenter listens to (its CloudFormation reference): source and detail type. On a rebalance it does not act."""


class KarpenterArgs(TypedDict):
    partition: str
    region: str
    account_id: str
    cluster_name: pulumi.Input[str]
    cluster: str
    """The cluster's physical name, which stands in tags and conditions."""
    image: pulumi.Input[str]
    """Image of Karpenter's controller, with tag or digest; rights and types are those of version 1.14."""
    replicas: int
    """Pods of the controller: one leads, the others wait."""
    isolated: bool
    """The network has no way out: prices come from the table inside the controller."""
    ami_alias: str
    """Pinned, such as bottlerocket@v1.50.0: a newer image comes by a reviewed diff."""
    volume_gib: int
    subnet_ids: Sequence[pulumi.Input[str]]
    """Private subnets in which nodes start, of the zones that the pools name."""
    security_group_ids: Sequence[pulumi.Input[str]]
    """Security groups of the nodes: the cluster's own, and the one for nodes."""
    volumes_key_arn: pulumi.Input[str]
    messages_key_arn: pulumi.Input[str]
    """KMS key of the queue; EventBridge must be allowed to use it (`messages` of `DataKeys`)."""
    pools: PoolShape
    """Which nodes it may start, how many, and when they go."""


class Karpenter(pulumi.ComponentResource):
    """The controller, and a node class with two pools: spot of higher weight, on demand behind it. Once, or for each
    colour."""

    queue_name: pulumi.Output[str]
    """Name of the SQS queue of interruptions, as CloudWatch metrics have it."""
    node_role_arn: pulumi.Output[str]
    """ARN of the nodes' role, which joins the cluster and pulls images, and reads no data."""

    def __init__(self, name: str, args: KarpenterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Karpenter", name, None, opts)
        self._child = child_of(self, opts)
        self._args = args
        managed = f"arn:{supported(args['partition'])}:iam::aws:policy"
        node_role = ServiceRole(
            f"{name}-node",
            {
                "services": ["ec2.amazonaws.com"],
                "description": "Nodes of Karpenter: join the cluster and pull images, no data",
                "managed_policies": [
                    f"{managed}/AmazonEKSWorkerNodePolicy",
                    f"{managed}/AmazonEC2ContainerRegistryPullOnly",
                ],
            },
            self._child,
        )
        profile = aws.iam.InstanceProfile(
            f"{name}-node", role=node_role.arn.apply(lambda arn: arn.rsplit("/", 1)[-1]), opts=self._child
        )
        joins = aws.eks.AccessEntry(
            f"{name}-node",
            cluster_name=args["cluster_name"],
            principal_arn=node_role.arn,
            type="EC2_LINUX",
            opts=self._child,
        )
        queue = self._queue()
        role = ServiceRole(
            f"{name}-controller",
            {
                "services": ["pods.eks.amazonaws.com"],
                "description": "Karpenter: starts and ends nodes of this cluster",
                "managed_policies": [],
                "policy": pulumi.Output.all(
                    node=profile.role,
                    profile=profile.arn,
                    queue=queue.arn,
                    key=args["messages_key_arn"],
                    subnets=list(args["subnet_ids"]),
                    groups=list(args["security_group_ids"]),
                ).apply(self._policy),
            },
            self._child,
        )
        identity = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args["cluster_name"],
            namespace=NAMESPACE,
            service_account=NAME,
            role_arn=role.arn,
            opts=self._child,
        )
        controller = self._controller(queue.name, [identity, joins])
        self._pools(profile.name, controller)
        self.queue_name = queue.name
        self.node_role_arn = node_role.arn
        self.register_outputs({"queueName": self.queue_name, "nodeRoleArn": self.node_role_arn})

    def _policy(self, known: dict) -> str:
        args = self._args
        return policies.dumps(
            controller_policies.karpenter(
                partition=args["partition"],
                region=args["region"],
                account=args["account_id"],
                cluster=args["cluster"],
                node_role_arn=f"arn:{args['partition']}:iam::{args['account_id']}:role/{known['node']}",
                instance_profile_arn=known["profile"],
                queue_arn=known["queue"],
                queue_key_arn=known["key"],
                subnet_ids=known["subnets"],
                security_group_ids=known["groups"],
                reservation_ids=self._reservation_ids(),
            )
        )

    def _reservation_ids(self) -> list[str]:
        return [each["reservation_id"] for each in self._args["pools"].get("reserved", ())]

    def _queue(self) -> aws.sqs.Queue:
        name = self.pulumi_resource_name
        queue = aws.sqs.Queue(
            f"{name}-interruptions",
            kms_master_key_id=self._args["messages_key_arn"],
            message_retention_seconds=QUEUE_KEPT_SECONDS,
            opts=self._child,
        )
        rules = []
        for event, (source, detail) in EVENTS.items():
            rule = aws.cloudwatch.EventRule(
                f"{name}-{event}",
                description=f"For Karpenter: {detail}",
                event_pattern=policies.dumps({"source": [source], "detail-type": [detail]}),
                opts=self._child,
            )
            aws.cloudwatch.EventTarget(
                f"{name}-{event}", rule=rule.name, target_id="interruptions", arn=queue.arn, opts=self._child
            )
            rules.append(rule)
        aws.sqs.QueuePolicy(
            f"{name}-interruptions",
            queue_url=queue.url,
            policy=pulumi.Output.all(queue.arn, *[rule.arn for rule in rules]).apply(
                lambda arns: policies.dumps(controller_policies.queue_fed_by_rules(arns[0], arns[1:]))
            ),
            opts=self._child,
        )
        return queue

    def _controller(self, queue: pulumi.Output[str], after: Sequence[pulumi.Resource]) -> k8s.apps.v1.Deployment:
        name = self.pulumi_resource_name
        args = self._args
        marks = manifests.MARKS
        account = k8s.core.v1.ServiceAccount(
            name, metadata={"name": NAME, "namespace": NAMESPACE, "labels": marks}, opts=self._child
        )
        needed: list[pulumi.Resource] = [account, *after]
        for short, spec in manifests.definitions().items():
            needed.append(
                k8s.apiextensions.v1.CustomResourceDefinition(
                    f"{name}-{short}",
                    metadata={"name": f"{spec['names']['plural']}.{spec['group']}"},
                    spec=cast("k8s.apiextensions.v1.CustomResourceDefinitionSpecArgsDict", spec),
                    opts=self._child,
                )
            )
        subject: k8s.rbac.v1.SubjectArgsDict = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
        k8s.rbac.v1.ClusterRole(
            name, metadata={"name": NAME, "labels": marks}, rules=_rules(manifests.cluster_rules()), opts=self._child
        )
        needed.append(
            k8s.rbac.v1.ClusterRoleBinding(
                name,
                metadata={"name": NAME, "labels": marks},
                role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
                subjects=[subject],
                opts=self._child,
            )
        )
        for place, rules in ((NAMESPACE, manifests.own_rules()), ("kube-node-lease", manifests.lease_rules())):
            metadata: k8s.meta.v1.ObjectMetaArgsDict = {"name": NAME, "namespace": place, "labels": marks}
            k8s.rbac.v1.Role(f"{name}-{place}", metadata=metadata, rules=_rules(rules), opts=self._child)
            needed.append(
                k8s.rbac.v1.RoleBinding(
                    f"{name}-{place}",
                    metadata=metadata,
                    role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
                    subjects=[subject],
                    opts=self._child,
                )
            )
        described = manifests.deployment(
            image=args["image"],
            replicas=args["replicas"],
            cluster=args["cluster"],
            region=args["region"],
            queue=queue,
            isolated=args["isolated"],
        )
        if args["replicas"] > 1:
            # A budget for a single pod would block every node upgrade.
            k8s.policy.v1.PodDisruptionBudget(
                name,
                metadata={"name": NAME, "namespace": NAMESPACE, "labels": marks},
                spec={"max_unavailable": 1, "selector": {"match_labels": marks}},
                opts=self._child,
            )
        return k8s.apps.v1.Deployment(
            name,
            metadata=described["metadata"],
            spec=described["spec"],
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=needed)),
        )

    def _pools(self, profile: pulumi.Output[str], controller: pulumi.Resource) -> None:
        """Made after the controller, so that a destroy ends their nodes while it still runs."""
        name = self.pulumi_resource_name
        args = self._args
        classes = {owner: self._node_class(owner, profile, controller) for owner in manifests.owners(args["pools"])}
        for pool, (owner, spec) in manifests.node_pools(args["pools"]).items():
            k8s.apiextensions.CustomResource(
                f"{name}-{pool}",
                api_version=f"{manifests.CORE_GROUP}/v1",
                kind="NodePool",
                metadata={"name": pool, "labels": manifests.MARKS},
                spec=spec,
                opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[classes[owner]])),
            )

    def _node_class(
        self, owner: str | None, profile: pulumi.Output[str], controller: pulumi.Resource
    ) -> k8s.apiextensions.CustomResource:
        """What nodes have in common. Their tags are what budgets by part and by colour count."""
        args, stack = self._args, pulumi.get_stack()
        return k8s.apiextensions.CustomResource(
            manifests.of_owner(f"{self.pulumi_resource_name}-node-class", owner),
            api_version=f"{manifests.AWS_GROUP}/v1",
            kind="EC2NodeClass",
            metadata={"name": manifests.of_owner(manifests.NODE_CLASS, owner), "labels": manifests.MARKS},
            spec=manifests.node_class(
                ami_alias=args["ami_alias"],
                instance_profile=profile,
                subnet_ids=args["subnet_ids"],
                security_group_ids=args["security_group_ids"],
                volumes_key_arn=args["volumes_key_arn"],
                volume_gib=args["volume_gib"],
                tags={
                    "project": pulumi.get_project(),
                    "Name": manifests.of_owner("penstock-karpenter", owner),
                    STACK_TAG: stack,
                    PART_TAG: part(stack, "gpu"),
                    **({COLOUR_TAG: part(stack, owner)} if owner else {}),
                },
                reservation_ids=self._reservation_ids(),
            ),
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[controller])),
        )


def _rules(found: Sequence[Manifest]) -> list[k8s.rbac.v1.PolicyRuleArgsDict]:
    return [cast("k8s.rbac.v1.PolicyRuleArgsDict", rule) for rule in found]
