"""Calls to AWS that end in an answer or in a sentence that says why there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.ops.preflight.findings import Finding, Status

if TYPE_CHECKING:
    from infra.settings import Settings

MOST_PAGES = 50
"""Of one list. An account with more is counted no further, and the check says so."""

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403"}
THROTTLED = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"}


class Unanswered(Exception):  # noqa: N818 - an outcome that checks expect, not a fault
    """No usable answer. `code` is AWS's error code where AWS gave one."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


@dataclass
class Account:
    """What the checks ask: the stack's settings, its name, and one client for each service."""

    settings: Settings
    stack: str
    make_client: Callable[[str], Any]
    _clients: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def region(self) -> str:
        return self.settings.aws.region

    @property
    def cluster_name(self) -> str:
        return f"penstock-{self.stack}"

    @property
    def zones(self) -> list[str]:
        return [f"{self.region}{letter}" for letter in self.settings.network.zones]

    def owns(self, tags: list[dict[str, str]] | None) -> bool:
        """Whether the provider's default tags of this stack are among these."""
        values = {tag.get("Key"): tag.get("Value") for tag in tags or []}
        return values.get("project") == "penstock" and values.get("stack") == self.stack

    def ask(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call. Raises Unanswered."""
        from botocore.exceptions import BotoCoreError, ClientError

        called = f"{service}:{_camel(operation)}"
        try:
            with self._lock:  # sessions make one client at a time
                if service not in self._clients:
                    self._clients[service] = self.make_client(service)
            return getattr(self._clients[service], operation)(**arguments)
        except ClientError as error:
            raise _explained(called, error.response) from None
        except BotoCoreError as error:
            raise Unanswered(f"{called}: {' '.join(str(error).split())}") from None

    def every(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The items of a list, page by page, with `NextToken` or `Marker`. Raises Unanswered."""
        token: dict[str, str] = {}
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            reply = self.ask(service, operation, **arguments, **token)
            yield from items(reply, key, f"{service}:{_camel(operation)}")
            name, value = _next(reply)
            if not value:
                return
            if value in seen:
                raise Unanswered(f"{service}:{_camel(operation)}: the reply names the same page again")
            seen.add(value)
            token = {name: value}
        raise Unanswered(f"{service}:{_camel(operation)}: more than {MOST_PAGES} pages")


def items(reply: dict[str, Any], key: str, called: str) -> list[Any]:
    """A list in a reply. Raises Unanswered where the reply has none."""
    found = reply.get(key)
    if not isinstance(found, list):
        raise Unanswered(f"{called}: the reply has no list {key}")
    return found


def guarded(check: str, asked: str, find: Callable[[], Finding]) -> Finding:
    """The finding, or one that says why there is none."""
    try:
        return find()
    except Unanswered as silence:
        return Finding(check, asked, str(silence), Status.UNKNOWN)


def _next(reply: dict[str, Any]) -> tuple[str, str]:
    if reply.get("NextToken"):
        return "NextToken", reply["NextToken"]
    if reply.get("nextToken"):
        return "nextToken", reply["nextToken"]
    return "Marker", reply.get("NextMarker") or (reply.get("Marker") if reply.get("IsTruncated") else "") or ""


def _explained(called: str, response: Any) -> Unanswered:
    error = response.get("Error", {})
    code, message = str(error.get("Code", "")), " ".join(str(error.get("Message", "")).split())
    if code in DENIED:
        return Unanswered(f"{called} is denied; it is needed for this check", code)
    if code in THROTTLED:
        return Unanswered(f"{called}: AWS asks to slow down; try again later", code)
    return Unanswered(f"{called}: {code} {message[:160]}".rstrip(), code)


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
