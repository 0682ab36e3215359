"""aws:amp: workspace of Amazon Managed Service for Prometheus."""

from __future__ import annotations

from infra.local.aws.provider.row import Row, Scope, Tagging, creating
from infra.local.aws.provider.schema import camel, out, text
from infra.local.aws.provider.values import Values

AMP_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="resourceArn",
    tags="tags",
    keys="tagKeys",
    key="",
    listing="list_tags_for_resource",
    listed="tags",
)


def _rename(scope: Scope, workspace: str, values: Values, changed: frozenset[str]) -> None:
    if "alias" in changed:
        scope.api.update_workspace_alias(workspaceId=workspace, alias=values.get("alias") or "")


WORKSPACE = Row(
    kind="aws:amp/workspace:Workspace",
    service="amp",
    style=camel,
    fields={
        "alias": text(),
        # moto forgets the key; a workspace cannot change it.
        "kmsKeyArn": text(replace=True, write_only=True),
        "arn": out(text()),
        "prometheusEndpoint": out(text()),
    },
    create=creating("create_workspace", "workspaceId", tags="tags"),
    find=lambda scope, workspace, state: scope.api.describe_workspace(workspaceId=workspace)["workspace"],
    update=_rename,
    delete=lambda scope, workspace, state: scope.api.delete_workspace(workspaceId=workspace),
    tagging=AMP_TAGS,
)

ROWS = (WORKSPACE,)
