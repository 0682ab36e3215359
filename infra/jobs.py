"""Files, batches and jobs of a stack: their bucket, their workers, and what gateways need for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import jobs_manifests, migration, policies
from components.jobs import Files, JobWorkers
from components.role import ServiceRole
from infra.cluster import Cluster
from infra.foundation import Foundation
from infra.jobs_config import jobs_config
from infra.settings import Settings

MadeOnce = Callable[[str, str, int], pulumi.Output[str]]
"""Makes a random text in Secrets Manager, by name, description and the number of its turn."""
MakeSecret = Callable[[str, dict[str, pulumi.Output[str]]], pulumi.Output[str]]
"""Makes a Secret of the platform's namespace, and returns its name."""


@dataclass(frozen=True)
class JobsBase:
    """What there must be before gateways start. Empty where a stack has no jobs."""

    environment: Mapping[str, pulumi.Output[str]]
    """For gateways."""
    statements: Sequence[pulumi.Output[list[Any]]]
    """What the gateways' role may do."""
    secret: pulumi.Output[str] | None
    """Name of the workers' Secret, which has their password in the database too."""
    waited: Sequence[pulumi.Resource]


def build_jobs_base(
    settings: Settings,
    foundation: Foundation,
    cluster: Cluster,
    made_once: MadeOnce,
    make_secret: MakeSecret,
    provider: pulumi.ProviderResource,
) -> JobsBase:
    if not settings.jobs.enabled:
        return JobsBase({}, [], None, [])
    on_aws = pulumi.ResourceOptions(providers=[provider])
    files = Files(
        "files",
        {
            "partition": foundation.partition,
            "account_id": settings.aws.account_id,
            "keep_days": settings.jobs.keep_days,
            "protected": settings.protected,
        },
        on_aws,
    )
    signing = made_once("jobs-signing", "What workers sign with towards gateways", settings.rotation.jobs_signing)
    password = made_once("jobs-login", "The workers' password in the database", settings.rotation.database_logins)
    shared = {"PENSTOCK_JOBS_BUCKET": files.bucket, "PENSTOCK_JOBS_SECRET": signing}
    secret = make_secret(
        "jobs",
        {
            **shared,
            "PENSTOCK_DATABASE_ADDRESS": foundation.database_address,
            "PENSTOCK_DATABASE_USER": pulumi.Output.from_input(migration.JOBS_LOGIN),
            migration.PASSWORD_KEY: password,
        },
    )
    statements: pulumi.Output[list[Any]] = pulumi.Output.all(files.arn, files.key_arn).apply(
        lambda arns: policies.keep_files(arns[0], arns[1])
    )
    role = ServiceRole(
        jobs_manifests.APP,
        {
            "services": ["pods.eks.amazonaws.com"],
            "description": "Workers: read, write and delete files of jobs",
            "managed_policies": [],
            "policy": statements.apply(lambda some: policies.dumps(policies.document(*some))),
        },
        on_aws,
    )
    identity = aws.eks.PodIdentityAssociation(
        jobs_manifests.APP,
        cluster_name=cluster.control_plane_name,
        namespace=settings.namespace,
        service_account=jobs_manifests.APP,
        role_arn=role.arn,
        opts=pulumi.ResourceOptions(provider=provider),
    )
    return JobsBase(shared, [statements], secret, [identity])


def build_workers(
    settings: Settings,
    cluster: Cluster,
    base: JobsBase,
    namespace: pulumi.Output[str],
    image: pulumi.Output[str],
    after: Sequence[pulumi.Resource],
) -> None:
    """The workers start once the tables are there, and go before the gateways do."""
    config = jobs_config(settings)
    if config is None or base.secret is None:
        return
    wanted = settings.jobs
    JobWorkers(
        "jobs",
        {
            "namespace": namespace,
            "workers": {
                "image": image,
                "replicas": wanted.workers,
                **({"scaling": wanted.scaling.model_dump()} if wanted.scaling else {}),
                "cpu_millicores": wanted.cpu_millicores,
                "memory_mib": wanted.memory_mib,
                "config": config.model_dump_json(),
                "secret": base.secret,
                "database_tls": settings.data.database.tls,
                "vpc_cidr": settings.network.cidr,
            },
        },
        pulumi.ResourceOptions(providers=[cluster.provider], depends_on=list(after)),
    )
