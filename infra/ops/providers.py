"""Keys of a stack's outside providers, in its secrets of AWS Secrets Manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.ops.errors import PenstockError, UsageError

if TYPE_CHECKING:
    from infra.ops.stacks import StackAccess

OUTPUT = "providerSecrets"
MOST_BYTES = 16 * 1024
"""What a gateway reads of a key (app/gateway/providers/keys.py)."""


def secrets_of(access: StackAccess) -> dict[str, str]:
    """ARN of the secret for each provider's key, by the provider's name. Raises NotRunningError."""
    return dict(access.outputs().get(OUTPUT) or {})


def checked(text: str) -> str:
    """A key as it was typed or piped. Raises UsageError, whose message holds no part of it."""
    key = text.strip()
    if not key:
        raise UsageError("The key is empty.", "Type it, or pipe it: `penstock provider key NAME < file`.")
    if not key.isascii() or len(key) > MOST_BYTES or not (key.startswith("{") or key.isprintable()):
        raise UsageError(f"That is no key: ASCII without control characters is, of {MOST_BYTES} bytes at most.")
    return key


def write_key(access: StackAccess, name: str, key: str) -> None:
    """Raises UsageError for a provider without a secret, PenstockError where AWS refuses."""
    found = secrets_of(access)
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise UsageError(f"The stack {access.name} has no secret for a provider {name}.", f"It has: {known}.")
    _asked(access, "put_secret_value", SecretId=found[name], SecretString=key)


def listed(access: StackAccess) -> list[dict[str, Any]]:
    """Name, secret, and when its value was written last; None: never. Raises PenstockError."""
    rows = []
    for name, arn in sorted(secrets_of(access).items()):
        known = _asked(access, "describe_secret", SecretId=arn)
        current = any("AWSCURRENT" in stages for stages in (known.get("VersionIdsToStages") or {}).values())
        written = known.get("LastChangedDate") if current else None
        rows.append({"name": name, "secret": arn, "written_at": None if written is None else written.isoformat()})
    return rows


def _asked(access: StackAccess, operation: str, **arguments: str) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return getattr(access.aws("secretsmanager"), operation)(**arguments)
    except ClientError as error:
        told = error.response.get("Error", {})
        raise PenstockError(f"Secrets Manager refused: {told.get('Code')}: {told.get('Message')}") from None
    except BotoCoreError as error:  # the arguments are not in its text
        raise PenstockError(f"Secrets Manager was not reached: {type(error).__name__}.") from None
