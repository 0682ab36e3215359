"""Which extension belongs to which of moto's services. Each is applied when its service is first asked for.

Loading a service of moto costs up to a second, so a server that starts does not load what nobody calls.
"""

from __future__ import annotations

import importlib
import threading

from infra.local.aws.moto.offerings import load_ec2

PARTS = {
    "acm": ("acm",),
    "autoscaling": ("autoscaling",),
    "budgets": ("budgets",),
    "ce": ("cost_explorer",),
    "cloudwatch": ("cloudwatch",),
    "ec2": ("ec2",),
    "eks": ("eks", "ec2"),
    "elasticache": ("elasticache",),
    "elb": ("elbv2",),  # moto serves both generations of load balancers from one
    "iam": ("policies",),
    "kms": ("kms",),
    "rds": ("rds",),
    "route53": ("route53",),
    "s3": ("policies", "s3"),
    "servicequotas": ("servicequotas",),
    "sqs": ("sqs",),
    "ssm": ("ssm",),
    "sts": ("identities",),
    "wafv2": ("wafv2",),
}
"""moto's name of a service -> modules of this package, each with an `install()`."""

READERS = ("cloudformation", "resourcegroupstaggingapi")
"""Services that read the objects of others."""


class Extensions:
    """Applies each part once. moto's classes are of the process, so one of these belongs to a process."""

    def __init__(self) -> None:
        self._applied: set[str] = set()
        self._lock = threading.RLock()
        self._ec2_loaded = False

    def install(self, service: str) -> None:
        with self._lock:
            if not self._ec2_loaded:
                self._ec2_loaded = True
                load_ec2()  # in our way, before another service loads it in its own
            if service in READERS:
                self.install_all()
            for part in PARTS.get(service, ()):
                if part not in self._applied:
                    self._applied.add(part)
                    importlib.import_module(f"infra.local.aws.moto.{part}").install()

    def install_all(self) -> None:
        for service in PARTS:
            self.install(service)
