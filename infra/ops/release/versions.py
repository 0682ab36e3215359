"""What a release asks the registry: may this colour's versions carry traffic, and which are in production now.

A colour without `weights://` of the registry asks nothing of S3.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.ops.errors import PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.ops.registry import pointers, records
from infra.ops.registry.store import Bucket, caller, weights_bucket
from infra.ops.release.journal import Journal
from infra.ops.release.machine import other
from infra.ops.stacks import StackAccess
from infra.settings import Settings

UNVALIDATED = "unvalidated"
"""The journal's line on a release that was let through without a good record."""


def bucket_of(access: StackAccess, settings: Settings, colours: Sequence[str]) -> Bucket | None:
    """None where nothing of these colours lies in the bucket."""
    carried = [each for colour in colours for each in records.carried_by(settings, colour)]
    return weights_bucket(access) if any(each.in_bucket for each in carried) else None


def check_present(access: StackAccess, settings: Settings, colour: str) -> None:
    """Before a colour comes up: its engines would wait for weights that are not there. Raises RefusedError."""
    versions = [each for each in records.carried_by(settings, colour) if each.version]
    if versions and (found := records.missing(weights_bucket(access), settings, [colour])):
        raise RefusedError(f"{'; '.join(found)}.", "Add it with `penstock model add`.")


def check_validated(
    access: StackAccess, settings: Settings, colours: Sequence[str], journal: Journal, override: str
) -> None:
    """Before a colour gets traffic. `override`: the reason of who lets it through all the same, which is written to
    the journal and to the history of the models. Raises RefusedError."""
    bucket = bucket_of(access, settings, colours) if settings.release.validation.required else None
    if bucket is None:
        return
    found = [reason for each in colours for reason in records.objections(bucket, settings, access.checkout, each)]
    if not found:
        return
    if not override:
        raise RefusedError(
            f"{'; '.join(found)}.",
            "Evaluate it with `penstock model validate`, or let it through with --unvalidated REASON.",
        )
    by = caller(access)
    journal.append(UNVALIDATED, colours=list(colours), reason=override, by=by, objections=found)
    versions = {each.version for colour in colours for each in records.carried_by(settings, colour) if each.version}
    for model, digest in sorted(versions):
        event = {"event": "let through", "digest": digest, "by": by, "why": override, "objections": found}
        pointers.note(bucket, model, event)


def in_production(access: StackAccess, settings: Settings, colour: str, why: str, progress: Progress) -> None:
    """Says in the registry what has all the traffic now. The traffic is there whether or not this gets through."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        ahead = {each.name: each.version for each in records.carried_by(settings, colour)}
        versions = [version for version in ahead.values() if version]
        named = {each.name for each in records.carried_by(settings, other(colour)) if each.version}
        without = [name for name in sorted(named) if ahead[name] is None]
        if not versions and not without:
            return
        bucket, by = weights_bucket(access), caller(access)
        for model, digest in versions:
            pointers.move(bucket, model, pointers.PRODUCTION, digest, by, why)
        for model in without:
            pointers.clear(bucket, model, pointers.PRODUCTION, by, why)
    except (PenstockError, BotoCoreError, ClientError) as error:
        progress.say(f"The registry does not know yet that {colour} is in production: {error}")
