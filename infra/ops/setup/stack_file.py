"""A stack file made of an example and a few answers: comments and all other values stay. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from infra.settings import Settings
from infra.settings.migrations import SCHEMA_COMMENT, SCHEMA_PATH
from infra.settings.parse import values_of_text
from infra.settings.yaml_text import put, value_at

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "small": ("Pulumi.dev.yaml", "one small model of your own on spot GPUs; nothing is protected"),
    "production": ("Pulumi.prod.yaml", "two models of your own over three zones; data is protected"),
    "outside": ("examples/stacks/Pulumi.managed.yaml", "models at outside providers alone; no GPU"),
    "grow": ("examples/stacks/Pulumi.grow.yaml", "one model of your own, outside providers behind it"),
}
"""What `--models` takes: the file to begin with, and what it holds."""
GEOGRAPHIES = {"eu": "eu", "us": "us", "ap": "apac"}
"""First letters of a region to the prefix of Bedrock's inference profiles (Bedrock user guide)."""


@dataclass(frozen=True)
class Answers:
    """What a stack file cannot take from an example."""

    stack: str
    models: str
    account: str
    region: str
    zones: tuple[str, ...]
    budget_usd: int
    clients: tuple[str, ...]
    """Ranges that may reach the load balancer."""
    hostname: str | None = None
    hosted_zone: str | None = None
    administrators: tuple[str, ...] = ()
    copy_region: str | None = None
    boundary: str | None = None
    repository: str | None = None
    """OWNER/NAME at GitHub."""

    @property
    def file_name(self) -> str:
        return f"Pulumi.{self.stack}.yaml"


def stack_file(example: str, answers: Answers) -> str:
    """The file's text. Raises SettingsError with the parser's words where the answers do not fit each other."""
    before = values_of_text(example, "the example")
    account, region = before["aws"]["accountId"], before["aws"]["region"]
    text = example.replace(str(account), answers.account)
    text = re.sub(rf"(?<![\w-]){re.escape(region)}(?![\w-])", answers.region, text)
    copies = answers.copy_region if before["data"]["copyRegion"] is not None else None
    allowed = ", ".join(dict.fromkeys([answers.region, *([copies] if copies else [])]))
    allowed_cidrs = f"[{', '.join(answers.clients)}]"
    edits = {
        "aws.allowedRegions": f"[{allowed}]",
        "access.permissionsBoundaryArn": answers.boundary or "null",
        "network.zones": f"[{', '.join(answers.zones)}]",
        "cluster.publicEndpointCidrs": allowed_cidrs if before["cluster"]["publicEndpointCidrs"] else "[]",
        "data.copyRegion": copies or "null",
        "edge.allowedCidrs": allowed_cidrs,
        "edge.adminCidrs": allowed_cidrs if before["edge"]["adminCidrs"] else "[]",
        "edge.certificateArn": "null",
        "edge.hostname": answers.hostname or "null",
        "edge.hostedZoneId": answers.hosted_zone or "null",
        "edge.port": "443" if answers.hosted_zone else "80",
        **_budget(before["budget"], answers.budget_usd),
    }
    if answers.repository:
        edits["watch.runbooksUrl"] = f"https://github.com/{answers.repository}/blob/main/docs/runbooks.md"
    for path, value in edits.items():
        text = put(text, f"config.penstock:{path}", value)
    text = _administrators(text, answers.administrators)
    text = re.sub(r"(?m)^( *upstream: )(eu|us|apac)\.", rf"\g<1>{GEOGRAPHIES.get(answers.region[:2], 'eu')}.", text)
    text = re.sub(rf"(?m)^{re.escape(SCHEMA_COMMENT)}.*$", f"{SCHEMA_COMMENT}{SCHEMA_PATH}", text)
    Settings.parse(values_of_text(text, answers.file_name), answers.file_name)
    return text


def _budget(before: dict, whole: int) -> dict[str, str]:
    """Parts and levels in the example's proportions."""
    share = whole / before["monthlyUsd"]
    edits = {"budget.monthlyUsd": str(whole), "budget.anomalyUsd": str(max(1, round(before["anomalyUsd"] * share)))}
    for name, usd in before["partUsd"].items():
        edits[f"budget.partUsd.{name}"] = str(max(1, int(usd * share)))
    if before["actions"]["ledgerUsd"] is not None:
        edits["budget.actions.ledgerUsd"] = str(max(1, int(before["actions"]["ledgerUsd"] * share)))
    return edits


def _administrators(text: str, arns: tuple[str, ...]) -> str:
    lines = "".join(f"\n      - {arn}" for arn in arns) or " []"
    return re.sub(
        r"(?m)^    administrators:(?: \[.*\]|(?:\n      - .*)+)$", f"    administrators:{lines}", text, count=1
    )


def to_replace_by_hand(text: str) -> list[str]:
    """What no answer can know: images by digest and weights."""
    found = []
    if value_at(text, "config.penstock:release.blue.engineImage") != "none":
        found.append("release.*.engineImage and models[].source: your engine's image and your weights")
    found.append("release.*.gatewayImage: the digest that `make image-push` prints")
    found.append("controllers.*.image: the digests in your registry")
    return found


def example_path(models: str) -> PurePosixPath:
    return PurePosixPath(EXAMPLES[models][0])
