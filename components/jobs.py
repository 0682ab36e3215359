"""Files, batches and jobs: where their files rest, and the pods that work on them."""

from typing import TypedDict, cast

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import jobs_manifests as manifests
from components import policies
from components.arns import supported
from components.buckets import private_bucket
from components.jobs_manifests import APP, WorkersShape
from components.keys import DELETION_WINDOW_DAYS, ROTATION_DAYS
from components.manifests import service as pods_service
from components.network_policies import WORKER_PORT
from components.options import stateful

OLD_VERSION_DAYS = 1
"""A file that a client deletes is gone for good a day later."""


class FilesArgs(TypedDict):
    partition: str
    account_id: str
    keep_days: int
    """Files go after so many days, also those that the workers forgot."""
    protected: bool
    """Refuses to delete bucket and key; without it a destroy empties and deletes the bucket."""


class Files(pulumi.ComponentResource):
    """The bucket of clients' files and answers, and its key."""

    bucket: pulumi.Output[str]
    """The bucket's name."""
    arn: pulumi.Output[str]
    """ARN of the bucket, for the roles of those who keep files in it."""
    key_arn: pulumi.Output[str]
    """ARN of the KMS key that encrypts the files: whoever reads or writes them needs its use too."""

    def __init__(self, name: str, args: FilesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Files", name, None, opts)
        # A key that is replaced or deleted makes its data unreadable: never rename.
        key = aws.kms.Key(
            name,
            description="Penstock: files",
            policy=policies.dumps(
                policies.document(policies.account_may_administer(supported(args["partition"]), args["account_id"]))
            ),
            enable_key_rotation=True,
            rotation_period_in_days=ROTATION_DAYS,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            opts=stateful(self, args["protected"]),
        )
        aws.kms.Alias(name, target_key_id=key.key_id, opts=pulumi.ResourceOptions(parent=self))
        made = private_bucket(
            self,
            name,
            protected=args["protected"],
            key_arn=key.arn,
            rule="end-of-files",
            old_version_days=OLD_VERSION_DAYS,
            days=args["keep_days"] + 1,
        )
        self.bucket = made.bucket.bucket
        self.arn = made.bucket.arn
        self.key_arn = key.arn
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "keyArn": self.key_arn})


class JobWorkersArgs(TypedDict):
    namespace: pulumi.Input[str]
    workers: WorkersShape
    """What the workers run, how large they are and how many."""


class JobWorkers(pulumi.ComponentResource):
    """The workers, with an identity of their own, what they may reach, and how many may go at once."""

    def __init__(self, name: str, args: JobWorkersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:JobWorkers", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        namespace, shape, marks = args["namespace"], args["workers"], manifests.labels()
        mine: k8s.meta.v1.ObjectMetaArgsDict = {"name": APP, "namespace": namespace, "labels": marks}
        account = k8s.core.v1.ServiceAccount(name, metadata=mine, automount_service_account_token=True, opts=child)
        # The gateways' right to see pods: workers look for gateways as these look for engines.
        binding = k8s.rbac.v1.RoleBinding(
            name,
            metadata=mine,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": "gateway"},
            subjects=[{"kind": "ServiceAccount", "name": APP, "namespace": namespace}],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[account]),
        )
        found = manifests.scaled_object(shape, namespace)
        for policy, spec in manifests.network_policies(shape["vpc_cidr"], scaled=found is not None).items():
            k8s.networking.v1.NetworkPolicy(
                f"{name}-{policy}",
                metadata={"name": policy, "namespace": namespace, "labels": marks},
                spec=cast("k8s.networking.v1.NetworkPolicySpecArgsDict", spec),
                opts=child,
            )
        workers = manifests.deployment(shape, namespace)
        deployment = k8s.apps.v1.Deployment(
            name,
            metadata=workers["metadata"],
            spec=workers["spec"],
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[account, binding],
                # The autoscaler's from the first day on: an update that set them would undo what it did.
                ignore_changes=["spec.replicas"] if found else None,
            ),
        )
        if found:
            service = pods_service(APP, namespace, marks, WORKER_PORT)
            k8s.core.v1.Service(name, metadata=service["metadata"], spec=service["spec"], opts=child)
            k8s.apiextensions.CustomResource(
                name,
                api_version="keda.sh/v1alpha1",
                kind="ScaledObject",
                metadata=found["metadata"],
                spec=found["spec"],
                opts=pulumi.ResourceOptions(parent=self, depends_on=[deployment]),
            )
        if shape["replicas"] > 1 or found:
            k8s.policy.v1.PodDisruptionBudget(
                name,
                metadata=mine,
                spec={
                    "max_unavailable": 1,
                    "selector": {"match_labels": marks},
                    # Workers without their database are not ready; that must not hold a node.
                    "unhealthy_pod_eviction_policy": "AlwaysAllow",
                },
                opts=child,
            )
        self.register_outputs({})
