"""EKS: what the handlers of all its resources share (errors, checks against EC2 and IAM, the update record)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.eks.exceptions import InvalidParameterException, ResourceInUseException, ResourceNotFoundException
from moto.eks.utils import validate_role_arn
from moto.iam.models import iam_backends
from moto.moto_api._internal import mock_random

VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
"""Kubernetes versions that EKS offers (November 2026; the first three in extended support)."""


def missing(message: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(message=message)


def invalid(message: str) -> InvalidParameterException:
    return InvalidParameterException(message=message)


def in_use(cluster: Any, message: str) -> ResourceInUseException:
    return ResourceInUseException(clusterName=cluster.name, nodegroupName=None, addonName=None, message=message)


def cluster_of(response: Any) -> Any:
    """The cluster that the request names. Raises ResourceNotFoundException."""
    return response.eks_backend.describe_cluster(name=response._get_param("name"))


def ec2_of(backend: Any) -> Any:
    return ec2_backends[backend.account_id][backend.region_name]


def role_exists(backend: Any, arn: str) -> bool:
    roles = iam_backends[backend.account_id][backend.partition].roles.values()
    return any(role.arn == arn for role in roles)


def check_role(backend: Any, arn: str) -> None:
    validate_role_arn(arn)
    if not role_exists(backend, arn):
        raise invalid(
            f"Role with arn: {arn}, could not be assumed because it does not exist or the trusted entity is not correct"
        )


def check_subnets(backend: Any, identifiers: Iterable[str], zones: int) -> list[Any]:
    """The subnets, which must exist, share a VPC and lie in at least `zones` zones."""
    known = {subnet.id: subnet for by_zone in ec2_of(backend).subnets.values() for subnet in by_zone.values()}
    wanted = list(identifiers)
    for identifier in wanted:
        if identifier not in known:
            raise invalid(f"The subnet ID '{identifier}' does not exist")
    subnets = [known[identifier] for identifier in wanted]
    if len({subnet.vpc_id for subnet in subnets}) > 1:
        raise invalid("Subnets must be in the same VPC")
    if len({subnet.availability_zone for subnet in subnets}) < zones:
        raise invalid("Subnets specified must be in at least two different AZs")
    return subnets


def record_update(cluster: Any, kind: str, **parameters: str) -> ActionResult:
    """Stores a finished update, as DescribeUpdate will find it, and answers with it."""
    update = {
        "id": str(mock_random.uuid4()),
        "status": "Successful",
        "type": kind,
        "createdAt": utcnow(),
        "errors": [],
        "params": [{"type": name, "value": value} for name, value in parameters.items()],
    }
    cluster.updates[update["id"]] = update
    return ActionResult({"update": update})
