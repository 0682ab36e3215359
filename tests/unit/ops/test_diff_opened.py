"""What a policy or a network opens: containment of documents, addresses, verbs."""

import json

import pytest

from infra.ops.diff import opened
from infra.ops.diff.opened import ALL_PORTS, Rule


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*"):
    return {"Effect": "Deny", "Action": action, "Resource": resource}


READ = allow("s3:GetObject", "arn:aws:s3:::weights/*")
TLS = {"Bool": {"aws:SecureTransport": "true"}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (policy(READ), policy(READ)),
        (policy(READ), policy({**READ, "Sid": "Renamed"})),
        (policy(allow(["s3:Get*"])), policy(allow(["s3:GetObject", "S3:getobjectversion"]))),
        (policy(allow("*")), policy(READ)),
        (policy(READ), policy({**READ, "Action": ["s3:GetObject"]})),
        (policy(READ, allow("sqs:SendMessage")), policy(allow("sqs:SendMessage"), READ)),
        (policy(READ), policy({**READ, "Condition": TLS})),
        (policy(READ), policy()),
        (policy(READ), None),
        (policy(READ), policy(READ, deny("s3:*"))),
        (policy(allow("s3:GetObject", "arn:aws:s3:::*")), policy(allow("s3:GetObject", "arn:aws:s3:::weights/a"))),
        (None, None),
    ],
)  # fmt: skip
def test_nothing_is_opened_where_the_old_policy_covers_the_new_one(old, new):
    assert opened.policies(old, new).opened == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (policy(READ), policy(READ, allow("s3:PutObject")), "s3:PutObject on *"),
        (policy(READ), policy({**READ, "Action": "s3:*"}), "s3:* on arn:aws:s3:::weights/*"),
        (policy(READ), policy({**READ, "Resource": "*"}), "s3:GetObject on *"),
        (policy({**READ, "Condition": TLS}), policy(READ), "s3:GetObject on arn:aws:s3:::weights/*"),
        (policy(READ, deny("s3:DeleteObject")), policy(READ), "no longer denied: s3:DeleteObject on *"),
        (policy(READ, deny("s3:*")), policy(READ, deny("s3:PutObject")), "no longer denied: s3:* on *"),
        (None, policy(READ), "s3:GetObject on arn:aws:s3:::weights/*"),
        (policy(READ), policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), "all but iam:* on *"),
        (policy(allow("sts:AssumeRole", Principal={"AWS": "arn:aws:iam::1:root"})),
         policy(allow("sts:AssumeRole", Principal={"AWS": "*"})), "AWS *: sts:AssumeRole on *"),
        (policy({**READ, "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}),
         policy({**READ, "Condition": {"StringEquals": {"aws:SourceVpc": ["vpc-1", "vpc-2"]}}}),
         's3:GetObject on arn:aws:s3:::weights/* if {"StringEquals": {"aws:SourceVpc": ["vpc-1", "vpc-2"]}}'),
    ],
)  # fmt: skip
def test_what_the_old_policy_does_not_cover_is_named(old, new, expected):
    assert opened.policies(old, new).opened == (expected,)


def test_a_policy_that_cannot_be_judged_counts_as_opened():
    strange = policy({"Effect": "Allow", "NotPrincipal": {"AWS": "x"}, "Action": "s3:*", "Resource": "*"})
    assert "cannot be judged" in opened.policies(policy(READ), strange).opened[0]


@pytest.mark.parametrize("side", ["[known after the update]", "not JSON"])
def test_a_policy_that_is_not_known_yet_counts_as_opened(side):
    assert "read it in the code" in opened.policies(policy(READ), side).opened[0]


def test_a_policy_that_stays_unknown_counts_as_opened_as_well():
    unknown = "[known after the update]"
    assert opened.policies(unknown, unknown).opened


def test_what_is_taken_away_is_closed():
    found = opened.policies(policy(READ, allow("sqs:SendMessage")), policy(READ))
    assert (found.opened, found.closed) == ((), ("sqs:SendMessage on *",))


@pytest.mark.parametrize(
    ("inner", "outer", "contained"),
    [
        (Rule("10.0.1.0/24", "tcp", (443, 443)), Rule("10.0.0.0/16", "tcp", (443, 443)), True),
        (Rule("10.0.1.0/24", "tcp", (443, 443)), Rule("0.0.0.0/0", "-1", ALL_PORTS), True),
        (Rule("10.0.0.0/16", "tcp", (443, 443)), Rule("10.0.1.0/24", "tcp", (443, 443)), False),
        (Rule("10.0.1.0/24", "tcp", (443, 444)), Rule("10.0.0.0/16", "tcp", (443, 443)), False),
        (Rule("10.0.1.0/24", "udp", (443, 443)), Rule("10.0.0.0/16", "tcp", (443, 443)), False),
        (Rule("10.0.1.0/24", "-1", ALL_PORTS), Rule("10.0.1.0/24", "tcp", ALL_PORTS), False),
        (Rule("::/0", "tcp", (1, 1)), Rule("0.0.0.0/0", "tcp", (1, 1)), False),
        (Rule("sg-1", "tcp", (1, 1)), Rule("sg-1", "tcp", (1, 1)), True),
        (Rule("sg-2", "tcp", (1, 1)), Rule("sg-1", "tcp", (1, 1)), False),
    ],
)
def test_a_rule_lies_within_another_by_addresses_protocol_and_ports(inner, outer, contained):
    assert inner.within(outer) is contained


def test_both_ways_of_writing_a_rule_are_read():
    separate = {"cidrIpv4": "10.0.0.0/8", "ipProtocol": "tcp", "fromPort": 80, "toPort": 80}
    inline = {"cidrBlocks": ["10.0.0.0/8"], "protocol": "tcp", "fromPort": 80, "toPort": 80, "self": True}
    assert opened.group_rules(separate) == [Rule("10.0.0.0/8", "tcp", (80, 80))]
    assert [rule.source for rule in opened.group_rules(inline)] == ["10.0.0.0/8", "the group itself"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (["10.0.0.0/8"], ["10.1.0.0/16"], ()),
        (["10.1.0.0/16"], ["10.0.0.0/8"], ("10.0.0.0/8",)),
        ([], ["0.0.0.0/0"], ("0.0.0.0/0",)),
    ],
)
def test_a_list_of_ranges_opens_what_no_old_range_holds(old, new, expected):
    assert opened.ranges(old, new).opened == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}],
         [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}], ()),
        ([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
         [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get"]}], ("get secrets",)),
        ([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"], "resourceNames": ["a"]}],
         [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}], ("get apps/deployments",)),
    ],
)  # fmt: skip
def test_a_role_of_the_cluster_opens_verbs_on_resources(old, new, expected):
    assert opened.cluster_rules(old, new).opened == expected


def test_a_network_policy_that_goes_opens_everything():
    spec = {"policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]}
    assert opened.network_policy(spec, {}).opened == ("ingress from anything",)
    assert opened.network_policy({}, spec).opened == ()


def test_a_network_policy_opens_a_peer_that_was_not_there():
    old = {"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}
    new = {"policyTypes": ["Egress"], "egress": [*old["egress"], {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}
    assert opened.network_policy(old, new).opened == ("egress to 0.0.0.0/0 (TCP any)",)
