"""The OpenAPI document of the admin API, at /admin/v1/openapi.json."""

from __future__ import annotations

from typing import Any

from app.gateway.budget.admin import NewOverride
from app.gateway.console.records import DrillResult
from app.gateway.console.release import Told, Wish
from app.gateway.keys import forms
from app.gateway.strict import Strict

_ERRORS = {
    "400": "A field or query parameter is wrong; the message names it.",
    "401": "No key, or an unknown one.",
    "403": "A client key.",
    "404": "There is no such key or tenant.",
    "409": "It exists already, is revoked, or the idempotency key was used for something else.",
    "503": "The database is away; `Retry-After` says when to come back.",
}
_ROUTES: tuple[tuple[str, str, str, str, type[Strict] | None], ...] = (
    ("/admin/v1/keys", "post", "createKey", "Make a key; it is in this answer alone", forms.NewKey),
    ("/admin/v1/keys", "get", "listKeys", "List keys: ?tenant=, ?after=, ?limit=", None),
    ("/admin/v1/keys/{id}", "get", "getKey", "Show a key", None),
    ("/admin/v1/keys/{id}", "patch", "changeKey", "Change what is given; null takes a bound away", forms.KeyChange),
    ("/admin/v1/keys/{id}/rotate", "post", "rotateKey", "Replace the key; it is in this answer alone", forms.Rotation),
    ("/admin/v1/keys/{id}/revoke", "post", "revokeKey", "Refuse the key from now on, for good", None),
    ("/admin/v1/tenants", "post", "createTenant", "Name a tenant, with its limits", forms.NewTenant),
    ("/admin/v1/tenants", "get", "listTenants", "List tenants: ?after=, ?limit=", None),
    ("/admin/v1/tenants/{name}", "get", "getTenant", "Show a tenant", None),
    ("/admin/v1/tenants/{name}", "patch", "changeTenant", "Change its limits, or disable it", forms.TenantChange),
    ("/admin/v1/budget", "get", "getBudget", "What gateways do about spent budgets, and why", None),
    ("/admin/v1/budget/override", "put", "setBudget", "Set the level over what budgets say, for a time", NewOverride),
    ("/admin/v1/budget/override", "delete", "clearBudget", "Let budgets count again", None),
    ("/admin/v1/feedback", "get", "reportFeedback", "Sums of ratings: ?since=, ?until=, ?by=, ?epsilon=", None),
    ("/admin/v1/tenants/{name}/export", "get", "exportTenant", "All that is kept of a tenant, as JSON lines", None),
    ("/admin/v1/tenants/{name}/data", "delete", "eraseTenant", "Erase what is kept of a tenant; ?confirm=NAME", None),
    ("/admin/v1/release", "get", "getRelease", "The release under way, as its runner told it, and wishes", None),
    ("/admin/v1/release", "put", "tellRelease", "Told by a runner once a second; the answer holds a wish", Told),
    ("/admin/v1/release/wishes", "post", "wishRelease", "Ask the runner to promote or to roll back", Wish),
    ("/admin/v1/drills", "get", "listDrills", "The latest result of each drill", None),
    ("/admin/v1/drills/{name}", "put", "keepDrill", "Keep a drill's result", DrillResult),
    ("/admin/v1/jobs", "get", "showJobs", "Batches and jobs of all tenants: what waits, runs and ended", None),
    ("/admin/v1/audit/check", "get", "checkAudit", "Whether rows of the audit were changed or are gone: ?head=", None),
    ("/admin/v1/audit", "get", "listAudit", "What admins did, newest first: ?before=, ?limit=", None),
)


def document() -> dict[str, Any]:
    """OpenAPI 3.1. Errors have the shape of the client API's."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for path, method, name, summary, form in _ROUTES:
        operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": _responses()}
        if "{" in path:
            part = path.partition("{")[2].partition("}")[0]
            operation["parameters"] = [{"name": part, "in": "path", "required": True, "schema": {"type": "string"}}]
        if name == "createKey":
            header = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 200}}
            operation["parameters"] = [header]
        if form is not None:
            schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[form.__name__] = schema
            content = {"schema": {"$ref": f"#/components/schemas/{form.__name__}"}}
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock gateway: administration", "version": "v1"},
        "security": [{"adminKey": []}],
        "paths": paths,
        "components": {"securitySchemes": {"adminKey": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
    }


def _responses() -> dict[str, Any]:
    return {"200": {"description": "Done"}, **{status: {"description": text} for status, text in _ERRORS.items()}}
