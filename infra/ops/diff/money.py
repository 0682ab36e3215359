"""A stack file's month and its GPUs, to be compared between two revisions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.settings import Settings, SettingsError, capacity

ASKING_SECONDS = 30.0


@dataclass(frozen=True)
class Figures:
    """Of one stack file."""

    month_usd: float
    parts: dict[str, float]
    """US dollars a month by part of the platform."""
    unpriced: tuple[str, ...]
    gpus: int | None
    """That the file's engines ask for; None, as the next two, where another revision's settings were not read."""
    release_gpus: int | None
    """While both colours run."""
    room_gpus: int | None
    """Of all nodes that may exist."""
    nodes: dict[str, int]
    """Desired nodes by group with GPUs."""
    budget_usd: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(stack_file: Path) -> Figures:
    """Raises SettingsError for a file that does not fit this revision's settings."""
    from infra.ops.cost.estimate import estimate
    from infra.ops.cost.prices import cache_file, load
    from infra.parts import key_count, network_endpoints

    settings = Settings.from_stack_file(stack_file)
    region = settings.aws.region
    table, _ = load(region, cache_file(region))
    copies = settings.data.copy_region
    found = estimate(
        settings,
        table,
        copies=load(copies, cache_file(copies))[0] if copies else None,
        endpoints=len(network_endpoints(settings)),
        keys=key_count(settings),
    )
    now, release, _ = capacity.situations(settings)
    return Figures(
        round(found.month, 2),
        {part: round(usd, 2) for part, usd in found.by_part().items()},
        tuple(found.unpriced),
        now.gpus,
        release.gpus,
        now.room,
        {pool.name: pool.desired for pool in capacity.gpu_pools(settings)},
        found.budget_usd,
    )


def figures_of_base(sources: Path, stack: str) -> tuple[Figures | None, str]:
    """Of another revision's stack file, and a sentence where something of it is missing.

    Where its settings are others, its own `penstock cost` tells the month.
    """
    file = sources / f"Pulumi.{stack}.yaml"
    try:
        return figures(file), ""
    except (SettingsError, ValueError):
        pass
    told = _asked(sources, stack)
    if told is None:
        return None, f"The base's {file.name} does not fit these settings, so its cost and GPUs are not known."
    nothing = Figures(
        told["month_usd"], told["parts"], tuple(told["unpriced"]), None, None, None, {}, told["budget_usd"]
    )
    return (
        nothing,
        f"The base's {file.name} has other settings: its cost is as its own revision says, its GPUs are not known.",
    )


def _asked(sources: Path, stack: str) -> dict[str, Any] | None:
    """What `penstock cost --json` of another revision says; None where it does not answer."""
    command = [sys.executable, "-m", "infra.ops.cli", "cost", "--stack", stack, "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    try:
        done = subprocess.run(
            command, cwd=sources, env={**environment, "PYTHONPATH": str(sources)}, capture_output=True, text=True,
            timeout=ASKING_SECONDS, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout)
        return told if {"month_usd", "parts", "unpriced", "budget_usd"} <= told.keys() else None
    except (subprocess.TimeoutExpired, ValueError, AttributeError):
        return None
