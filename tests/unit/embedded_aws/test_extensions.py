"""The calls that moto lacks in other services, and what a client hears where there is still a gap."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"


def test_a_budget_can_be_read_back_with_subscribers_and_tags(aws) -> None:
    budgets = aws.client("budgets")
    notification = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80.0}
    subscriber = {"SubscriptionType": "EMAIL", "Address": "ops@example.com"}
    budgets.create_budget(
        AccountId=ACCOUNT,
        Budget={
            "BudgetName": "monthly", "BudgetType": "COST", "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "100", "Unit": "USD"},
        },
        NotificationsWithSubscribers=[{"Notification": notification, "Subscribers": [subscriber]}],
        ResourceTags=[{"Key": "team", "Value": "platform"}],
    )  # fmt: skip
    found = budgets.describe_subscribers_for_notification(
        AccountId=ACCOUNT, BudgetName="monthly", Notification=notification
    )
    assert found["Subscribers"] == [subscriber]
    arn = f"arn:aws:budgets::{ACCOUNT}:budget/monthly"
    assert budgets.list_tags_for_resource(ResourceARN=arn)["ResourceTags"] == [{"Key": "team", "Value": "platform"}]
    budgets.update_budget(
        AccountId=ACCOUNT,
        NewBudget={
            "BudgetName": "monthly", "BudgetType": "COST", "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "200", "Unit": "USD"},
        },
    )  # fmt: skip
    budget = budgets.describe_budget(AccountId=ACCOUNT, BudgetName="monthly")["Budget"]
    assert float(budget["BudgetLimit"]["Amount"]) == 200
    budgets.delete_budget(AccountId=ACCOUNT, BudgetName="monthly")


def test_a_launch_template_does_not_hold_its_own_tags(aws) -> None:
    ec2 = aws.client("ec2")
    tags = [{"Key": "Name", "Value": "gpu"}]
    made = ec2.create_launch_template(
        LaunchTemplateName="gpu",
        LaunchTemplateData={"MetadataOptions": {"HttpTokens": "required"}},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
    )["LaunchTemplate"]
    version = ec2.describe_launch_template_versions(LaunchTemplateId=made["LaunchTemplateId"])
    assert "TagSpecifications" not in version["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert made["Tags"] == tags


def test_a_key_keeps_its_rotation_period(aws) -> None:
    kms = aws.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 180


def test_instance_types_and_offerings_are_the_real_ones(aws) -> None:
    ec2 = aws.client("ec2")
    described = ec2.describe_instance_types(InstanceTypes=["g6.xlarge"])["InstanceTypes"][0]
    assert described["GpuInfo"]["Gpus"][0]["Name"] == "L4"
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["g6.xlarge"]}]
    )["InstanceTypeOfferings"]
    assert {item["Location"] for item in offered} <= {"eu-central-1a", "eu-central-1b", "eu-central-1c"}
    assert offered


def test_the_image_of_an_eks_version_stays_the_same(aws) -> None:
    name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
    first, second = (aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"] for _ in range(2))
    assert first == second
    assert first.startswith("ami-")


@pytest.mark.parametrize(
    ("service", "call", "arguments", "named"),
    [
        ("ec2", "create_capacity_reservation",
         {"InstanceType": "m7i.large", "InstancePlatform": "Linux/UNIX", "InstanceCount": 1},
         "ec2:CreateCapacityReservation"),
        ("logs", "put_query_definition", {"name": "a", "queryString": "b"}, "logs:PutQueryDefinition"),
        ("eks", "list_insights", {"clusterName": "penstock"}, "eks:POST /clusters/penstock/insights"),
        ("sns", "put_data_protection_policy", {"ResourceArn": "a", "DataProtectionPolicy": "b"},
         "sns:PutDataProtectionPolicy"),
    ],
)  # fmt: skip
def test_a_missing_call_is_an_error_that_names_service_and_action(aws, service, call, arguments, named) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(aws.client(service), call)(**arguments)
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    assert caught.value.response["Error"]["Message"] == f"the embedded AWS does not implement {named}"


def test_requests_are_logged_with_service_action_and_status(aws) -> None:
    aws.client("sts").get_caller_identity()
    lines = (aws.layout.logs / "aws-requests.log").read_text().splitlines()
    assert any(" sts GetCallerIdentity 200 " in line for line in lines)


def test_a_missing_bucket_is_not_found_and_not_a_gap(aws) -> None:
    with pytest.raises(ClientError) as refused:
        aws.client("s3").head_bucket(Bucket="nobody-made-this")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_database_subnet_group_is_still_there_after_a_change(aws, network) -> None:
    rds = aws.client("rds")
    given = {"DBSubnetGroupName": "changing", "DBSubnetGroupDescription": "as made"}
    rds.create_db_subnet_group(**given, SubnetIds=network.subnets[:2])
    rds.modify_db_subnet_group(DBSubnetGroupName="changing", SubnetIds=network.subnets)
    found = rds.describe_db_subnet_groups(DBSubnetGroupName="changing")["DBSubnetGroups"][0]
    assert len(found["Subnets"]) == 3
    rds.delete_db_subnet_group(DBSubnetGroupName="changing")


def test_a_database_parameter_can_be_reset(aws) -> None:
    rds = aws.client("rds")
    rds.create_db_parameter_group(
        DBParameterGroupName="resetting", DBParameterGroupFamily="postgres18", Description="for a reset"
    )
    parameter = {"ParameterName": "log_statement", "ParameterValue": "ddl", "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(DBParameterGroupName="resetting", Parameters=[parameter])
    rds.reset_db_parameter_group(
        DBParameterGroupName="resetting", Parameters=[{"ParameterName": "log_statement", "ApplyMethod": "immediate"}]
    )
    found = rds.describe_db_parameters(DBParameterGroupName="resetting", Source="user")["Parameters"]
    assert not [item for item in found if item["ParameterName"] == "log_statement"]
    rds.delete_db_parameter_group(DBParameterGroupName="resetting")


def test_the_routes_of_a_gateway_endpoint_follow_its_route_tables(aws, network) -> None:
    ec2 = aws.client("ec2")
    first, second = (ec2.create_route_table(VpcId=network.vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
    made = ec2.create_vpc_endpoint(
        VpcId=network.vpc,
        VpcEndpointType="Gateway",
        ServiceName="com.amazonaws.eu-central-1.s3",
        RouteTableIds=[first],
    )["VpcEndpoint"]["VpcEndpointId"]

    def has_route(table: str) -> bool:
        routes = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return any(route.get("DestinationPrefixListId") for route in routes)

    ec2.modify_vpc_endpoint(VpcEndpointId=made, AddRouteTableIds=[second], RemoveRouteTableIds=[first])
    assert (has_route(first), has_route(second)) == (False, True)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[made])
    assert not has_route(second)


def test_a_queue_keeps_its_policy_when_another_attribute_changes(aws) -> None:
    sqs = aws.client("sqs")
    statement = '{"Version":"2012-10-17","Statement":[{"Sid":"kept","Effect":"Deny","Principal":"*","Action":"sqs:*"}]}'
    queue = sqs.create_queue(QueueName="policed", Attributes={"Policy": statement})["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedriveAllowPolicy": '{"redrivePermission":"denyAll"}'})
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert '"kept"' in attributes["Policy"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert '"kept"' not in attributes.get("Policy", "")


def test_replication_needs_versions_at_both_ends(aws) -> None:
    s3 = aws.client("s3")
    place = {"LocationConstraint": "eu-central-1"}
    for name in ("copied-from", "copied-to"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=place)
    rule = {
        "ID": "all",
        "Priority": 0,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": "arn:aws:s3:::copied-to", "StorageClass": "STANDARD_IA"},
    }
    asked = {"Role": f"arn:aws:iam::{ACCOUNT}:role/copies", "Rules": [rule]}
    for late in ("copied-to", "copied-from"):
        with pytest.raises(ClientError, match=r"InvalidRequest.*[Vv]ersioning"):
            s3.put_bucket_replication(Bucket="copied-from", ReplicationConfiguration=asked)
        s3.put_bucket_versioning(Bucket=late, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_replication(Bucket="copied-from", ReplicationConfiguration=asked)
    assert s3.get_bucket_replication(Bucket="copied-from")["ReplicationConfiguration"] == asked


def test_backups_are_replicated_to_another_region_alone(aws) -> None:
    home = aws.client("rds")
    made = home.create_db_instance(
        DBInstanceIdentifier="copied", DBInstanceClass="db.t4g.small", Engine="postgres", AllocatedStorage=20,
        MasterUsername="penstock", ManageMasterUserPassword=True, BackupRetentionPeriod=7,
    )  # fmt: skip
    source = made["DBInstance"]["DBInstanceArn"]
    with pytest.raises(ClientError, match="another region"):
        home.start_db_instance_automated_backups_replication(SourceDBInstanceArn=source)
    there = aws.client("rds", "eu-west-1")
    begun = there.start_db_instance_automated_backups_replication(SourceDBInstanceArn=source, BackupRetentionPeriod=9)
    arn = begun["DBInstanceAutomatedBackup"]["DBInstanceAutomatedBackupsArn"]
    (found,) = there.describe_db_instance_automated_backups(DBInstanceAutomatedBackupsArn=arn)[
        "DBInstanceAutomatedBackups"
    ]
    assert (found["DBInstanceArn"], found["BackupRetentionPeriod"]) == (source, 9)
    with pytest.raises(ClientError, match="replicated already"):
        there.start_db_instance_automated_backups_replication(SourceDBInstanceArn=source)
    there.stop_db_instance_automated_backups_replication(SourceDBInstanceArn=source)
    with pytest.raises(ClientError, match="not known"):
        there.describe_db_instance_automated_backups(DBInstanceAutomatedBackupsArn=arn)


def test_a_subnet_with_an_interface_stays_and_gateways_take_theirs_along(aws) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    (interface,) = ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkInterfaces"]
    assert (interface["InterfaceType"], interface["Description"]) == (
        "nat_gateway",
        f"Interface for NAT Gateway {gateway}",
    )
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_nat_gateway(NatGatewayId=gateway)
    ec2.delete_subnet(SubnetId=subnet)


def test_a_major_version_of_a_database_comes_when_it_is_allowed_and_never_back(aws) -> None:
    rds = aws.client("rds")
    for family in ("16", "18"):
        rds.create_db_parameter_group(
            DBParameterGroupName=f"of-{family}", DBParameterGroupFamily=f"postgres{family}", Description="test"
        )
    rds.create_db_instance(
        DBInstanceIdentifier="upgraded", DBInstanceClass="db.t4g.small", Engine="postgres", EngineVersion="16.10",
        AllocatedStorage=20, MasterUsername="penstock", ManageMasterUserPassword=True, DBParameterGroupName="of-16",
    )  # fmt: skip
    change = {"DBInstanceIdentifier": "upgraded", "EngineVersion": "18", "ApplyImmediately": True}
    with pytest.raises(ClientError, match="AllowMajorVersionUpgrade flag must be present"):
        rds.modify_db_instance(**change, DBParameterGroupName="of-18")
    with pytest.raises(ClientError, match="of-16 has family postgres16"):
        rds.modify_db_instance(**change, DBParameterGroupName="of-16", AllowMajorVersionUpgrade=True)
    rds.modify_db_instance(**change, DBParameterGroupName="of-18", AllowMajorVersionUpgrade=True)
    (found,) = rds.describe_db_instances(
        Filters=[{"Name": "db-instance-id", "Values": ["upgraded"]}]
    )["DBInstances"]  # fmt: skip
    assert found["EngineVersion"] == "18"
    with pytest.raises(ClientError, match="Cannot upgrade postgres from 18 to 16"):
        rds.modify_db_instance(DBInstanceIdentifier="upgraded", EngineVersion="16.10", AllowMajorVersionUpgrade=True)


def test_a_database_that_is_not_there_is_no_error_for_who_filters(aws) -> None:
    filters = [{"Name": "db-instance-id", "Values": ["nobody"]}]
    assert aws.client("rds").describe_db_instances(Filters=filters)["DBInstances"] == []
