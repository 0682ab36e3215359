"""What a change means: a table of good and bad cases, by the worst risk."""

import pytest

from infra.ops.changes import differences
from infra.ops.diff.kinds import HOLDS, SENSITIVE, SERVES, Risk
from infra.ops.diff.risk import judge
from infra.ops.diff.steps import Step
from infra.policy.needs_services import NEEDS

RDS, BUCKET, KEY = "aws:rds/instance:Instance", "aws:s3/bucket:Bucket", "aws:kms/key:Key"
GROUP, RULE, LOGS = (
    "aws:eks/nodeGroup:NodeGroup",
    "aws:lb/listenerRule:ListenerRule",
    "aws:cloudwatch/logGroup:LogGroup",
)
DEPLOYMENT, CONFIG = "kubernetes:apps/v1:Deployment", "kubernetes:core/v1:ConfigMap"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
TEMPLATE = {"spec": {"containers": [{"image": "engine:1"}]}}


def update(kind, old, new, **more):
    return Step("update", kind, "thing", tuple(differences(old, new)), old=old, new=new, **more)


def weights(share):
    return {"actions": [{"forward": {"targetGroups": [{"weight": share}]}}]}


def pods(replicas, image="engine:1"):
    return {"spec": {"replicas": replicas, "template": {"spec": {"containers": [{"image": image}]}}}}


CASES = [
    # The bad ones
    ("a database is deleted", Step("delete", RDS, "database"), Risk.DATA_LOSS),
    ("a database is replaced", Step("replace", RDS, "database", replaced_by=("username",)), Risk.DATA_LOSS),
    ("a bucket is deleted", Step("delete", BUCKET, "weights"), Risk.DATA_LOSS),
    ("a key is replaced", Step("replace", KEY, "keys-logs"), Risk.DATA_LOSS),
    ("a namespace is deleted", Step("delete", "kubernetes:core/v1:Namespace", "penstock"), Risk.DATA_LOSS),
    ("backups are kept for less long",
     update(RDS, {"backupRetentionPeriod": 30}, {"backupRetentionPeriod": 7}), Risk.DATA_LOSS),
    ("logs are kept for less long", update(LOGS, {"retentionInDays": 90}, {"retentionInDays": 14}), Risk.DATA_LOSS),
    ("a bucket may be emptied", update(BUCKET, {"forceDestroy": False}, {"forceDestroy": True}), Risk.DATA_LOSS),
    ("a guard is taken off", update(RDS, {"deletionProtection": True}, {"deletionProtection": False}), Risk.DATA_LOSS),
    ("a retained database leaves the stack", Step("delete", RDS, "database", retained=True), Risk.DOWNTIME),
    ("the balancer is deleted", Step("delete", "aws:lb/loadBalancer:LoadBalancer", "edge"), Risk.DOWNTIME),
    ("a node group goes before the new one",
     Step("replace", GROUP, "nodes-gpu", deleted_first=True), Risk.DOWNTIME),
    ("a Deployment is replaced", Step("replace", DEPLOYMENT, "gateway-blue", deleted_first=False), Risk.DOWNTIME),
    ("the database's class", update(RDS, {"instanceClass": "a"}, {"instanceClass": "b"}), Risk.DOWNTIME),
    ("no pod is left", update(DEPLOYMENT, pods(3), pods(0)), Risk.DOWNTIME),
    ("nodes go", update(GROUP, {"scalingConfig": {"desiredSize": 6}}, {"scalingConfig": {"desiredSize": 3}}),
     Risk.DOWNTIME),
    ("nobody records the calls any more", Step("delete", "aws:cloudtrail/trail:Trail", "trail"), Risk.DOWNTIME),
    # What a review expects of a release
    ("a node group comes before the old one goes",
     Step("replace", GROUP, "nodes-gpu", deleted_first=False), Risk.REPLACEMENT),
    ("a configuration is replaced", Step("replace", CONFIG, "gateway-blue", deleted_first=False), Risk.REPLACEMENT),
    ("an image", update(DEPLOYMENT, pods(3), pods(3, "engine:2")), Risk.REPLACEMENT),
    ("the cluster's version", update("aws:eks/cluster:Cluster", {"version": "1.35"}, {"version": "1.36"}),
     Risk.REPLACEMENT),
    ("a weight", update(RULE, weights(100), weights(90)), Risk.TRAFFIC),
    ("a pod fewer", update(DEPLOYMENT, pods(3), pods(2)), Risk.TRAFFIC),
    ("a pod more", update(DEPLOYMENT, pods(3), pods(4)), Risk.COST),
    ("a larger group", update(GROUP, {"scalingConfig": {"maxSize": 3}}, {"scalingConfig": {"maxSize": 6}}), Risk.COST),
    ("a new NAT gateway", Step("create", "aws:ec2/natGateway:NatGateway", "nat-b"), Risk.COST),
    ("an interface endpoint", Step("create", "aws:ec2/vpcEndpoint:VpcEndpoint", "endpoint-sts",
                                   new={"vpcEndpointType": "Interface"}), Risk.COST),
    ("a door opens", Step("create", INGRESS, "from-clients",
                          new={"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 443, "toPort": 443}),
     Risk.PERMISSION),
    ("a door closes", Step("delete", INGRESS, "from-clients",
                           old={"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 443, "toPort": 443}),
     Risk.TRAFFIC),
    ("the public block is lifted",
     update("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            {"blockPublicAcls": True}, {"blockPublicAcls": False}), Risk.PERMISSION),
    ("a boundary is taken off",
     update("aws:iam/role:Role", {"permissionsBoundary": "arn:b"}, {"name": "x"}), Risk.PERMISSION),
    ("a group of the cluster's directory is let in",
     Step("create", "aws:eks/accessEntry:AccessEntry", "admin", new={"principalArn": "arn:r"}), Risk.PERMISSION),
    # What nobody needs to look at
    ("tags", update(RDS, {"tags": {"a": "1"}}, {"tags": {"a": "2"}}), Risk.COSMETIC),
    ("a label", update(DEPLOYMENT, {"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"a": "2"}}}),
     Risk.COSMETIC),
    ("a dashboard", update("aws:cloudwatch/dashboard:Dashboard", {"dashboardBody": "a"}, {"dashboardBody": "b"}),
     Risk.COSMETIC),
    ("a new alarm", Step("create", "aws:cloudwatch/metricAlarm:MetricAlarm", "alarm"), Risk.COSMETIC),
    ("a free gateway endpoint", Step("create", "aws:ec2/vpcEndpoint:VpcEndpoint", "endpoint-s3",
                                     new={"vpcEndpointType": "Gateway"}), Risk.COSMETIC),
    ("a door becomes narrower, with the same neighbours",
     update(INGRESS, {"cidrIpv4": "10.0.0.0/8", "ipProtocol": "-1"}, {"cidrIpv4": "10.0.0.0/8", "ipProtocol": "-1",
                                                                     "description": "clients"}), Risk.COSMETIC),
    ("more backups", update(RDS, {"backupRetentionPeriod": 7}, {"backupRetentionPeriod": 30}), Risk.COSMETIC),
]  # fmt: skip


@pytest.mark.parametrize(("step", "risk"), [pytest.param(step, risk, id=title) for title, step, risk in CASES])
def test_the_worst_risk_of(step, risk):
    assert judge([step])[0].risk is risk


def test_every_risk_has_a_case():
    assert {risk for _, _, risk in CASES} == set(Risk)


def test_a_step_may_carry_several_risks_the_worst_first():
    step = update(
        RDS, {"instanceClass": "a", "backupRetentionPeriod": 9}, {"instanceClass": "b"} | {"backupRetentionPeriod": 1}
    )
    assert [finding.risk for finding in judge([step])[0].findings] == [Risk.DATA_LOSS, Risk.DOWNTIME, Risk.COST]


def test_changes_come_worst_first_and_else_by_name_whatever_the_engines_order():
    alarms = [Step("create", "aws:cloudwatch/metricAlarm:MetricAlarm", name) for name in ("b", "a")]
    judged = judge([*alarms, Step("delete", BUCKET, "weights")])
    assert [each.step.name for each in judged] == ["weights", "a", "b"]


def test_a_protected_thing_is_said_to_be_refused():
    assert "protected" in judge([Step("delete", RDS, "database", protected=True)])[0].findings[0].says


def test_the_types_of_the_tables_exist():
    # A misspelt token would never match, and its risk would never be reported.
    elsewhere = {"aws:dynamodb/table:Table", "aws:efs/fileSystem:FileSystem", "aws:ebs/volume:Volume"}
    named = {*HOLDS, *SERVES, *(rule.type for rule in SENSITIVE if "*" not in rule.type)}
    assert {kind for kind in named if kind.startswith("aws:")} - set(NEEDS) <= elsewhere


def test_a_bucket_that_goes_takes_its_policy_along_and_opens_nothing():
    policy = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}]}'
    alone = Step("delete", "aws:s3/bucketPolicy:BucketPolicy", "trail", old={"bucket": "trail-1", "policy": policy})
    assert judge([alone])[0].risk is Risk.PERMISSION
    together = judge([alone, Step("delete", BUCKET, "trail", old={"bucket": "trail-1"})])
    assert together[1].risk is Risk.COSMETIC
