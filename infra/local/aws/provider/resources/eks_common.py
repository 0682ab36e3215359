"""What the rows of EKS share: tags, ids of several parts, waiting."""

from __future__ import annotations

from infra.local.aws.provider.row import NotDoneError, Scope, Tagging
from infra.local.aws.provider.values import Values

EKS_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="resourceArn",
    tags="tags",
    keys="tagKeys",
    key="",
    listed="tags",
)

FAILED = frozenset({"CREATE_FAILED", "DELETE_FAILED", "DEGRADED", "FAILED", "UPDATE_FAILED"})
MINUTES_20 = 1200.0


def wait_status(scope: Scope, what: str, resource_id: str, state: Values, wanted: str = "ACTIVE") -> None:
    """Waits until `find` of the row reports the status; a failed one raises NotDoneError."""

    def ready() -> bool:
        found = scope.row.find(scope, resource_id, state)
        status = (found or {}).get("status", "gone")
        if status in FAILED:
            raise NotDoneError(f"{what}: status {status}: {(found or {}).get('health', {})}")
        return status == wanted

    scope.wait(f"{what} {wanted}", ready, MINUTES_20)
