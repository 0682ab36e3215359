"""What the admin API takes, and what it shows. Times are ISO 8601 with a zone, in UTC when shown."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from app.gateway.config import Access, Limits, Name, Priority, Route, Strict
from app.gateway.errors import Problem, Refused

Title = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
LONGEST_OVERLAP_SECONDS = 30 * 86_400


class NewKey(Access):
    name: Title = Field(description="For people: whose key this is, and what for.")


class KeyChange(Strict):
    """What is given is set; null takes a bound away; what is not given stays."""

    name: Title = ""
    tenant: Name = "default"
    priority: Priority = "interactive"
    limits: Limits | None = None
    models: tuple[Name, ...] | None = None
    routes: tuple[Route, ...] | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    max_output_tokens_by_model: dict[Name, Annotated[int, Field(ge=1)]] = Field(default={})
    max_usd_per_request: float | None = Field(default=None, gt=0)
    expires_at: AwareDatetime | None = None
    enabled: bool = True

    @model_validator(mode="after")
    def changes_something(self) -> KeyChange:
        if not self.model_fields_set:
            raise ValueError(f"nothing to change; it may have {', '.join(type(self).model_fields)}")
        if self.models == () or self.routes == ():
            raise ValueError("models and routes: an empty list allows nothing; use null for all, or disable the key")
        return self

    def given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class Rotation(Strict):
    overlap_seconds: int = Field(
        default=0, ge=0, le=LONGEST_OVERLAP_SECONDS, description="How long the key before is still taken."
    )


class NewTenant(Strict):
    name: Name
    limits: Limits | None = Field(default=None, description="Without: those of the configuration.")
    enabled: bool = Field(default=True, description="False: all its keys and tokens are refused.")


class TenantChange(Strict):
    limits: Limits | None = None
    enabled: bool = True

    @model_validator(mode="after")
    def changes_something(self) -> TenantChange:
        if not self.model_fields_set:
            raise ValueError("nothing to change; it may have limits, enabled")
        return self


Form = TypeVar("Form", bound=Strict)
FORMS = (NewKey, KeyChange, Rotation, NewTenant, TenantChange)


def read(kind: type[Form], body: bytes) -> Form:
    """Raises Refused (400) that names the field and what is allowed, and never shows a value."""
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown field; allowed are {', '.join(kind.model_fields)}"
        raise Refused(Problem(400, f"{where or 'The body'}: {message}.", "invalid_body", where or None)) from None
