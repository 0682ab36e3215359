"""The provider's own configuration: what `aws.Provider(...)` may say to the local provider."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.aws.provider.values import UNKNOWN, Values, revealed

HARMLESS = frozenset(
    {
        "accessKey", "endpoints", "maxRetries", "retryMode", "s3UsEast1RegionalEndpoint", "s3UsePathStyle", "secretKey",
        "skipCredentialsValidation", "skipMetadataApiCheck", "skipRegionValidation", "skipRequestingAccountId",
        "skipGetEc2Platforms", "stsRegion", "token", "useDualstackEndpoint", "useFipsEndpoint", "profile",
        "sharedConfigFiles", "sharedCredentialsFiles",
    }
)  # fmt: skip
"""How to reach and sign for the real AWS: accepted, without effect on the embedded one."""

EFFECTIVE = frozenset({"region", "defaultTags", "allowedAccountIds", "forbiddenAccountIds"})
INTERNAL = frozenset({"version", "pluginDownloadURL", "__internal"})


@dataclass(frozen=True)
class Config:
    region: str
    default_tags: Mapping[str, str] = field(default_factory=dict)
    allowed_accounts: tuple[str, ...] = ()
    forbidden_accounts: tuple[str, ...] = ()

    def refusal(self, account: str) -> str:
        """Why this account may not be touched; empty if it may."""
        if self.allowed_accounts and account not in self.allowed_accounts:
            return f"AWS account {account} is not one of allowedAccountIds: {', '.join(self.allowed_accounts)}"
        if account in self.forbidden_accounts:
            return f"AWS account {account} is one of forbiddenAccountIds"
        return ""


def unknown_keys(news: Values) -> list[str]:
    return sorted(set(news) - HARMLESS - EFFECTIVE - INTERNAL)


def parse(news: Values) -> Config:
    """Raises ValueError for a setting of the wrong kind, or where no region is known."""
    settings = {name: _decoded(revealed(value)) for name, value in news.items() if name in EFFECTIVE}
    region = settings.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not isinstance(region, str):
        raise ValueError("aws:region is not set (nor AWS_REGION)")
    tags = settings.get("defaultTags") or {}
    tags = tags.get("tags", {}) if isinstance(tags, dict) else tags
    if not isinstance(tags, dict):
        raise ValueError(f"aws:defaultTags must be an object with `tags`, not {tags!r}")
    return Config(
        region=region,
        default_tags={str(key): str(value) for key, value in (tags or {}).items() if value is not UNKNOWN},
        allowed_accounts=_accounts(settings, "allowedAccountIds"),
        forbidden_accounts=_accounts(settings, "forbiddenAccountIds"),
    )


def _accounts(settings: Values, name: str) -> tuple[str, ...]:
    accounts = settings.get(name) or []
    if not isinstance(accounts, list):
        raise ValueError(f"aws:{name} must be a list of account ids, not {accounts!r}")
    return tuple(str(account) for account in accounts if account is not UNKNOWN)


def _decoded(value: Any) -> Any:
    """Pulumi hands a provider's objects, lists and flags over as JSON text."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        return json.loads(value)
    return None if value is UNKNOWN else value
