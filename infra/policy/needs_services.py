"""The second half of needs.py: cluster, data stores, load balancer, messages, watch."""

from __future__ import annotations

from infra.policy.needs import (
    ACCESS,
    BUCKET,
    CALLER,
    CHANGE,
    ELB,
    ELB_TAGS,
    FORCE,
    NETWORK,
    OFFICIAL,
    TAGS,
    USES_KEY,
    Needs,
    link,
    needs,
)

EKS = "arn:{partition}:eks:{region}:{account}:"
RDS = "arn:{partition}:rds:{region}:{account}:"
CACHE = "arn:{partition}:elasticache:{region}:{account}:"
SQS = "arn:{partition}:sqs:{region}:{account}:"
SNS = "arn:{partition}:sns:{region}:{account}:"
LOGS = "arn:{partition}:logs:{region}:{account}:log-group:"
WATCH = "arn:{partition}:cloudwatch:{region}:{account}:"
EVENTS = "arn:{partition}:events:{region}:{account}:rule/"
TOPIC, QUEUE = "aws:sns/topic:Topic", "aws:sqs/queue:Queue"
PLAIN_TAGS = (TAGS, "TagResource UntagResource")
RDS_TAGS = (TAGS, "AddTagsToResource RemoveTagsFromResource")

CLUSTER: dict[str, Needs] = {
    "aws:eks/cluster:Cluster": needs(
        "eks",
        f"{EKS}cluster/{{name}}",
        "DescribeCluster",
        "CreateCluster UpdateClusterConfig UpdateClusterVersion DeleteCluster TagResource",
        more=(
            (TAGS, "UntagResource"),
            (OFFICIAL, "DescribeUpdate"),
            (CHANGE, "AssociateEncryptionConfig"),
            USES_KEY,
            link("eks.amazonaws.com"),
            (CALLER, "ec2:DescribeSubnets ec2:DescribeVpcs ec2:DescribeSecurityGroups"),
        ),
        passes="eks.amazonaws.com",
    ),
    "aws:eks/nodeGroup:NodeGroup": needs(
        "eks",
        f"{EKS}nodegroup/{{clusterName}}/{{name}}/* {EKS}cluster/{{clusterName}}",
        "DescribeNodegroup",
        "CreateNodegroup UpdateNodegroupConfig DeleteNodegroup TagResource",
        more=(
            (TAGS, "UntagResource"),
            (OFFICIAL, "DescribeUpdate"),
            (CHANGE, "UpdateNodegroupVersion"),
            link("eks-nodegroup.amazonaws.com"),
            (f"{CALLER}: EKS tries the launch template with the caller's rights", "ec2:RunInstances"),
            (CALLER, "ec2:DescribeLaunchTemplateVersions ec2:DescribeSubnets iam:GetRole iam:ListAttachedRolePolicies"),
            ("the program asks whether the zones offer the instance types", "ec2:DescribeInstanceTypeOfferings"),
        ),
        name="nodeGroupName",
        passes="eks.amazonaws.com",
    ),
    "aws:eks/addon:Addon": needs(
        "eks",
        f"{EKS}addon/{{clusterName}}/{{addonName}}/* {EKS}cluster/{{clusterName}}",
        "DescribeAddon",
        "CreateAddon UpdateAddon DeleteAddon",
        more=(
            PLAIN_TAGS,
            (OFFICIAL, "DescribeUpdate"),
            (
                f"{CALLER}: an add-on that brings its pod identity",
                (
                    "CreatePodIdentityAssociation UpdatePodIdentityAssociation DeletePodIdentityAssociation "
                    "DescribePodIdentityAssociation"
                ),
            ),
        ),
        passes="pods.eks.amazonaws.com",
    ),
    "aws:eks/accessEntry:AccessEntry": needs(
        "eks",
        f"{EKS}access-entry/{{clusterName}}/* {EKS}cluster/{{clusterName}}",
        "DescribeAccessEntry",
        "CreateAccessEntry UpdateAccessEntry DeleteAccessEntry TagResource",
        more=((TAGS, "UntagResource"),),
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": needs(
        "eks",
        f"{EKS}access-entry/{{clusterName}}/*",
        "ListAssociatedAccessPolicies",
        "AssociateAccessPolicy DisassociateAccessPolicy",
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": needs(
        "eks",
        f"{EKS}podidentityassociation/{{clusterName}}/* {EKS}cluster/{{clusterName}}",
        "DescribePodIdentityAssociation",
        "CreatePodIdentityAssociation UpdatePodIdentityAssociation DeletePodIdentityAssociation",
        more=(PLAIN_TAGS, (CALLER, "iam:GetRole")),
        passes="pods.eks.amazonaws.com",
    ),
    "aws:ecr/repository:Repository": needs(
        "ecr",
        "arn:{partition}:ecr:{region}:{account}:repository/{name}",
        "DescribeRepositories ListTagsForResource",
        "CreateRepository PutImageScanningConfiguration PutImageTagMutability DeleteRepository",
        more=(PLAIN_TAGS, (FORCE, "BatchDeleteImage ListImages"), USES_KEY, (CALLER, "kms:RetireGrant")),
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": needs(
        "ecr",
        "arn:{partition}:ecr:{region}:{account}:repository/{repository}",
        "GetLifecyclePolicy",
        "PutLifecyclePolicy DeleteLifecyclePolicy",
    ),
    "aws:lb/loadBalancer:LoadBalancer": needs(
        "elasticloadbalancing",
        f"{ELB}loadbalancer/app/{{name}}/*",
        "DescribeLoadBalancers DescribeLoadBalancerAttributes DescribeTags",
        "CreateLoadBalancer ModifyLoadBalancerAttributes DeleteLoadBalancer",
        more=(
            ELB_TAGS,
            (CHANGE, "SetSecurityGroups SetSubnets SetIpAddressType"),
            (OFFICIAL, "DescribeCapacityReservation ec2:DescribeNetworkInterfaces"),
            (CALLER, "ec2:DescribeSubnets ec2:DescribeSecurityGroups ec2:DescribeVpcs ec2:DescribeInternetGateways"),
            link("elasticloadbalancing.amazonaws.com"),
        ),
    ),
    "aws:lb/targetGroup:TargetGroup": needs(
        "elasticloadbalancing",
        f"{ELB}targetgroup/{{name}}/*",
        "DescribeTargetGroups DescribeTargetGroupAttributes DescribeTags",
        "CreateTargetGroup ModifyTargetGroup ModifyTargetGroupAttributes DeleteTargetGroup",
        more=(ELB_TAGS,),
    ),
    "aws:lb/listener:Listener": needs(
        "elasticloadbalancing",
        f"{ELB}loadbalancer/app/* {ELB}listener/app/*",
        "DescribeListeners DescribeTags",
        "CreateListener ModifyListener DeleteListener",
        more=(ELB_TAGS, (OFFICIAL, "DescribeListenerAttributes ModifyListenerAttributes")),
    ),
    "aws:lb/listenerRule:ListenerRule": needs(
        "elasticloadbalancing",
        f"{ELB}listener/app/* {ELB}listener-rule/app/*",
        "DescribeRules DescribeTags",
        "CreateRule ModifyRule DeleteRule",
        more=(ELB_TAGS, (CHANGE, "SetRulePriorities"), (OFFICIAL, "DescribeListeners")),
    ),
}

DATA: dict[str, Needs] = {
    "aws:rds/instance:Instance": needs(
        "rds",
        f"{RDS}db:{{name}} {RDS}pg:* {RDS}subgrp:* {RDS}og:default* {RDS}snapshot:penstock-*",
        "DescribeDBInstances ListTagsForResource",
        "CreateDBInstance ModifyDBInstance DeleteDBInstance",
        more=(
            RDS_TAGS,
            (CHANGE, "RebootDBInstance CreateDBSnapshot"),
            (
                f"{CALLER}: it makes and rotates the password's secret",
                (
                    "secretsmanager:CreateSecret secretsmanager:TagResource secretsmanager:RotateSecret kms:Decrypt "
                    "kms:GenerateDataKey"
                ),
            ),
            USES_KEY,
            link("rds.amazonaws.com"),
        ),
        name="identifier",
    ),
    "aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication": needs(
        "rds",
        # The source is in the home region, what is kept of it in the other one.
        f"arn:{{partition}}:rds:{{home}}:{{account}}:db:* {RDS}auto-backup:*",
        "DescribeDBInstanceAutomatedBackups",
        "StartDBInstanceAutomatedBackupsReplication StopDBInstanceAutomatedBackupsReplication",
        more=((CHANGE, "DeleteDBInstanceAutomatedBackup"), USES_KEY),
    ),
    "aws:rds/subnetGroup:SubnetGroup": needs(
        "rds",
        f"{RDS}subgrp:{{name}}",
        "DescribeDBSubnetGroups ListTagsForResource",
        "CreateDBSubnetGroup DeleteDBSubnetGroup AddTagsToResource",
        more=((TAGS, "RemoveTagsFromResource"), (CHANGE, "ModifyDBSubnetGroup")),
    ),
    "aws:rds/parameterGroup:ParameterGroup": needs(
        "rds",
        f"{RDS}pg:{{name}}",
        "DescribeDBParameterGroups DescribeDBParameters ListTagsForResource",
        "CreateDBParameterGroup ModifyDBParameterGroup DeleteDBParameterGroup",
        more=(RDS_TAGS, (CHANGE, "ResetDBParameterGroup")),
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": needs(
        "elasticache",
        f"{CACHE}replicationgroup:{{name}} {CACHE}cluster:{{name}}-* {CACHE}subnetgroup:* {CACHE}parametergroup:* "
        f"{CACHE}snapshot:{{name}}*",
        "DescribeReplicationGroups DescribeCacheClusters ListTagsForResource",
        "CreateReplicationGroup ModifyReplicationGroup DeleteReplicationGroup",
        more=(
            RDS_TAGS,
            (CHANGE, "IncreaseReplicaCount DecreaseReplicaCount CreateSnapshot"),
            USES_KEY,
            link("elasticache.amazonaws.com"),
        ),
        name="replicationGroupId",
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": needs(
        "elasticache",
        f"{CACHE}subnetgroup:{{name}}",
        "DescribeCacheSubnetGroups ListTagsForResource",
        "CreateCacheSubnetGroup ModifyCacheSubnetGroup DeleteCacheSubnetGroup",
        more=(RDS_TAGS,),
    ),
    "aws:s3/bucket:Bucket": needs(
        "s3",
        "arn:{partition}:s3:::{name} arn:{partition}:s3:::{name}/*",
        "GetBucketLocation GetBucketTagging GetBucketObjectLockConfiguration ListBucketVersions",
        "CreateBucket DeleteBucket PutBucketTagging",
        more=(
            (
                OFFICIAL,
                (
                    "ListBucket GetBucketAcl GetBucketCORS GetBucketWebsite GetBucketVersioning GetBucketLogging "
                    "GetBucketPolicy GetAccelerateConfiguration GetBucketRequestPayment GetLifecycleConfiguration "
                    "GetReplicationConfiguration GetEncryptionConfiguration"
                ),
            ),
            (TAGS, "TagResource UntagResource ListTagsForResource"),
            (FORCE, "DeleteObject DeleteObjectVersion"),
        ),
        name="bucket",
    ),
    "aws:s3/bucketVersioning:BucketVersioning": needs("s3", BUCKET, "GetBucketVersioning", "PutBucketVersioning"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": needs(
        "s3", BUCKET, "GetEncryptionConfiguration", "PutEncryptionConfiguration"
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": needs(
        "s3", BUCKET, "GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock"
    ),
    "aws:s3/bucketPolicy:BucketPolicy": needs("s3", BUCKET, "GetBucketPolicy", "PutBucketPolicy DeleteBucketPolicy"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": needs(
        "s3", BUCKET, "GetLifecycleConfiguration", "PutLifecycleConfiguration"
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": needs(
        "s3", BUCKET, "GetBucketOwnershipControls", "PutBucketOwnershipControls"
    ),
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": needs(
        "s3",
        BUCKET,
        "GetReplicationConfiguration",
        "PutReplicationConfiguration",
        passes="s3.amazonaws.com",
    ),
    "aws:s3/bucketLogging:BucketLogging": needs("s3", BUCKET, "GetBucketLogging", "PutBucketLogging"),
}

MESSAGES: dict[str, Needs] = {
    "aws:sns/topic:Topic": needs(
        "sns",
        f"{SNS}{{name}}",
        "GetTopicAttributes ListTagsForResource",
        "CreateTopic SetTopicAttributes DeleteTopic TagResource",
        more=((TAGS, "UntagResource"),),
    ),
    "aws:sns/topicPolicy:TopicPolicy": needs(
        "sns", f"{SNS}{{parent}}", "GetTopicAttributes", "SetTopicAttributes", of=TOPIC
    ),
    "aws:sns/topicSubscription:TopicSubscription": needs(
        "sns",
        f"{SNS}{{parent}} {SNS}{{parent}}:*",
        "GetSubscriptionAttributes",
        "Subscribe SetSubscriptionAttributes Unsubscribe",
        of=TOPIC,
    ),
    "aws:sqs/queue:Queue": needs(
        "sqs",
        f"{SQS}{{name}}",
        "GetQueueAttributes ListQueueTags",
        "CreateQueue SetQueueAttributes DeleteQueue TagQueue",
        more=((TAGS, "UntagQueue"), (OFFICIAL, "GetQueueUrl")),
    ),
    "aws:sqs/queuePolicy:QueuePolicy": needs(
        "sqs", f"{SQS}{{parent}}", "GetQueueAttributes", "SetQueueAttributes", of=QUEUE
    ),
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": needs(
        "sqs", f"{SQS}{{parent}}", "GetQueueAttributes", "SetQueueAttributes", of=QUEUE
    ),
    "aws:cloudwatch/logGroup:LogGroup": needs(
        "logs",
        f"{LOGS}{{name}} {LOGS}{{name}}:*",
        "DescribeLogGroups ListTagsForResource",
        "CreateLogGroup DeleteLogGroup PutRetentionPolicy TagResource",
        more=((TAGS, "UntagResource"), (CHANGE, "AssociateKmsKey DisassociateKmsKey DeleteRetentionPolicy")),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": needs(
        "cloudwatch",
        f"{WATCH}alarm:{{name}}",
        "DescribeAlarms ListTagsForResource",
        "PutMetricAlarm DeleteAlarms TagResource",
        more=((TAGS, "UntagResource"),),
    ),
    "aws:cloudwatch/eventRule:EventRule": needs(
        "events",
        f"{EVENTS}{{name}}",
        "DescribeRule ListTagsForResource",
        "PutRule DeleteRule",
        more=((TAGS, "TagResource UntagResource"), (CHANGE, "EnableRule DisableRule")),
    ),
    "aws:cloudwatch/eventTarget:EventTarget": needs(
        "events", f"{EVENTS}*", "ListTargetsByRule", "PutTargets RemoveTargets"
    ),
    "aws:cloudtrail/trail:Trail": needs(
        "cloudtrail",
        "arn:{partition}:cloudtrail:{region}:{account}:trail/{name}",
        "DescribeTrails GetTrailStatus ListTags",
        "CreateTrail StartLogging UpdateTrail DeleteTrail",
        more=(
            (TAGS, "AddTags RemoveTags"),
            (CHANGE, "StopLogging PutEventSelectors PutInsightSelectors"),
            (OFFICIAL, "GetEventSelectors"),
        ),
        passes="cloudtrail.amazonaws.com",
    ),
    "aws:amp/workspace:Workspace": needs(
        "aps",
        "arn:{partition}:aps:{region}:{account}:workspace/*",
        "DescribeWorkspace ListTagsForResource",
        "CreateWorkspace UpdateWorkspaceAlias DeleteWorkspace TagResource",
        more=(
            (TAGS, "UntagResource"),
            (OFFICIAL, "DescribeLoggingConfiguration"),
            (f"{CALLER}: it encrypts with a customer-managed key", "kms:DescribeKey kms:CreateGrant kms:Decrypt"),
        ),
    ),
    "aws:cloudwatch/dashboard:Dashboard": needs(
        "cloudwatch",
        "arn:{partition}:cloudwatch::{account}:dashboard/{name}",
        "GetDashboard",
        "PutDashboard DeleteDashboards",
        name="dashboardName",
    ),
    "aws:budgets/budget:Budget": needs(
        "budgets",
        "arn:{partition}:budgets::{account}:budget/{name}",
        "ViewBudget ListTagsForResource",
        "ModifyBudget",
        more=(PLAIN_TAGS,),
    ),
    "aws:fis/experimentTemplate:ExperimentTemplate": needs(
        "fis",
        "arn:{partition}:fis:{region}:{account}:experiment-template/* arn:{partition}:fis:{region}:{account}:action/*",
        "GetExperimentTemplate ListTagsForResource",
        "CreateExperimentTemplate UpdateExperimentTemplate DeleteExperimentTemplate TagResource",
        more=((TAGS, "UntagResource"),),
        passes="fis.amazonaws.com",
    ),
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": needs(
        "ce",
        "arn:{partition}:ce::{account}:anomalymonitor/*",
        "GetAnomalyMonitors ListTagsForResource",
        "CreateAnomalyMonitor UpdateAnomalyMonitor DeleteAnomalyMonitor TagResource",
        more=((TAGS, "UntagResource"),),
    ),
    "aws:costexplorer/anomalySubscription:AnomalySubscription": needs(
        "ce",
        "arn:{partition}:ce::{account}:anomalysubscription/* arn:{partition}:ce::{account}:anomalymonitor/*",
        "GetAnomalySubscriptions ListTagsForResource",
        "CreateAnomalySubscription UpdateAnomalySubscription DeleteAnomalySubscription TagResource",
        more=((TAGS, "UntagResource"),),
    ),
}

NEEDS: dict[str, Needs] = {**NETWORK, **ACCESS, **CLUSTER, **DATA, **MESSAGES}
"""Every type that the program may use."""
