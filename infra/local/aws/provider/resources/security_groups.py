"""aws:ec2 security groups (with inline rules) and aws:vpc's rules as resources of their own."""

from __future__ import annotations

from collections.abc import Iterable

from infra.local.aws.provider.resources.ec2_tags import EC2_TAGS
from infra.local.aws.provider.row import Naming, Row, Scope, arn_output, creating, deleting, dig, finding, tags_of
from infra.local.aws.provider.schema import block_set, flag, integer, out, text, text_set
from infra.local.aws.provider.values import Values

RULE = {
    "protocol": text(required=True),
    "fromPort": integer(required=True),
    "toPort": integer(required=True),
    "cidrBlocks": text_set(),
    "ipv6CidrBlocks": text_set(),
    "prefixListIds": text_set(),
    "securityGroups": text_set(),
    "self": flag(),
    "description": text(),
}
DIRECTIONS = {"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}
RANGES = (
    ("cidrBlocks", "IpRanges", "CidrIp"),
    ("ipv6CidrBlocks", "Ipv6Ranges", "CidrIpv6"),
    ("prefixListIds", "PrefixListIds", "PrefixListId"),
)


def _permission(group: str, rule: Values) -> Values:
    """An inline rule as EC2's IpPermission."""
    note = {"Description": rule["description"]} if rule.get("description") else {}
    permission: Values = {"IpProtocol": rule["protocol"]}
    if rule["protocol"] != "-1":
        permission |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    for name, ranges, field in RANGES:
        if rule.get(name):
            permission[ranges] = [{field: it, **note} for it in rule[name]]
    groups = [*(rule.get("securityGroups") or []), *([group] if rule.get("self") else [])]
    if groups:
        permission["UserIdGroupPairs"] = [{"GroupId": it, **note} for it in groups]
    return permission


def _inline_rules(group: str, permissions: Iterable[Values]) -> list[Values]:
    """IpPermissions as inline rules: one per protocol, ports and description, as pulumi-aws groups them."""
    rules: dict[tuple[str, int, int, str], Values] = {}

    def rule(permission: Values, description: str) -> Values:
        ports = permission.get("FromPort", 0), permission.get("ToPort", 0)
        content = {"protocol": permission["IpProtocol"], "fromPort": ports[0], "toPort": ports[1]}
        note = {"description": description} if description else {}
        return rules.setdefault((permission["IpProtocol"], *ports, description), {**content, **note})

    for permission in permissions:
        for name, ranges, field in RANGES:
            for it in permission.get(ranges, []):
                rule(permission, it.get("Description", "")).setdefault(name, []).append(it[field])
        for pair in permission.get("UserIdGroupPairs", []):
            entry = rule(permission, pair.get("Description", ""))
            if pair["GroupId"] == group:
                entry["self"] = True
            else:
                entry.setdefault("securityGroups", []).append(pair["GroupId"])
    return list(rules.values())


def _describe(scope: Scope, group: str) -> Values:
    return scope.api.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]


def _put_rules(scope: Scope, group: str, values: Values, changed: frozenset[str]) -> None:
    live = _describe(scope, group)
    for direction in sorted(changed & set(DIRECTIONS)):
        if there := live.get(DIRECTIONS[direction]):
            getattr(scope.api, f"revoke_security_group_{direction}")(GroupId=group, IpPermissions=there)
        if rules := values.get(direction):
            permissions = [_permission(group, rule) for rule in rules]
            getattr(scope.api, f"authorize_security_group_{direction}")(GroupId=group, IpPermissions=permissions)


def _settle(scope: Scope, group: str, values: Values) -> None:
    # As pulumi-aws: a new group's rule that allows all egress goes; programs state what may leave.
    _put_rules(scope, group, values, frozenset(DIRECTIONS))


def _group_outputs(scope: Scope, group: str, raw: Values, state: Values) -> Values:
    # Rules that are resources of their own must not look like drift of a group without inline rules.
    return {
        "arn": raw.get("SecurityGroupArn") or scope.arn("ec2", f"security-group/{group}"),
        "ownerId": raw.get("OwnerId", scope.account),
        **{name: _inline_rules(group, raw.get(wire, [])) for name, wire in DIRECTIONS.items() if state.get(name)},
    }


SECURITY_GROUP = Row(
    kind="aws:ec2/securityGroup:SecurityGroup",
    service="ec2",
    fields={
        "name": text("GroupName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "description": text(default="Managed by Pulumi", replace=True),
        "vpcId": text(computed=True, replace=True),
        "ingress": block_set(RULE, False),
        "egress": block_set(RULE, False),
        "revokeRulesOnDelete": flag(False, default=False, write_only=True),
        "arn": arn_output(),
        "ownerId": out(text(False)),
    },
    create=creating("create_security_group", "GroupId", resource_type="security-group"),
    settle=_settle,
    find=finding("describe_security_groups", "SecurityGroups.0", lambda group: {"GroupIds": [group]}),
    derive=_group_outputs,
    update=_put_rules,
    delete=deleting("delete_security_group", lambda group: {"GroupId": group}),
    tagging=EC2_TAGS,
    naming=Naming(prefix_field="namePrefix"),
)


def _adopt(scope: Scope, values: Values) -> str:
    wanted = [{"Name": "group-name", "Values": ["default"]}]
    if values.get("vpcId"):
        wanted.append({"Name": "vpc-id", "Values": [values["vpcId"]]})
    else:
        vpc = scope.api.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
        wanted.append({"Name": "vpc-id", "Values": [vpc["VpcId"]]})
    return scope.api.describe_security_groups(Filters=wanted)["SecurityGroups"][0]["GroupId"]


def _settle_default(scope: Scope, group: str, values: Values) -> None:
    _settle(scope, group, values)
    if values.get("tagsAll"):
        EC2_TAGS.change(scope.api, group, {}, values["tagsAll"])


DEFAULT_SECURITY_GROUP = Row(
    kind="aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    service="ec2",
    fields={
        "vpcId": text(computed=True, replace=True),
        "ingress": block_set(RULE, False),
        "egress": block_set(RULE, False),
        "revokeRulesOnDelete": flag(False, default=False, write_only=True),
        "arn": arn_output(),
        "ownerId": out(text(False)),
        "name": out(text("GroupName")),
        "namePrefix": out(text(False)),
        "description": out(text()),
    },
    create=_adopt,
    settle=_settle_default,
    find=finding("describe_security_groups", "SecurityGroups.0", lambda group: {"GroupIds": [group]}),
    derive=lambda scope, group, raw, state: {
        **_group_outputs(scope, group, raw, state),
        **{name: _inline_rules(group, raw.get(wire, [])) for name, wire in DIRECTIONS.items()},
    },
    update=_put_rules,
    delete=lambda scope, group, state: None,  # AWS keeps a VPC's default group as long as the VPC
    tagging=EC2_TAGS,
)


def _rule_permission(values: Values) -> Values:
    """The one IpPermission of a rule resource."""
    note = {"Description": values["description"]} if values.get("description") else {}
    permission: Values = {"IpProtocol": values["ipProtocol"]}
    for name, field in (("fromPort", "FromPort"), ("toPort", "ToPort")):
        if values.get(name) is not None:
            permission[field] = values[name]
    for name, ranges, field in (
        ("cidrIpv4", "IpRanges", "CidrIp"),
        ("cidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("prefixListId", "PrefixListIds", "PrefixListId"),
        ("referencedSecurityGroupId", "UserIdGroupPairs", "GroupId"),
    ):
        if values.get(name):
            permission[ranges] = [{field: values[name], **note}]
    return permission


def _rule_row(direction: str, kind: str) -> Row:
    def create(scope: Scope, values: Values) -> str:
        made = getattr(scope.api, f"authorize_security_group_{direction}")(
            GroupId=values["securityGroupId"],
            IpPermissions=[_rule_permission(values)],
            **tags_of(scope, values, resource_type="security-group-rule"),
        )
        return made["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def update(scope: Scope, rule: str, values: Values, changed: frozenset[str]) -> None:
        request = {
            "IpProtocol": values["ipProtocol"],
            "FromPort": values.get("fromPort", -1),
            "ToPort": values.get("toPort", -1),
            "CidrIpv4": values.get("cidrIpv4"),
            "CidrIpv6": values.get("cidrIpv6"),
            "PrefixListId": values.get("prefixListId"),
            "ReferencedGroupId": values.get("referencedSecurityGroupId"),
            "Description": values.get("description", ""),
        }
        scope.api.modify_security_group_rules(
            GroupId=values["securityGroupId"],
            SecurityGroupRules=[
                {
                    "SecurityGroupRuleId": rule,
                    "SecurityGroupRule": {name: value for name, value in request.items() if value is not None},
                }
            ],
        )

    def delete(scope: Scope, rule: str, state: Values) -> None:
        group = state.get("securityGroupId")
        getattr(scope.api, f"revoke_security_group_{direction}")(GroupId=group, SecurityGroupRuleIds=[rule])

    def outputs(scope: Scope, rule: str, raw: Values, state: Values) -> Values:
        ports = {name: raw.get(wire) for name, wire in (("fromPort", "FromPort"), ("toPort", "ToPort"))}
        return {
            "arn": raw.get("SecurityGroupRuleArn") or scope.arn("ec2", f"security-group-rule/{rule}"),
            "referencedSecurityGroupId": dig(raw, "ReferencedGroupInfo.GroupId"),
            "description": raw.get("Description") or None,
            **{name: port for name, port in ports.items() if not (raw.get("IpProtocol") == "-1" and name not in state)},
        }

    return Row(
        kind=kind,
        service="ec2",
        fields={
            "securityGroupId": text("GroupId", required=True, replace=True),
            "ipProtocol": text(required=True),
            "fromPort": integer(False),
            "toPort": integer(False),
            "cidrIpv4": text(),
            "cidrIpv6": text(),
            "prefixListId": text(),
            "referencedSecurityGroupId": text(False),
            "description": text(False),
            "arn": arn_output(),
            "securityGroupRuleId": out(text()),
        },
        create=create,
        find=finding(
            "describe_security_group_rules", "SecurityGroupRules.0", lambda it: {"SecurityGroupRuleIds": [it]}
        ),
        derive=outputs,
        update=update,
        delete=delete,
        tagging=EC2_TAGS,
    )


ROWS = (
    SECURITY_GROUP,
    DEFAULT_SECURITY_GROUP,
    _rule_row("ingress", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"),
    _rule_row("egress", "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"),
)
