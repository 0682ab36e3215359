"""The stack file of the same stack in another region: comments and all other values stay. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.ops.errors import RefusedError, UsageError
from infra.ops.setup.stack_file import GEOGRAPHIES
from infra.settings import Settings
from infra.settings.parse import values_of_text
from infra.settings.regions import partition_of
from infra.settings.yaml_text import TextError, put, replace_block

REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
STACK = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Destination:
    stack: str
    region: str
    zones: tuple[str, ...] | None = None
    """Letters; None: those of the file."""
    certificate: str | None = None
    """ARN of a certificate that ACM has issued there."""
    cidr: str | None = None

    @property
    def file_name(self) -> str:
        return f"Pulumi.{self.stack}.yaml"


@dataclass(frozen=True)
class Moved:
    text: str
    notes: tuple[str, ...]
    """What belongs to a region and cannot be known from here."""


def moved(text: str, stack: str, to: Destination) -> Moved:
    """Raises UsageError, RefusedError, and SettingsError with the parser's words for what does not fit."""
    before = Settings.parse(values_of_text(text, f"Pulumi.{stack}.yaml"), f"Pulumi.{stack}.yaml")
    _check(before, stack, to)
    home = before.aws.region
    # Every mention, as in an engine's address; where data may rest is said by people alone.
    text = re.sub(rf"(?<![\w-]){re.escape(home)}(?![\w-])", to.region, text)
    edits = {
        "aws.allowedRegions": f"[{', '.join(before.aws.allowed_regions)}]",
        "data.copyRegion": home if before.data.copy_region else "null",
        "data.weights.accessLogsBucket": "null",
        "edge.certificateArn": to.certificate or "null",
        # The name still leads to the first stack.
        "edge.hostedZoneId": "null",
    }
    if to.zones:
        edits["network.zones"] = f"[{', '.join(to.zones)}]"
    if to.cidr:
        edits["network.cidr"] = to.cidr
    for path, value in edits.items():
        text = _put(text, f"config.penstock:{path}", value)
    geography = GEOGRAPHIES.get(to.region[:2])
    if geography:
        text = re.sub(r"(?m)^( *upstream: )(eu|us|apac)\.", rf"\g<1>{geography}.", text)
    Settings.parse(values_of_text(text, to.file_name), to.file_name)
    return Moved(text, tuple(_notes(before)))


def _put(text: str, path: str, value: str) -> str:
    """Lists may stand on one line or on several."""
    try:
        return put(text, path, value)
    except TextError:
        return replace_block(text, path, value)


def _check(before: Settings, stack: str, to: Destination) -> None:
    if not STACK.fullmatch(to.stack) or to.stack == stack:
        raise UsageError(f"--to-stack {to.stack!r} is not allowed.", f"Give another name than {stack}, such as prod2.")
    if not REGION.fullmatch(to.region) or to.region == before.aws.region:
        raise UsageError(
            f"--region {to.region!r} is not allowed.",
            f"Give another region than {before.aws.region}, such as eu-west-1.",
        )
    if partition_of(to.region) != partition_of(before.aws.region):
        raise UsageError(f"--region {to.region} is of another partition: an account has no two.")
    if to.region not in before.aws.allowed_regions:
        raise RefusedError(
            f"The region {to.region} is not in penstock:aws.allowedRegions of {stack}: its data may not rest there; "
            "nothing was written.",
            "Allow it in a reviewed change of its own first.",
        )
    speaks_tls = before.edge.certificate_arn or before.edge.hosted_zone_id
    if speaks_tls and not to.certificate:
        raise UsageError(
            "--certificate is missing: the name's certificate is of one region.",
            f"Ask ACM for one in {to.region} (`aws acm request-certificate`), and give its ARN.",
        )
    if to.certificate and not re.fullmatch(rf"arn:[a-z-]+:acm:{to.region}:[0-9]{{12}}:certificate/.+", to.certificate):
        raise UsageError(f"--certificate {to.certificate!r} is not the ARN of a certificate in {to.region}.")


def _notes(before: Settings) -> list[str]:
    notes = ["images: push gateway, engine and controllers to the new stack's repositories (`make image-push`)"]
    if before.data.weights.access_logs_bucket:
        notes.append("data.weights.accessLogsBucket was of the old region, and is null now")
    if before.edge.hosted_zone_id:
        notes.append("edge.hostedZoneId is null until `penstock move name` has pointed the name there")
    if before.data.copy_region:
        notes.append(f"data.copyRegion is {before.aws.region} now: copies go back to where the data comes from")
    if before.node_groups.reservations:
        notes.append("nodeGroups.reservations are of the old region: name others, or none")
    return notes
