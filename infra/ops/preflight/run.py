"""All checks of a stack, side by side, and their table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from infra.ops.preflight import images, places, quotas, rights
from infra.ops.preflight.asking import Account
from infra.ops.preflight.findings import Finding, Status, Verdict, verdict
from infra.ops.tables import table

WORKERS = 6

Check = Callable[[Account], Iterable[Finding]]


def preflight(account: Account, reservations: Sequence[str] = ()) -> list[Finding]:
    """Every finding, in the order of the table. Each call has its client's time-outs, so this ends.

    A foreign account ends it at once: what is there in it says nothing about the stack.
    """
    identity = list(rights.check_identity(account))
    if any(finding.status is not Status.FITS for finding in identity):
        return identity
    checks: tuple[Check, ...] = (
        rights.check_region,
        places.check_zones,
        quotas.check_vcpus,
        places.check_offerings,
        places.check_spot,
        partial(places.check_reservations, ids=reservations, now=datetime.now(UTC)),
        quotas.check_counts,
        places.check_version,
        images.check_node_image,
        images.check_images,
        rights.check_permissions,
    )
    with ThreadPoolExecutor(WORKERS) as pool:
        return [
            *identity,
            *(finding for found in pool.map(lambda check: list(check(account)), checks) for finding in found),
        ]


def render(findings: Sequence[Finding]) -> str:
    rows = [(finding.status.value, finding.check, finding.asked, finding.there) for finding in findings]
    lines = table(("", "check", "asked", "there"), rows)
    if todo := [finding for finding in findings if finding.request]:
        lines += ["", "  To request or to change:"]
        lines += [f"    {finding.check}: {finding.request}" for finding in todo]
    return "\n".join([*lines, "", f"  {SENTENCES[verdict(findings)]}"])


SENTENCES = {
    Verdict.FITS: "The stack fits.",
    Verdict.LACKS: "The account lacks something that the stack needs.",
    Verdict.CANNOT_TELL: "Nothing is known to be lacking, but not all could be asked.",
}
