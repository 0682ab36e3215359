"""Findings of checkov that are meant, each with its reason. One that no finding needs any more fails the scan."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Accepted:
    """One check, the resources that may fail it (shell patterns), and why."""

    check: str
    resources: tuple[str, ...]
    reason: str
    stacks: tuple[str, ...] = ("dev", "prod")
    """Where it is needed: a stack that does without fails the scan if it is listed here."""

    def covers(self, check: str, resource: str, stack: str) -> bool:
        return (
            check == self.check
            and stack in self.stacks
            and any(fnmatchcase(resource, pattern) for pattern in self.resources)
        )


EXCEPTIONS = (
    Accepted(
        "CKV_AWS_339",
        ("aws_eks_cluster.*",),
        "The scanner's list of versions is older than EKS 1.36; `infra/settings/versions.py` holds the floor.",
    ),
    Accepted(
        "CKV_AWS_37",
        ("aws_eks_cluster.*",),
        "api, audit and authenticator are logged; scheduler and controller manager cost much and tell no access.",
    ),
    Accepted(
        "CKV_AWS_378",
        ("aws_lb_target_group.edge-*",),
        "TLS ends at the load balancer. From there only its security group reaches the pods, inside the VPC.",
    ),
    Accepted(
        "CKV_AWS_145",
        ("aws_s3_bucket.access-logs",),
        "AWS delivers load balancer logs to no bucket that a customer-managed key encrypts.",
    ),
    Accepted("CKV_AWS_18", ("aws_s3_bucket.trail",), "The trail itself logs who reads it."),
    Accepted(
        "CKV_AWS_18",
        ("aws_s3_bucket.copies-weights",),
        "A log must rest in its bucket's region; the trail, which covers all regions, tells who changed it.",
        stacks=("prod",),
    ),
    Accepted(
        "CKV_AWS_144",
        ("aws_s3_bucket.*",),
        "Logs stay in their region (residency). Weights are fetched again from their source by digest.",
    ),
    Accepted("CKV2_AWS_62", ("aws_s3_bucket.*",), "Nothing waits for an event of these buckets."),
    Accepted(
        "CKV_AWS_252",
        ("aws_cloudtrail.trail",),
        "A topic would tell of each delivered file. What must be known at once comes as EventBridge events and alarms.",
    ),
    Accepted(
        "CKV2_AWS_10",
        ("aws_cloudtrail.trail",),
        "The trail is kept validated in S3. A second copy as log events costs more than the trail.",
    ),
    Accepted(
        "CKV2_AWS_57",
        ("aws_secretsmanager_secret.*",),
        "Rotation by schedule needs a function that knows both sides; keys are rotated by `penstock key rotate`.",
    ),
    Accepted(
        "CKV2_AWS_76",
        ("aws_lb.edge",),
        "The check asks for AWSManagedRulesAnonymousIpList too, which refuses clients that call from clouds.",
    ),
    Accepted(
        "CKV_AWS_338",
        ("aws_cloudwatch_log_group.*",),
        "How long each class of logs is kept is a setting; request logs hold personal data and are kept short.",
    ),
    Accepted(
        "CKV_K8S_11",
        ("Deployment.*", "Job.*", "CronJob.*"),
        "A CPU limit throttles within each 100 ms and shows as latency; requests share the node, memory has limits.",
    ),
    Accepted(
        "CKV_K8S_22",
        ("Deployment.penstock.engine-*",),
        "vLLM and its compilers write beside their code; each pod's layer dies with it.",
    ),
    Accepted(
        "CKV_K8S_38",
        (
            "Deployment.penstock.gateway-*",
            "Deployment.penstock.collector",
            "Deployment.kube-system.*",
            "Deployment.keda.*",
        ),
        "They watch or change Kubernetes objects, by a role of least rights.",
    ),
    Accepted(
        "CKV_K8S_35",
        ("Deployment.penstock.gateway-*", "Deployment.penstock.jobs", "Job.penstock.*"),
        "The gateway starts no other process, and reads its passwords once at its start; keys are a mounted file.",
    ),
    Accepted(
        "CKV_AWS_18",
        ("aws_s3_bucket.files",),
        "Clients reach their files through gateways alone, whose log names key and request.",
    ),
    Accepted(
        "CKV_AWS_118",
        ("aws_db_instance.database",),
        "Performance Insights and CloudWatch tell of load and waits; figures of the host would need one more role.",
    ),
    *(
        Accepted(check, resources, reason, stacks=("dev",))
        for check, resources, reason in (
            ("CKV_K8S_43", ("*.penstock.*",), "dev follows tags, which its registries keep immutable."),
            ("CKV_K8S_15", ("*.penstock.*",), "Tags are immutable: what a node holds is what is asked for."),
            ("CKV_AWS_39", ("aws_eks_cluster.cluster",), "Developers reach dev's API server from listed networks."),
            ("CKV_AWS_2", ("aws_lb_listener.edge",), "dev starts without a domain; listed networks alone reach it."),
            ("CKV_AWS_103", ("aws_lb_listener.edge",), "As CKV_AWS_2: no TLS without a domain."),
            ("CKV2_AWS_20", ("aws_lb.edge",), "As CKV_AWS_2: nowhere to redirect to."),
            ("CKV_AWS_150", ("aws_lb.edge",), "dev is not protected (`penstock:protected`): it may be thrown away."),
            ("CKV_AWS_293", ("aws_db_instance.database",), "As CKV_AWS_150."),
            ("CKV_AWS_157", ("aws_db_instance.database",), "dev does without a standby (`data.database.multiZone`)."),
            ("CKV2_AWS_50", ("aws_elasticache_replication_group.cache",), "dev's cache is one node."),
        )
    ),
)
