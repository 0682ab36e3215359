"""Rules on data: keys at rest, TLS on the way, deletion, backups, retention, tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.policy.evaluate import Decision, Request, evaluate
from infra.policy.subject import Subject, given, listed, parsed, statements

BUCKET_ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BUCKET_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
BUCKET_VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
CLUSTER = "aws:eks/cluster:Cluster"
DATABASE = "aws:rds/instance:Instance"
KEY = "aws:kms/key:Key"
LISTENER = "aws:lb/listener:Listener"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
REPOSITORY = "aws:ecr/repository:Repository"
SECRET = "aws:secretsmanager/secret:Secret"  # noqa: S105 - a resource type
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
TRAIL = "aws:cloudtrail/trail:Trail"

KEYS_AT_REST: dict[str, tuple[str, ...]] = {
    LOG_GROUP: ("kmsKeyId",),
    TRAIL: ("kmsKeyId",),
    "aws:ebs/volume:Volume": ("kmsKeyId",),
    TEMPLATE: ("blockDeviceMappings", "ebs", "kmsKeyId"),
    REPOSITORY: ("encryptionConfigurations", "kmsKey"),
    CLUSTER: ("encryptionConfig", "provider", "keyArn"),
    CACHE: ("kmsKeyId",),
    DATABASE: ("kmsKeyId",),
    SECRET: ("kmsKeyId",),
    "aws:amp/workspace:Workspace": ("kmsKeyArn",),
    "aws:sns/topic:Topic": ("kmsMasterKeyId",),
    "aws:sqs/queue:Queue": ("kmsMasterKeyId",),
}
"""Types that keep data, and where each names its customer-managed key. A list on the way means all of its entries."""

BUCKET_KEY = ("rules", "applyServerSideEncryptionByDefault", "kmsMasterKeyId")
DELIVERED_WITHOUT_KEY = ("access-logs", "load-balancer-logs")
"""Ends of the names of buckets that take access logs: the load balancer and S3 deliver them to buckets with S3's own
keys alone (Elastic Load Balancing user guide, "Access logs"; S3 user guide, "Logging requests")."""

ENCRYPTION_FLAGS = {CACHE: "atRestEncryptionEnabled", DATABASE: "storageEncrypted"}
DELETION_GUARDS = {
    CLUSTER: "deletionProtection",
    "aws:lb/loadBalancer:LoadBalancer": "enableDeletionProtection",
    DATABASE: "deletionProtection",
}
EMPTIED_ON_DELETE = {"aws:s3/bucket:Bucket": "forceDestroy", REPOSITORY: "forceDelete", DATABASE: "skipFinalSnapshot"}
HOLD_DATA = (CLUSTER, DATABASE, KEY, "aws:s3/bucket:Bucket")
REQUIRED_TAGS = ("project", "stack")
BACKUP_DAYS, LOG_DAYS, KEY_WINDOW_DAYS = 7, 30, 30
"""What production keeps at least: database backups, logs, and a key that was told to go."""


def data_at_rest_names_a_key(subject: Subject) -> Iterator[str]:
    """What keeps data is encrypted with a customer-managed key."""
    path = KEYS_AT_REST.get(subject.type)
    if subject.type == BUCKET_ENCRYPTION and not subject.name.endswith(DELIVERED_WITHOUT_KEY):
        path = BUCKET_KEY
    if path is None:
        return
    if not given(subject.props, path):
        yield f"{'.'.join(path)} must name a customer-managed key"
    flag = ENCRYPTION_FLAGS.get(subject.type)
    if flag and subject.props.get(flag) is not True:
        yield f"{flag} must be true"


def keys_rotate(subject: Subject) -> Iterator[str]:
    """Keys rotate; in production a deleted one can be taken back for 30 days."""
    if subject.type != KEY:
        return
    if subject.props.get("enableKeyRotation") is not True:
        yield "enableKeyRotation must be true"
    days = subject.props.get("deletionWindowInDays")
    if subject.in_production and days is not None and days < KEY_WINDOW_DAYS:
        yield f"deletionWindowInDays must be {KEY_WINDOW_DAYS} in production: with a key goes what it encrypts"


def data_in_transit_is_encrypted(subject: Subject) -> Iterator[str]:
    """Databases and buckets take TLS alone; in production caches and listeners do, too."""
    match subject.type:
        case "aws:rds/parameterGroup:ParameterGroup":
            asked = {each.get("name"): str(each.get("value")) for each in subject.props.get("parameters") or []}
            if asked.get("rds.force_ssl") != "1":
                yield "parameters must set rds.force_ssl to 1"
        case "aws:elasticache/replicationGroup:ReplicationGroup":
            if subject.in_production and subject.props.get("transitEncryptionEnabled") is not True:
                yield "transitEncryptionEnabled must be true in production"
        case "aws:lb/listener:Listener" if subject.in_production:
            actions = subject.props.get("defaultActions") or []
            if subject.props.get("protocol") not in ("HTTPS", "TLS"):
                if not actions or any(each.get("type") != "redirect" for each in actions):
                    yield "protocol must be HTTPS in production; HTTP may only redirect"
            elif "TLS13" not in (subject.props.get("sslPolicy") or ""):
                yield "sslPolicy must be one with TLS 1.3 (ELBSecurityPolicy-TLS13-...)"
        case "aws:s3/bucketPolicy:BucketPolicy":
            policy = parsed(subject.props.get("policy"))
            named = {arn.removesuffix("/*") for each in statements(policy) for arn in listed(each.get("Resource"))}
            plain = {"aws:SecureTransport": "false"}
            for arn in (it + end for it in sorted(named) or ["arn:aws:s3:::unnamed"] for end in ("", "/object")):
                if evaluate([policy], Request("s3:GetObject", arn, "*", plain)) is not Decision.DENIED:
                    yield f"policy must deny s3:* over plain HTTP (aws:SecureTransport false) for {arn}"


def production_refuses_deletion(subject: Subject) -> Iterator[str]:
    """In production, what holds data or takes requests is protected against deletion."""
    if not subject.in_production:
        return
    guard = DELETION_GUARDS.get(subject.type)
    if guard and subject.props.get(guard) is not True:
        yield f"{guard} must be true in production"
    emptied = EMPTIED_ON_DELETE.get(subject.type)
    if emptied and subject.props.get(emptied) is True:
        yield f"{emptied} must be false in production"
    if subject.type == SECRET and subject.props.get("recoveryWindowInDays") == 0:
        yield "recoveryWindowInDays must not be 0 in production: a deleted secret could not come back"
    if subject.type in HOLD_DATA and not subject.protected:
        yield "must be protected (protect=True) in production"


def databases_are_backed_up(subject: Subject) -> Iterator[str]:
    """Snapshots bear the tags of their database; in production backups are kept for 7 days or more."""
    if subject.type != DATABASE:
        return
    if subject.in_production and (subject.props.get("backupRetentionPeriod") or 0) < BACKUP_DAYS:
        yield f"backupRetentionPeriod must be {BACKUP_DAYS} days or more in production"
    if subject.props.get("copyTagsToSnapshot") is not True:
        yield "copyTagsToSnapshot must be true: a snapshot without tags belongs to nobody"


def logs_are_kept_for_a_set_time(subject: Subject) -> Iterator[str]:
    """Log groups have a retention; in production it is 30 days or more."""
    if subject.type != LOG_GROUP:
        return
    days, least = subject.props.get("retentionInDays") or 0, LOG_DAYS if subject.in_production else 1
    if days < least:
        yield f"retentionInDays must be {least} or more; 0 and none keep logs, and their cost, for ever"


def trails_cover_every_region(subject: Subject) -> Iterator[str]:
    """The trail records every region and the global services, and a changed file shows."""
    if subject.type != TRAIL:
        return
    for key in ("isMultiRegionTrail", "enableLogFileValidation", "includeGlobalServiceEvents"):
        # The last is true where it is not given (CloudTrail's default).
        if subject.props.get(key, key == "includeGlobalServiceEvents") is not True:
            yield f"{key} must be true"
    if subject.props.get("enableLogging") is False:
        yield "enableLogging must not be false"


def everything_is_tagged(subject: Subject) -> Iterator[str]:
    """Everything bears the tags `project` and `stack`.

    Tags come from the provider; what Auto Scaling starts gets them from its launch template alone.
    """
    if subject.type == "pulumi:providers:aws":
        tags = (parsed(subject.props.get("defaultTags")).get("tags")) or {}
        if missing := [tag for tag in REQUIRED_TAGS if not tags.get(tag)]:
            yield f"defaultTags.tags must hold {' and '.join(missing)}"
    elif subject.type == TEMPLATE:
        tagged = {
            each.get("resourceType"): each.get("tags") or {} for each in subject.props.get("tagSpecifications") or []
        }
        for kind in ("instance", "volume"):
            if not set(REQUIRED_TAGS) <= set(tagged.get(kind, {})):
                yield f"tagSpecifications must give each {kind} the tags {' and '.join(REQUIRED_TAGS)}"


def buckets_refuse_the_public(subject: Subject) -> Iterator[str]:
    """All four blocks of public access are on."""
    if subject.type != BUCKET_BLOCK:
        return
    for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        if subject.props.get(key) is not True:
            yield f"{key} must be true"


def buckets_are_complete(subjects: Sequence[Subject]) -> Iterator[str]:
    """Each bucket has encryption, a block of public access, a policy for TLS alone, and versions.

    A bucket's guards are resources of their own, so that one which nobody wrote fails no other rule.
    """
    parts = {
        BUCKET_ENCRYPTION: "encryption",
        BUCKET_BLOCK: "block of public access",
        BUCKET_POLICY: "policy (TLS only)",
        BUCKET_VERSIONING: "versioning",
    }
    for bucket in subjects:
        if bucket.type != "aws:s3/bucket:Bucket":
            continue
        own = [each for each in subjects if bucket.urn in each.dependencies]
        for token, what in parts.items():
            if not any(each.type == token for each in own):
                yield f"{bucket.name}: the bucket has no {what} ({token})"
        for each in own:
            versioning = each.props.get("versioningConfiguration") or {}
            if each.type == BUCKET_VERSIONING and versioning.get("status") != "Enabled":
                yield f"{bucket.name}: versioningConfiguration.status must be Enabled"


def images_expire(subjects: Sequence[Subject]) -> Iterator[str]:
    """Each repository has a lifecycle policy."""
    for repository in subjects:
        policies = [each for each in subjects if each.type == "aws:ecr/lifecyclePolicy:LifecyclePolicy"]
        if repository.type == REPOSITORY and not any(repository.urn in each.dependencies for each in policies):
            yield f"{repository.name}: the repository has no lifecycle policy; images would pile up"
