"""How a budget's state is printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.ops.errors import UsageError
from infra.ops.tables import table

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    """`90s`, `30m`, `12h` or `7d`. Raises UsageError."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if found is None:
        raise UsageError(f"--for {text}: that is no span of time.", "Write 30m, 12h or 7d.")
    return int(found[1]) * UNITS[found[2]]


def text(state: Mapping[str, Any]) -> str:
    """The level with its reason, what it does, and a row for each source."""
    lines = [f"{state['level']} since {state['since']}: {state['reason']}"]
    if state["override"] is not None:
        lines.append(f"until {state['override']['until']}; without the override: {state['automatic_level']}")
    acts = state["acts"]
    lines += [f"{name} is answered by {to}" for name, to in acts["moved_models"].items()]
    if acts["batch_stopped"]:
        lines.append("requests of batch keys are refused")
    if acts["capped"]:
        lines.append(
            "tenants of low priority: " + ", ".join(f"{name}={value}" for name, value in acts["capped"].items())
        )
    if acts["protected_tenants"] and state["level"] not in ("normal", "warn"):
        lines.append(f"not for {', '.join(acts['protected_tenants'])}")
    rows = [
        (one["source"], "-" if one["percent"] is None else f"{one['percent']:g} %", "yes" if one["holds"] else "no",
         one["at"], one["detail"])
        for one in state["signals"]
    ]  # fmt: skip
    return "\n".join(
        [
            *lines,
            "",
            *(table(("source", "spent", "holds", "said", "detail"), rows, indent="") if rows else ["no signals"]),
        ]
    )
