"""What a check found, and how the whole ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any


class Status(StrEnum):
    FITS = "fits"
    NOTE = "note"
    """Fits; a person should know something, all the same."""
    LACKS = "lacks"
    UNKNOWN = "cannot tell"


class Verdict(IntEnum):
    """The command's exit code: public API, documented in its help."""

    FITS = 0
    LACKS = 1
    CANNOT_TELL = 2


@dataclass(frozen=True)
class Finding:
    check: str
    asked: str
    there: str
    status: Status
    request: str = ""
    """What to request or to change; empty where there is nothing to do."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"status": self.status.value}


def verdict(findings: Iterable[Finding]) -> Verdict:
    """What is known to lack wins over what is not known."""
    found = {finding.status for finding in findings}
    if Status.LACKS in found:
        return Verdict.LACKS
    return Verdict.CANNOT_TELL if Status.UNKNOWN in found or not found else Verdict.FITS
