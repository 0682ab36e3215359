"""Where bytes rest: the bucket of model weights and the image repositories."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components import policies
from components.options import stateful

IMAGES_KEPT = 50
UNFINISHED_UPLOAD_DAYS = 7


class WeightsArgs(TypedDict):
    key_arn: pulumi.Input[str]
    old_version_days: int
    """What is overwritten or deleted can be brought back so long."""
    access_logs_bucket: NotRequired[pulumi.Input[str]]
    """A bucket that takes S3's access logs; without one none are written."""
    protected: bool


class Weights(pulumi.ComponentResource):
    """An S3 bucket for model weights: versioned, encrypted by its key, private, TLS only."""

    bucket: pulumi.Output[str]
    """The bucket's name."""
    arn: pulumi.Output[str]

    def __init__(self, name: str, args: WeightsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Weights", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # A new name is a new, empty bucket.
        bucket = aws.s3.Bucket(name, force_destroy=not args["protected"], opts=stateful(self, args["protected"]))
        versioning = aws.s3.BucketVersioning(
            name, bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=child
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": args["key_arn"],
                    },
                    # Fewer KMS calls: engines of a whole fleet start at once.
                    "bucket_key_enabled": True,
                }
            ],
            opts=child,
        )
        private = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=bucket.arn.apply(lambda arn: policies.dumps(policies.bucket_over_tls_only(arn))),
            # S3 refuses two changes of a bucket's access at the same time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[private]),
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[
                {
                    "id": "old-versions",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": args["old_version_days"]},
                    # Parts of an upload that never ended are paid for and shown nowhere.
                    "abort_incomplete_multipart_upload": {"days_after_initiation": UNFINISHED_UPLOAD_DAYS},
                }
            ],
            # S3 judges what is not current only where versions are kept.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        if target := args.get("access_logs_bucket"):
            aws.s3.BucketLogging(name, bucket=bucket.bucket, target_bucket=target, target_prefix=f"{name}/", opts=child)
        self.bucket = bucket.bucket
        self.arn = bucket.arn
        self.register_outputs({"bucket": self.bucket, "arn": self.arn})


class RegistryArgs(TypedDict):
    prefix: str
    """Repositories are named `<prefix>/<image>`."""
    images: Sequence[str]
    key_arn: pulumi.Input[str]
    protected: bool


class Registry(pulumi.ComponentResource):
    """ECR repositories: tags that never move, a scan of each push, old images expired."""

    urls: pulumi.Output[dict[str, str]]
    """Repository URL of each image."""

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Registry", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        repositories = {}
        for image in args["images"]:
            repositories[image] = aws.ecr.Repository(
                f"{name}-{image}",
                name=f"{args['prefix']}/{image}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration={"scan_on_push": True},
                encryption_configurations=[{"encryption_type": "KMS", "kms_key": args["key_arn"]}],
                force_delete=not args["protected"],
                opts=child,
            )
            aws.ecr.LifecyclePolicy(
                f"{name}-{image}",
                repository=repositories[image].name,
                policy=policies.dumps(policies.keep_newest_images(IMAGES_KEPT)),
                opts=child,
            )
        self.urls = pulumi.Output.all(**{image: it.repository_url for image, it in repositories.items()})
        self.register_outputs({"urls": self.urls})
