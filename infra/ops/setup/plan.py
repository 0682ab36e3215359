"""Changes to an account: each is looked for first, shown, and then made. What is there as wanted is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.errors import PenstockError, RefusedError
from infra.ops.tables import table

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "AllAccessDisabled"}


@dataclass(frozen=True)
class Change:
    """One call or a few that belong together. They may be repeated: a run that was killed is run again."""

    action: str
    """create, change, delete or keep."""
    kind: str
    name: str
    detail: str
    make: Callable[[], object] = lambda: None

    def as_dict(self) -> dict[str, str]:
        return {"action": self.action, "kind": self.kind, "name": self.name, "detail": self.detail}


@dataclass(frozen=True)
class Cloud:
    """Calls to one account, with errors that say the cause and the next step."""

    client: Callable[[str], Any]

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        return self.ask(service, operation, (), **arguments) or {}

    def ask(self, service: str, operation: str, missing: Sequence[str], **arguments: Any) -> dict[str, Any] | None:
        """The reply; None where AWS answers one of the error codes `missing`. Raises PenstockError."""
        from botocore.exceptions import BotoCoreError, ClientError

        called = f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"
        try:
            return getattr(self.client(service), operation)(**arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in missing:
                return None
            if code in DENIED:
                raise PenstockError(
                    f"{called} is denied to these credentials.",
                    "Allow it, or take credentials of an administrator; what was made stays, and the next run goes on.",
                ) from None
            said = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
            raise PenstockError(f"{called} failed: {code} {said}", "Run it again: it goes on from here.") from None
        except BotoCoreError as error:
            raise PenstockError(
                f"{called}: {' '.join(str(error).split())}.", "Check credentials and network, and run it again."
            ) from None


def check_account(cloud: Cloud, wanted: str) -> str:
    """The caller's ARN. Raises RefusedError in another account than the stack file's."""
    caller = cloud.call("sts", "get_caller_identity")
    if caller["Account"] != wanted:
        raise RefusedError(
            f"These credentials are of account {caller['Account']}, and the stack is of {wanted}; nothing was changed.",
            "Take credentials of that account, or name this one with --account.",
        )
    return str(caller["Arn"])


def shown(changes: Sequence[Change]) -> list[str]:
    """A table of what will happen, and a line that counts it."""
    counted = {name: sum(each.action == name for each in changes) for name in ("create", "change", "delete", "keep")}
    rows = [(each.action, each.kind, each.name, each.detail) for each in changes]
    line = ", ".join(f"{count} to {name}" for name, count in counted.items() if count)
    return [*table(("", "what", "name", "detail"), rows), f"  {line or 'nothing to do'}"]


def pending(changes: Sequence[Change]) -> list[Change]:
    return [each for each in changes if each.action != "keep"]
