"""What the deployer needs for each resource type: actions to read, actions to write, and the ARNs they are about.

`read` and `write` are actions that the local provider calls (a test compares them with its record). `more` are those
that AWS or Pulumi's official provider needs beside them, each with its reason. Sources: the Service Authorization
Reference for actions and resource types, the user guides of the services for dependent actions.
"""

from __future__ import annotations

from dataclasses import dataclass

OFFICIAL = "read or written by Pulumi's official provider"
TAGS = "AWS checks tagging when a resource is made with tags, and when its tags change"
CALLER = "the service acts in the caller's name when the resource is made"
FORCE = "an unprotected stack deletes what a bucket or repository still holds"
LINKED = "the first resource of an account makes the service-linked role of "
CHANGE = "called for a change that the record does not make"

EC2 = "arn:{partition}:ec2:{region}:{account}:"


@dataclass(frozen=True)
class Needs:
    """`arns`: templates over partition, region, account, name and the resource's own inputs."""

    arns: tuple[str, ...]
    read: tuple[str, ...]
    write: tuple[str, ...]
    more: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(reason, actions)."""
    name: str = "name"
    """The input that holds the physical name; without it Pulumi appends a random end to the logical one."""
    passes: str = ""
    """The service to which it hands a role (iam:PassRole)."""
    of: str = ""
    """The type of the resource that it belongs to: `{parent}` in an ARN is that one's name."""

    def reads(self) -> set[str]:
        return set(self.read) | {it for _, actions in self.more for it in actions if is_read(it)}

    def writes(self) -> set[str]:
        return set(self.write) | {it for _, actions in self.more for it in actions if not is_read(it)}


def is_read(action: str) -> bool:
    """Whether an action changes nothing. Reading a secret's value counts as one: a refresh compares it."""
    return action.split(":")[1].startswith(("Get", "List", "Describe", "View", "BatchGet"))


def needs(
    service: str,
    arns: str,
    read: str,
    write: str,
    *,
    more: tuple[tuple[str, str], ...] = (),
    name: str = "name",
    passes: str = "",
    of: str = "",
) -> Needs:
    """Actions and ARNs as words; an action without a service is of the type's own."""

    def full(words: str) -> tuple[str, ...]:
        return tuple(word if ":" in word else f"{service}:{word}" for word in words.split())

    return Needs(
        tuple(f"{EC2}{arn}" if service == "ec2" and arn != "*" else arn for arn in arns.split()),
        full(read),
        full(write),
        tuple((why, full(actions)) for why, actions in more),
        name,
        passes,
        of,
    )


EC2_TAGS = ((TAGS, "CreateTags DeleteTags"),)
BUCKET = "arn:{partition}:s3:::{bucket}"
ROLE = "arn:{partition}:iam::{account}:role/{role}"
ELB = "arn:{partition}:elasticloadbalancing:{region}:{account}:"
ELB_TAGS = (TAGS, "AddTags RemoveTags")
RULE_ARNS = "security-group/* security-group-rule/*"


def link(service: str) -> tuple[str, str]:
    return LINKED + service, "iam:CreateServiceLinkedRole"


USES_KEY = (f"{CALLER}: it encrypts with a customer-managed key", "kms:DescribeKey kms:CreateGrant")

NETWORK: dict[str, Needs] = {
    "aws:ec2/vpc:Vpc": needs(
        "ec2",
        "vpc/*",
        "DescribeVpcs DescribeVpcAttribute DescribeNetworkAcls DescribeRouteTables DescribeSecurityGroups",
        "CreateVpc DeleteVpc ModifyVpcAttribute CreateTags",
        more=((TAGS, "DeleteTags"),),
    ),
    "aws:ec2/subnet:Subnet": needs(
        "ec2",
        "subnet/* vpc/*",
        "DescribeSubnets",
        "CreateSubnet DeleteSubnet ModifySubnetAttribute",
        more=(*EC2_TAGS, (OFFICIAL, "DescribeNetworkInterfaces")),
    ),
    "aws:ec2/internetGateway:InternetGateway": needs(
        "ec2",
        "internet-gateway/* vpc/*",
        "DescribeInternetGateways",
        "CreateInternetGateway DeleteInternetGateway CreateTags",
        more=((TAGS, "DeleteTags"), (CHANGE, "AttachInternetGateway DetachInternetGateway")),
    ),
    "aws:ec2/eip:Eip": needs(
        "ec2",
        "elastic-ip/*",
        "DescribeAddresses",
        "AllocateAddress ReleaseAddress CreateTags",
        more=((TAGS, "DeleteTags"), (OFFICIAL, "DescribeAddressesAttribute DisassociateAddress")),
    ),
    "aws:ec2/natGateway:NatGateway": needs(
        "ec2",
        "natgateway/* subnet/* elastic-ip/*",
        "DescribeNatGateways",
        "CreateNatGateway DeleteNatGateway CreateTags",
        more=((TAGS, "DeleteTags"),),
    ),
    "aws:ec2/routeTable:RouteTable": needs(
        "ec2",
        "route-table/* vpc/*",
        "DescribeRouteTables",
        "CreateRouteTable DeleteRouteTable CreateRoute DeleteRoute",
        more=(*EC2_TAGS, (CHANGE, "ReplaceRoute DisassociateRouteTable")),
    ),
    "aws:ec2/route:Route": needs("ec2", "route-table/*", "DescribeRouteTables", "CreateRoute ReplaceRoute DeleteRoute"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": needs(
        "ec2",
        "route-table/* subnet/*",
        "DescribeRouteTables",
        "AssociateRouteTable DisassociateRouteTable",
        more=((CHANGE, "ReplaceRouteTableAssociation"),),
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": needs(
        "ec2",
        "vpc-endpoint/* vpc/* route-table/* subnet/* security-group/*",
        "DescribeVpcEndpoints DescribePrefixLists",
        "CreateVpcEndpoint ModifyVpcEndpoint DeleteVpcEndpoints CreateTags",
        more=((TAGS, "DeleteTags"),),
    ),
    "aws:ec2/securityGroup:SecurityGroup": needs(
        "ec2",
        f"{RULE_ARNS} vpc/*",
        "DescribeSecurityGroups",
        "CreateSecurityGroup DeleteSecurityGroup AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress "
        "RevokeSecurityGroupIngress RevokeSecurityGroupEgress",
        more=(*EC2_TAGS, (OFFICIAL, "DescribeNetworkInterfaces DescribeSecurityGroupRules")),
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": needs(
        "ec2",
        RULE_ARNS,
        "DescribeSecurityGroups",
        "RevokeSecurityGroupEgress CreateTags",
        more=((TAGS, "DeleteTags"), (OFFICIAL, "RevokeSecurityGroupIngress DescribeSecurityGroupRules")),
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": needs(
        "ec2",
        RULE_ARNS,
        "DescribeSecurityGroupRules",
        "AuthorizeSecurityGroupIngress ModifySecurityGroupRules RevokeSecurityGroupIngress",
        more=EC2_TAGS,
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": needs(
        "ec2",
        RULE_ARNS,
        "DescribeSecurityGroupRules",
        "AuthorizeSecurityGroupEgress ModifySecurityGroupRules RevokeSecurityGroupEgress",
        more=EC2_TAGS,
    ),
    "aws:ec2/flowLog:FlowLog": needs(
        "ec2",
        "vpc-flow-log/* vpc/*",
        "DescribeFlowLogs",
        "CreateFlowLogs DeleteFlowLogs",
        more=(*EC2_TAGS, (CALLER, "logs:CreateLogDelivery logs:DeleteLogDelivery logs:DescribeLogGroups")),
        passes="vpc-flow-logs.amazonaws.com",
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": needs(
        "ec2",
        "launch-template/*",
        "DescribeLaunchTemplates DescribeLaunchTemplateVersions",
        "CreateLaunchTemplate CreateLaunchTemplateVersion ModifyLaunchTemplate DeleteLaunchTemplate",
        more=EC2_TAGS,
    ),
}

ACCESS: dict[str, Needs] = {
    "aws:iam/role:Role": needs(
        "iam",
        "arn:{partition}:iam::{account}:role/{name}",
        "GetRole GetRolePolicy ListRolePolicies ListAttachedRolePolicies",
        "CreateRole UpdateRole DeleteRole PutRolePolicy DeleteRolePolicy AttachRolePolicy DetachRolePolicy",
        more=(
            (TAGS, "TagRole UntagRole"),
            (CHANGE, "UpdateAssumeRolePolicy PutRolePermissionsBoundary"),
            (OFFICIAL, "ListInstanceProfilesForRole UpdateRoleDescription"),
        ),
    ),
    "aws:iam/rolePolicy:RolePolicy": needs(
        "iam", ROLE, "GetRolePolicy", "PutRolePolicy DeleteRolePolicy", more=((OFFICIAL, "GetRole"),)
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": needs(
        "iam", ROLE, "ListAttachedRolePolicies", "AttachRolePolicy DetachRolePolicy", more=((OFFICIAL, "GetRole"),)
    ),
    "aws:iam/instanceProfile:InstanceProfile": needs(
        "iam",
        "arn:{partition}:iam::{account}:instance-profile/{name}",
        "GetInstanceProfile",
        "CreateInstanceProfile AddRoleToInstanceProfile RemoveRoleFromInstanceProfile DeleteInstanceProfile",
        more=((TAGS, "TagInstanceProfile UntagInstanceProfile"),),
        passes="ec2.amazonaws.com",
    ),
    "aws:kms/key:Key": needs(
        "kms",
        "arn:{partition}:kms:{region}:{account}:key/*",
        "DescribeKey GetKeyPolicy GetKeyRotationStatus ListResourceTags",
        "CreateKey EnableKeyRotation PutKeyPolicy UpdateKeyDescription ScheduleKeyDeletion",
        more=((TAGS, "TagResource UntagResource"), (CHANGE, "EnableKey DisableKey DisableKeyRotation")),
    ),
    "aws:kms/alias:Alias": needs(
        "kms",
        "arn:{partition}:kms:{region}:{account}:alias/{name} arn:{partition}:kms:{region}:{account}:key/*",
        "ListAliases",
        "CreateAlias UpdateAlias DeleteAlias",
    ),
    "aws:secretsmanager/secret:Secret": needs(
        "secretsmanager",
        "arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-*",
        "DescribeSecret",
        "CreateSecret UpdateSecret DeleteSecret TagResource",
        more=(
            (TAGS, "UntagResource"),
            (OFFICIAL, "GetResourcePolicy"),
            (CALLER, "kms:Decrypt kms:GenerateDataKey"),
        ),
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": needs(
        "secretsmanager",
        "arn:{partition}:secretsmanager:{region}:{account}:secret:{parent}-*",
        "DescribeSecret GetSecretValue",
        "PutSecretValue",
        more=((CALLER, "kms:Decrypt kms:GenerateDataKey"), (CHANGE, "UpdateSecretVersionStage")),
        of="aws:secretsmanager/secret:Secret",
    ),
    "aws:acm/certificate:Certificate": needs(
        "acm",
        "arn:{partition}:acm:{region}:{account}:certificate/*",
        "DescribeCertificate ListTagsForCertificate",
        "RequestCertificate DeleteCertificate AddTagsToCertificate",
        more=((TAGS, "RemoveTagsFromCertificate"),),
    ),
    "aws:acm/certificateValidation:CertificateValidation": needs(
        "acm", "arn:{partition}:acm:{region}:{account}:certificate/*", "DescribeCertificate", ""
    ),
    "aws:route53/record:Record": needs(
        "route53",
        "arn:{partition}:route53:::hostedzone/{zoneId} arn:{partition}:route53:::change/*",
        "ListResourceRecordSets GetChange",
        "ChangeResourceRecordSets",
        more=((OFFICIAL, "GetHostedZone"),),
    ),
    "aws:wafv2/webAcl:WebAcl": needs(
        "wafv2",
        "arn:{partition}:wafv2:{region}:{account}:*/webacl/{name}/* "
        "arn:{partition}:wafv2:{region}:{account}:*/managedruleset/*",
        "GetWebACL ListTagsForResource",
        "CreateWebACL UpdateWebACL DeleteWebACL TagResource",
        more=((TAGS, "UntagResource"),),
    ),
    "aws:wafv2/webAclAssociation:WebAclAssociation": needs(
        "wafv2",
        f"arn:{{partition}}:wafv2:{{region}}:{{account}}:*/webacl/* {ELB}loadbalancer/app/*",
        "GetWebACLForResource",
        "AssociateWebACL DisassociateWebACL",
        more=((CALLER, "GetWebACL elasticloadbalancing:SetWebACL"),),
    ),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": needs(
        "wafv2",
        "arn:{partition}:wafv2:{region}:{account}:*/webacl/*",
        "GetLoggingConfiguration",
        "PutLoggingConfiguration DeleteLoggingConfiguration",
        more=(
            link("wafv2.amazonaws.com"),
            (
                CALLER,
                (
                    "logs:CreateLogDelivery logs:DeleteLogDelivery logs:PutResourcePolicy "
                    "logs:DescribeResourcePolicies logs:DescribeLogGroups"
                ),
            ),
        ),
    ),
}
