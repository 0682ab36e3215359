"""Once a day what is past its time goes from the database."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as k8s

from components import manifests
from components.migration import retention_job
from infra.cluster import Cluster
from infra.engines import image
from infra.foundation import Foundation
from infra.settings import Settings


def build_retention(
    settings: Settings,
    foundation: Foundation,
    cluster: Cluster,
    namespace: pulumi.Input[str],
    after: Sequence[pulumi.Resource],
) -> None:
    """With the image that has the traffic: a colour that is staged changes nothing here."""
    blue, green = settings.release.blue, settings.release.green
    live = blue if blue.weight >= green.weight else green
    job = retention_job(
        foundation.database_address,
        settings.data.database.tls,
        foundation.database_secret_arn,
        namespace=namespace,
        image=image(foundation.image_urls["gateway"], live.gateway_image),
        pool=manifests.SYSTEM_POOL,
    )
    k8s.batch.v1.CronJob(
        "retention",
        metadata=job["metadata"],
        spec=job["spec"],
        opts=pulumi.ResourceOptions(provider=cluster.provider, depends_on=list(after)),
    )
