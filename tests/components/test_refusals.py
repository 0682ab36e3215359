"""What a component refuses at once, with a sentence that names the input: no settings stand before it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from infra.rehearsal import Rehearsal

Registered = Callable[[Callable[[], object]], Rehearsal]
IN_A_PARTITION = (
    "AuditTrail", "Cluster", "Copies", "DataKeys", "FaultInjection", "Files", "Karpenter", "NodeGroups",
)  # fmt: skip


def component(name: str) -> Any:
    from components.package import COMPONENTS

    (found,) = [each for each in COMPONENTS if each.__name__ == name]
    return found


def test_no_component_of_a_partition_is_missing_here():
    from components.package import package_schema

    rows = package_schema()["resources"].items()
    found = {token.rpartition(":")[2] for token, row in rows if "partition" in row["inputProperties"]}
    assert found == set(IN_A_PARTITION)


@pytest.mark.parametrize("name", IN_A_PARTITION)
def test_china_is_refused_before_anything_is_made(registered: Registered, name: str):
    args = {"partition": "aws-cn", "region": "cn-north-1", "account_id": "111122223333"}
    with pytest.raises(ValueError, match="partition: 'aws-cn' is not supported; allowed: aws or aws-us-gov"):
        registered(lambda: component(name)("it", args))


def test_govcloud_is_as_it_was(registered: Registered):
    args = {"partition": "aws-us-gov", "region": "us-gov-west-1", "account_id": "111122223333", "protected": False}
    made = registered(lambda: component("DataKeys")("keys", args)).one("aws:kms/key:Key", "keys-weights")
    assert "arn:aws-us-gov:iam::111122223333:root" in made.inputs["policy"]


def role(*policies: str) -> Callable[[], object]:
    args = {"services": ["eks.amazonaws.com"], "description": "d", "managed_policies": policies}
    return lambda: component("ServiceRole")("role", args)


def cluster(administrators: Sequence[str]) -> Callable[[], object]:
    args = {
        "partition": "aws",
        "cluster_name": "c",
        "version": "1.36",
        "support": "STANDARD",
        "subnet_ids": ["subnet-a", "subnet-b"],
        "public_endpoint_cidrs": [],
        "administrators": administrators,
        "secrets_key_arn": "arn:key",
        "logs_key_arn": "arn:key",
        "log_retention_days": 30,
        "protected": False,
    }
    return lambda: component("Cluster")("cluster", args)


@pytest.mark.parametrize("build", [lambda arns: role(*arns), cluster])
def test_two_arns_that_would_name_one_resource_are_both_named(registered: Registered, build: Any):
    arns = [f"arn:aws:iam::111122223333:role/{path}/Admin" for path in ("a", "b")]
    with pytest.raises(ValueError, match=f"{arns[0]} and {arns[1]} both end in 'Admin'"):
        registered(build(arns))


def test_names_stay_the_last_parts_of_arns(registered: Registered):
    policies = registered(role("arn:aws:iam::aws:policy/a/First", "arn:aws:iam::aws:policy/Second"))
    attached = policies.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert [each.name for each in attached] == ["role-First", "role-Second"]
    entries = registered(cluster(["arn:aws:iam::111122223333:role/a/Admin"])).of_type("aws:eks/accessEntry:AccessEntry")
    assert [each.name for each in entries] == ["cluster-administrator-Admin"]
