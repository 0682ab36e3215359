"""Whether the policy pack looks on while the program runs. Pure.

`pulumi` runs a pack where `--policy-pack` is given, or where its variable is set: every flag has one (3.208 and later).
Penstock sets it wherever it calls `pulumi` itself. A shell that has not set it gets no preview and no update, for the
program refuses.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

VARIABLE = "PULUMI_OPTION_POLICY_PACK"
"""Paths with commas between them, as a line of CSV."""
WITHOUT = "PENSTOCK_WITHOUT_POLICIES"
"""The reason for which no pack looks on, in words."""
PACK = Path(__file__).resolve().parent


def packs(environment: Mapping[str, str]) -> list[str]:
    rows = list(csv.reader([environment.get(VARIABLE, "")]))
    return [each for row in rows for each in row if each]


def held(environment: Mapping[str, str], pack: Path = PACK) -> dict[str, str]:
    """The variable for a process that runs `pulumi`: this pack, behind those of the caller."""
    others = [each for each in packs(environment) if Path(each).resolve() != pack.resolve()]
    return {VARIABLE: ",".join(f'"{each}"' if "," in each else each for each in (*others, str(pack)))}


def reason_against(environment: Mapping[str, str], folders: Sequence[Path], pack: Path = PACK) -> str | None:
    """Why the program must not run; None where it may. Relative paths may start in any of the folders."""
    if environment.get(WITHOUT, "").strip():
        return None
    named = [folder / each for each in packs(environment) for folder in folders]
    if any(path.resolve() == pack.resolve() for path in named):
        return None
    return (
        f"The rules of infra/policy would not look at this. Run `export {VARIABLE}=infra/policy` in the folder of "
        f'Pulumi.yaml, and try again. Where no rule must hold, say why: `export {WITHOUT}="..."`.'
    )
