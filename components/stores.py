"""Where bytes rest: the bucket of model weights and the image repositories."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components import policies, registry_policies
from components.audit import WEIGHTS_PREFIX
from components.buckets import private_bucket

IMAGES_KEPT = 50


class WeightsArgs(TypedDict):
    key_arn: pulumi.Input[str]
    """KMS key that encrypts the weights: whoever reads them needs its use too."""
    old_version_days: int
    """What is overwritten or deleted can be brought back so long."""
    access_logs_bucket: NotRequired[pulumi.Input[str]]
    """A bucket that takes S3's access logs under `weights/`, as that of `AccessLogs`; without one none are written."""
    protected: bool
    """Refuses to delete the bucket; without it a destroy empties and deletes it."""


class Weights(pulumi.ComponentResource):
    """An S3 bucket for model weights: versioned, encrypted by its key, private, TLS only."""

    bucket: pulumi.Output[str]
    """The bucket's name."""
    versioned_bucket: pulumi.Output[str]
    """The same, known once versions are kept: for `Copies`, which S3 refuses before."""
    arn: pulumi.Output[str]
    """ARN of the bucket, for the roles of those who read or add weights."""

    def __init__(self, name: str, args: WeightsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Weights", name, None, opts)
        made = private_bucket(
            self,
            name,
            protected=args["protected"],
            policy=registry_policies.weights_bucket,
            key_arn=args["key_arn"],
            rule="old-versions",
            old_version_days=args["old_version_days"],
        )
        bucket, child = made.bucket, pulumi.ResourceOptions(parent=self)
        if target := args.get("access_logs_bucket"):
            aws.s3.BucketLogging(
                name, bucket=bucket.bucket, target_bucket=target, target_prefix=f"{WEIGHTS_PREFIX}/", opts=child
            )
        self.bucket = bucket.bucket
        self.arn = bucket.arn
        self.versioned_bucket = pulumi.Output.all(bucket.bucket, made.versioning.id).apply(lambda parts: parts[0])
        self.register_outputs({"bucket": self.bucket, "versionedBucket": self.versioned_bucket, "arn": self.arn})


class RegistryArgs(TypedDict):
    prefix: str
    """Repositories are named `<prefix>/<image>`."""
    images: Sequence[str]
    """Names of the images, such as `gateway`: each has a repository of its own."""
    key_arn: pulumi.Input[str]
    """KMS key that encrypts the images; another key means new, empty repositories."""
    protected: bool
    """AWS refuses to delete a repository that holds images; without it a destroy takes them too."""


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
