"""The drills and what each must hold, as data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """`figure` of a result must be known, and at most `most`."""

    figure: str
    most: float
    words: str
    timed: bool = False
    """A matter of speed, which a slow machine misses; any other aim holds at any speed."""

    def missed(self, figures: Mapping[str, float | None]) -> bool:
        value = figures.get(self.figure)
        return value is None or value > self.most


NO_FAILED = Aim("failed", 0, "no failed request")
PROMISED_SECONDS = 15.0
"""By then a load balancer has left out targets that are gone: two failed checks, 5 s apart, and their time-outs."""
NONE_LATE = Aim("failed_late", 0, f"no failed request later than {PROMISED_SECONDS:g} s after the fault")
NO_CUT = Aim("cut", 0, "no cut stream")
NONE_LOST = Aim("unresumed", 0, "every stream that lost its engine resumed")

TOLD = Aim("untold", 0, "what degrades is told in metrics")


def stall(seconds: float) -> Aim:
    return Aim("worst_stall", seconds, f"worst stall under {seconds:g} s", timed=True)


TELLING_SECONDS = 30.0


@dataclass(frozen=True)
class Drill:
    """`hold_seconds`: how long the fault stays; 0 where it is a moment, or its work says when it is over."""

    name: str
    about: str
    aims: tuple[Aim, ...]
    hold_seconds: float = 0.0
    watched: tuple[str, ...] = ()
    """Metrics that tell what degraded, shown where they move."""
    telling: tuple[str, ...] = ()
    """Those of them that must move. The fault stays until they have, for TELLING_SECONDS more at most."""


LIMITS = ("penstock_limits_local", "penstock_limit_backlog", "penstock_cache_up")
LEDGER = (
    "penstock_ledger_up",
    "penstock_ledger_spool_bytes",
    "penstock_ledger_lag_seconds",
    "penstock_ledger_rows_lost",
)
KEYS = ("penstock_keys_database_up", "penstock_keys_age_seconds")
ENGINES = ("penstock_engines_resting", "penstock_engine_hangs", "penstock_retries", "penstock_zone_spills")

CATALOGUE: Mapping[str, Drill] = {
    drill.name: drill
    for drill in (
        Drill(
            "zone-loss",
            "All nodes of a zone lose their power, gateways and engines with them, and come back.",
            (NO_FAILED, NONE_LATE, NONE_LOST, stall(2.0)),
            20.0,
            ENGINES,
        ),
        Drill(
            "spot-reclaim",
            "A spot node gets its notice: tainted, drained within two minutes, deleted, and replaced.",
            (NO_FAILED, NO_CUT, Aim("stalled_200ms", 0, "no stall over 200 ms", timed=True)),
            0.0,
            ENGINES,
        ),
        Drill(
            "engine-crash",
            "An engine's process is killed in the middle of its streams.",
            (NO_FAILED, NO_CUT, NONE_LOST, stall(2.0)),
            0.0,
            ENGINES,
        ),
        Drill(
            "engine-hang",
            "An engine's process stops answering, with all its connections open.",
            (NO_FAILED, NO_CUT, NONE_LOST, stall(5.0)),
            8.0,
            ENGINES,
        ),
        Drill(
            "slow-engine",
            "An engine gets a tenth of its time.",
            (NO_FAILED, NO_CUT, stall(1.0)),
            10.0,
            ENGINES,
        ),
        Drill(
            "cache-primary",
            "The cache's server is killed; an empty one takes its address.",
            (NO_FAILED, NO_CUT, stall(0.5)),
            0.0,
            LIMITS,
        ),
        Drill(
            "database-failover",
            "The database restarts, as in a failover to its standby.",
            (NO_FAILED, NO_CUT, stall(0.5), Aim("rows_lost", 0, "no ledger row lost")),
            0.0,
            LEDGER + KEYS,
        ),
        Drill(
            "cache-down",
            "The cache takes connections and answers nothing.",
            (NO_FAILED, NO_CUT, stall(0.5), TOLD),
            10.0,
            LIMITS,
            ("penstock_cache_up",),
        ),
        Drill(
            "database-down",
            "The database takes connections and answers nothing.",
            (NO_FAILED, NO_CUT, stall(0.5), Aim("rows_lost", 0, "no ledger row lost"), TOLD),
            10.0,
            LEDGER + KEYS,
            ("penstock_keys_database_up", "penstock_ledger_spool_bytes"),
        ),
        Drill(
            "key-disabled",
            "An API key is revoked while it is in use.",
            (NO_FAILED, NO_CUT, Aim("refused_after_seconds", 1.0, "refused everywhere within 1 s", timed=True)),
            0.0,
            KEYS,
        ),
        Drill(
            "balancer-restart",
            "The load balancer's process is killed with all its connections.",
            (Aim("outage_seconds", 5.0, "answers again within 5 s", timed=True), stall(2.0)),
        ),
        Drill(
            "bad-release",
            "A release whose engines fail is promoted.",
            (NO_CUT, Aim("weight_back_seconds", 5.0, "weight back within 5 s of the breach", timed=True)),
        ),
        Drill(
            "supervisor-crash",
            "The platform's supervisor is killed: nothing may stay behind, and a new platform comes up.",
            (
                Aim("left_behind", 0, "no process left behind"),
                Aim("full_capacity_seconds", 180.0, "a new platform within 180 s", timed=True),
            ),
        ),
    )
}
"""In the order of `drill all`: the one that ends the platform is the last."""
