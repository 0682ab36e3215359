"""What can go wrong between the provider and a cluster, as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ProviderError(RuntimeError):
    """An error whose message is meant for the person who ran the command."""


class UnreachableError(ProviderError):
    """The cluster gave no answer."""


class CancelledError(ProviderError):
    """The engine asked to stop."""


class AwaitError(ProviderError):
    """An object exists but did not become ready. `reasons` says why, one sentence each."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = list(reasons)


class ApiError(ProviderError):
    """The API server refused a request. `status` is its Status object."""

    def __init__(self, code: int, status: Mapping[str, Any], request: str = "") -> None:
        self.code = code
        self.status = status
        self.reason = str(status.get("reason") or "")
        details = status.get("details") or {}
        self.causes: list[Mapping[str, Any]] = [*(details.get("causes") or ())]
        message = str(status.get("message") or f"status {code}")
        super().__init__(f"{request}: {message}" if request else message)
        self.message = message

    @property
    def malformed(self) -> str:
        """What is wrong with an object that does not fit its schema, "" for other errors.

        Server-side apply answers such an object with status 500 (measured on 1.36).
        """
        _, mark, rest = self.message.partition("failed to create typed patch object")
        return rest.partition("): ")[2] or rest.strip() if mark else ""

    @property
    def immutable(self) -> bool:
        """Whether a field that cannot change was to be changed."""
        return "immutable" in self.message or "may not change once set" in self.message


class RefusedError(ProviderError):
    """What the API server refused, as a sentence. `error` is its answer."""

    def __init__(self, message: str, error: ApiError) -> None:
        super().__init__(message)
        self.error = error


def explain(error: ApiError, what: str) -> RefusedError:
    """The refusal of `what` (an object's description) as a sentence that names fields and managers."""
    conflicts = [cause for cause in error.causes if cause.get("reason") == "FieldManagerConflict"]
    if conflicts:
        fields = "; ".join(f"{cause.get('field')} ({cause.get('message')})" for cause in conflicts)
        message = (
            f"{what}: fields are managed by somebody else: {fields}. Leave them out of the program, or take them over "
            'with the annotation pulumi.com/patchForce: "true"'
        )
    elif error.code == 422 and error.causes:
        fields = "; ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in error.causes)
        hint = ". To change it the object must be replaced: replace_on_changes" if error.immutable else ""
        message = f"{what} is not valid: {fields}{hint}"
    elif error.malformed:
        message = f"{what} is not valid: {error.malformed}"
    elif error.code in (401, 403):
        message = f"{what} was not allowed: {error.message}"
    else:
        message = f"{what}: {error.message}"
    return RefusedError(message, error)
