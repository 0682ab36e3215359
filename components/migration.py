"""The Job that brings a release's tables about before its gateways start, as a manifest. Pure functions.

It signs in as the database's owner, whose password only its own role may read: neither the program nor the cluster
keeps it. What it makes for the gateways is a login that may do no more than they need.
"""

from typing import NotRequired, TypedDict

import pulumi

from components import pods
from components.pods import Manifest

APP = "migration"
"""Name of its pods, of its service account and of its role."""
JOBS_LOGIN = "jobs"
"""The workers' user."""
GATEWAY_LOGIN = "gateway"
"""The gateways' user in the database."""
PASSWORD_KEY = "PENSTOCK_DATABASE_PASSWORD"  # noqa: S105 - the key of a Secret, and the gateways' variable
DATABASE_CERTIFICATES = "/opt/gateway/rds.pem"
"""Where the gateway's image has the roots of RDS (app/Dockerfile)."""
RETENTION_SCHEDULE = "17 3 * * *"
"""Daily, in the small hours of UTC, and not on the hour as all else."""
TRIES = 5
DEADLINE_SECONDS = 600
"""Tries and the waits between them (10 s, doubling), with room for the image's pull and a node's start."""


class MigrationShape(TypedDict):
    database_address: pulumi.Input[str]
    """host:port."""
    database_tls: str
    owner_secret_arn: pulumi.Input[str]
    """The secret of Secrets Manager in which AWS keeps the owner's name and password."""
    login_secret: pulumi.Input[str]
    """Name of the Kubernetes Secret with the gateways' password, at PENSTOCK_DATABASE_PASSWORD."""
    keep_days: int
    """Rows of usage are kept so long."""
    semantic_cache: bool
    """The semantic cache has tables too; they need the extension pgvector."""
    retrieval: NotRequired[bool]
    """Retrieval has tables too; they need the extension pgvector."""
    jobs_secret: NotRequired[pulumi.Input[str]]
    """Jobs have tables too: name of the Kubernetes Secret with the workers' password, at PENSTOCK_DATABASE_PASSWORD."""


def labels() -> dict[str, str]:
    """Without a colour: only what serves requests has one."""
    return {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": pods.PART_OF}


def database_tls(mode: str) -> list[Manifest]:
    """Variables of a container that connects to the database."""
    found = [{"name": "PENSTOCK_DATABASE_TLS", "value": mode}]
    if mode == "verify-full":
        found.append({"name": "PENSTOCK_DATABASE_CA_FILE", "value": DATABASE_CERTIFICATES})
    return found


def migration_job(
    shape: MigrationShape, *, namespace: pulumi.Input[str], image: pulumi.Input[str], pool: str
) -> Manifest:
    """Safe to repeat: a new image, login or setting makes a new Job, which does what is missing."""
    container = {
        "name": APP,
        "image": image,
        "command": ["python", "-m", "app.gateway.database"],
        "args": [
            *("migrate", "--login", GATEWAY_LOGIN, "--keep-days", str(shape["keep_days"])),
            *(("--semantic-cache",) if shape["semantic_cache"] else ()),
            *(("--jobs", JOBS_LOGIN) if "jobs_secret" in shape else ()),
            *(("--retrieval",) if shape.get("retrieval") else ()),
        ],
        "env": [
            {"name": "PENSTOCK_DATABASE_ADDRESS", "value": shape["database_address"]},
            {"name": "PENSTOCK_DATABASE_SECRET_ARN", "value": shape["owner_secret_arn"]},
            *database_tls(shape["database_tls"]),
            pods.from_secret("PENSTOCK_DATABASE_LOGIN_PASSWORD", shape["login_secret"], PASSWORD_KEY),
            *(
                [pods.from_secret("PENSTOCK_DATABASE_JOBS_PASSWORD", shape["jobs_secret"], PASSWORD_KEY)]
                if "jobs_secret" in shape
                else []
            ),
        ],
        "resources": {"requests": pods.size(100, 128), "limits": {"memory": "256Mi"}},
        "securityContext": pods.container_security(read_only=True),
    }
    return {
        # No name of its own: a Job cannot change, so that a new one comes beside the old one, which then goes.
        "metadata": {"namespace": namespace, "labels": labels()},
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "template": _template(container, pods.INTERACTIVE_PRIORITY_CLASS, pool),
        },
    }


def _template(container: Manifest, priority: str, pool: str) -> Manifest:
    return {
        "metadata": {"labels": labels()},
        "spec": {
            "serviceAccountName": APP,
            "priorityClassName": priority,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # Each try is a pod, and its log stays until the Job goes.
            "restartPolicy": "Never",
            "securityContext": pods.pod_security(),
            "affinity": pods.only_pools((pool,)),
            "containers": [container],
        },
    }


def retention_job(
    database_address: pulumi.Input[str],
    tls: str,
    owner_secret_arn: pulumi.Input[str],
    *,
    namespace: pulumi.Input[str],
    image: pulumi.Input[str],
    pool: str,
) -> Manifest:
    """A CronJob, signed in as the migration is: gateways' login may delete next to nothing."""
    container = {
        "name": APP,
        "image": image,
        "command": ["python", "-m", "app.gateway.database"],
        "args": ["retention"],
        "env": [
            {"name": "PENSTOCK_DATABASE_ADDRESS", "value": database_address},
            {"name": "PENSTOCK_DATABASE_SECRET_ARN", "value": owner_secret_arn},
            *database_tls(tls),
        ],
        "resources": {"requests": pods.size(100, 128), "limits": {"memory": "256Mi"}},
        "securityContext": pods.container_security(read_only=True),
    }
    return {
        "metadata": {"name": "retention", "namespace": namespace, "labels": labels()},
        "spec": {
            "schedule": RETENTION_SCHEDULE,
            "timeZone": "Etc/UTC",
            # A cluster that slept runs it late, and never twice at once.
            "startingDeadlineSeconds": 3600,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": labels()},
                "spec": {
                    "backoffLimit": TRIES,
                    "activeDeadlineSeconds": DEADLINE_SECONDS,
                    "template": _template(container, pods.BATCH_PRIORITY_CLASS, pool),
                },
            },
        },
    }
