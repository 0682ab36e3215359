"""Rules on access: who may do what, and what is open to whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from infra.policy.subject import Subject, grants, listed, parsed

ANYWHERE = ("0.0.0.0/0", "::/0")
PUBLIC_PORTS = (80, 443)
PRODUCTION_PORTS = (443,)
ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"

WITHOUT_RESOURCES = (
    "ec2:Describe*", "elasticloadbalancing:Describe*", "cloudwatch:PutMetricData", "cloudwatch:GetMetric*",
    "ecr:GetAuthorizationToken", "pricing:GetProducts", "sts:GetCallerIdentity", "ssm:DescribeParameters",
    "iam:ListInstanceProfiles", "servicequotas:List*", "xray:Put*",
)  # fmt: skip
"""Actions to which AWS gives no resource (Service Authorization Reference): `*` is all that can be written."""

RESOURCE_POLICIES = {
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:kms/key:Key": "policy",
    ROLE: "assumeRolePolicy",
}
NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy", "AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEC2ContainerRegistryReadOnly", "AmazonSSMManagedInstanceCore",
)  # fmt: skip
"""Managed policies that a node needs to join and to pull images; none of them reads data."""
DATA_SERVICES = (
    "s3", "secretsmanager", "ssm", "kms", "rds", "rds-data", "rds-db", "dynamodb", "sqs", "sns", "elasticache",
)  # fmt: skip


def roles_name_what_they_may_touch(subject: Subject) -> Iterator[str]:
    """Policies of roles name actions and ARNs: no `*`, where AWS allows better."""
    match subject.type:
        case "aws:iam/rolePolicy:RolePolicy" | "aws:iam/policy:Policy":
            documents = [subject.props.get("policy")]
        case "aws:iam/role:Role":
            documents = [each.get("policy") for each in subject.props.get("inlinePolicies") or []]
        case _:
            return
    for statement in (it for document in documents for it in grants(document)):
        for key in ("NotAction", "NotResource"):
            if key in statement:
                yield f"{key} in an Allow statement grants everything else"
        actions = listed(statement.get("Action"))
        scoped = [it for it in actions if not any(fnmatchcase(it, free) for free in WITHOUT_RESOURCES)]
        if "*" in listed(statement.get("Resource")) and scoped:
            yield f"Resource * grants every resource of the account to {', '.join(scoped)}; name the ARNs"
        for action in actions:
            if action == "*" or action.endswith(":*"):
                yield f"Action {action} grants a whole service; name the actions"


def policies_of_resources_name_who_may(subject: Subject) -> Iterator[str]:
    """No bucket, topic, queue, key or role is open to everybody without a condition."""
    key = RESOURCE_POLICIES.get(subject.type)
    if key is None:
        return
    for statement in grants(subject.props.get(key)):
        principal = statement.get("Principal")
        everyone = principal == "*" or (isinstance(principal, Mapping) and "*" in listed(principal.get("AWS")))
        if (everyone or "NotPrincipal" in statement) and not statement.get("Condition"):
            yield f"{key} opens {', '.join(listed(statement.get('Action')))} to everybody; name the principal"


def databases_are_private(subject: Subject) -> Iterator[str]:
    """Databases have no public address."""
    if subject.type == "aws:rds/instance:Instance" and subject.props.get("publiclyAccessible") is True:
        yield "publiclyAccessible must be false"


def only_the_edge_is_open(subject: Subject) -> Iterator[str]:
    """Only ports 80 and 443 are open to everybody; in production 443 alone."""
    allowed = PRODUCTION_PORTS if subject.in_production else PUBLIC_PORTS
    for start, end in _open_ports(subject):
        if start != end or start not in allowed:
            named = " and ".join(map(str, allowed))
            yield f"ports {start} to {end} must not be open to everybody; allowed: {named}, one in each rule"


def _open_ports(subject: Subject) -> Iterator[tuple[Any, Any]]:
    props = subject.props
    if subject.type == INGRESS:
        if props.get("cidrIpv4") in ANYWHERE or props.get("cidrIpv6") in ANYWHERE:
            yield props.get("fromPort"), props.get("toPort")
    elif subject.type == "aws:ec2/securityGroup:SecurityGroup":
        for rule in props.get("ingress") or []:
            if set(ANYWHERE) & {*(rule.get("cidrBlocks") or []), *(rule.get("ipv6CidrBlocks") or [])}:
                yield rule.get("fromPort"), rule.get("toPort")


def the_default_group_is_closed(subject: Subject) -> Iterator[str]:
    """The network's default security group lets nothing through."""
    if subject.type != "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup":
        return
    for direction in ("ingress", "egress"):
        if subject.props.get(direction):
            yield f"{direction} must be empty: whatever names no group of its own lands in this one"


def production_keeps_its_api_private(subject: Subject) -> Iterator[str]:
    """In production the cluster's API has no public endpoint."""
    if not subject.in_production or subject.type != "aws:eks/cluster:Cluster":
        return
    network = subject.props.get("vpcConfig") or {}
    # EKS opens the endpoint where nothing is said.
    if network.get("endpointPublicAccess") is not False:
        yield "vpcConfig.endpointPublicAccess must be false in production"
    if network.get("endpointPrivateAccess") is not True:
        yield "vpcConfig.endpointPrivateAccess must be true in production"


def nodes_answer_metadata_v2_only(subject: Subject) -> Iterator[str]:
    """Nodes answer IMDSv2 alone, over one hop, so that pods cannot take their credentials."""
    if subject.type != "aws:ec2/launchTemplate:LaunchTemplate":
        return
    options = subject.props.get("metadataOptions") or {}
    if options.get("httpTokens") != "required":
        yield "metadataOptions.httpTokens must be required (IMDSv2)"
    if options.get("httpPutResponseHopLimit") != 1:
        yield "metadataOptions.httpPutResponseHopLimit must be 1, so that pods cannot take the node's credentials"


def node_roles_reach_no_data(subjects: Sequence[Subject]) -> Iterator[str]:
    """Roles of nodes reach no data.

    A node's credentials are in reach of whatever breaks out of a pod: data belongs to pod identities.
    """
    for role in subjects:
        if role.type != ROLE or "ec2.amazonaws.com" not in _trusted_services(role):
            continue
        arns = list(role.props.get("managedPolicyArns") or [])
        documents = [each.get("policy") for each in role.props.get("inlinePolicies") or []]
        for each in subjects:
            if role.urn in each.dependencies and each.type == ATTACHMENT:
                arns.append(each.props.get("policyArn") or "")
            elif role.urn in each.dependencies and each.type == ROLE_POLICY:
                documents.append(each.props.get("policy"))
        for arn in arns:
            if arn.rsplit("/", 1)[-1] not in NODE_POLICIES:
                yield f"{role.name}: the node role has {arn}; allowed: {', '.join(NODE_POLICIES)}"
        for statement in (it for document in documents for it in grants(document)):
            for action in listed(statement.get("Action")):
                if action.split(":")[0] in ("*", *DATA_SERVICES):
                    yield f"{role.name}: the node role may {action}; give it to a pod identity"


def roles_share_one_boundary(subjects: Sequence[Subject]) -> Iterator[str]:
    """Where one role has a permissions boundary, all have the same one.

    One role without the boundary would be the way around it.
    """
    roles = [each for each in subjects if each.type == ROLE]
    boundaries = sorted(
        {str(role.props.get("permissionsBoundary")) for role in roles if role.props.get("permissionsBoundary")}
    )
    for role in roles if boundaries else []:
        if role.props.get("permissionsBoundary") != boundaries[0]:
            yield f"{role.name}: permissionsBoundary must be {boundaries[0]}, as that of the other roles"


def _trusted_services(role: Subject) -> set[str]:
    policy = parsed(role.props.get("assumeRolePolicy"))
    return {service for it in grants(policy) for service in listed((it.get("Principal") or {}).get("Service"))}
