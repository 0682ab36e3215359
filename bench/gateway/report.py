"""The page docs/performance.md, from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.gateway import formulas
from bench.gateway.peers import OWN, REFERENCE


@dataclass
class Measured:
    """One gateway's figures over all rounds. `cpu`: mode to microseconds of each round; `ratio`: the share of the
    reference's capacity in the same slot. `added_*`: milliseconds above a direct request, [(p50, p99), ...]."""

    name: str
    title: str
    version: str
    does: str
    cpu: dict[str, list[float]] = field(default_factory=dict)
    event: list[float] = field(default_factory=list)
    ratio: dict[str, list[float]] = field(default_factory=dict)
    cores: dict[str, list[float]] = field(default_factory=dict)
    added: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    memory_mb: list[float] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Runs that are no measurement, with the reason."""


@dataclass(frozen=True)
class StreamsHeld:
    title: str
    wanted: int
    streams: int
    memory_mb: float
    kilobytes_each: float
    cores_used: float


@dataclass(frozen=True)
class Facts:
    """What is true of the whole run."""

    date: str
    machine: str
    python: str
    commit: str
    rounds: int
    seconds: float
    real_time: bool
    own_core: bool
    load_average: float
    quick: bool
    on: str = ""
    off: str = ""
    """What needs another server, as seen in those servers after the run."""
    optimised: bool = True
    """Whether Python was built with profile-guided optimisation."""


@dataclass(frozen=True)
class Aim:
    text: str
    wanted: float
    found: float | None
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """None where nothing was measured."""
        if self.found is None:
            return None
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted


def aims(measured: Sequence[Measured]) -> list[Aim]:
    """What the gateway was to reach. Ratios are those of capacity in the same slot: 1.2 means 1.2 times the other's."""
    own = next((one for one in measured if one.name == OWN), None)
    by_name = {one.name: one for one in measured}

    def times(other: str) -> float | None:
        if own is None or other not in by_name:
            return None
        # By their shares of nginx in their own slots, so that a slot in which the machine was busy hits both sides.
        mine, theirs = _median(own.ratio, "json"), _median(by_name[other].ratio, "json")
        return mine / theirs if mine and theirs else None

    def added(mode: str, at: int) -> float | None:
        return formulas.middle([pair[at] for pair in own.added.get(mode, [])]) if own else None

    cpu_ratio = _median(own.ratio, "json") if own else None
    event_ratio = _median(own.ratio, "sse") if own else None
    return [
        Aim("JSON capacity against nginx", 0.40, cpu_ratio, True),
        Aim("JSON capacity against Envoy", 1.2, times("envoy"), True),
        Aim("JSON capacity against the production-stack router", 15, times("production-stack"), True),
        Aim("JSON capacity against LiteLLM", 150, times("litellm"), True),
        Aim("CPU of an SSE event", 14, formulas.middle(own.event) if own else None, False, "us"),
        Aim("SSE capacity against nginx", 0.8, event_ratio, True),
        Aim("added p50, JSON, low load", 0.55, added("json-low", 0), False, "ms"),
        Aim("added p99, JSON, low load", 1.2, added("json-low", 1), False, "ms"),
        Aim("added p50, first token, low load", 0.55, added("sse-low", 0), False, "ms"),
        Aim("added p99, first token, low load", 1.2, added("sse-low", 1), False, "ms"),
        Aim("memory of a process (PSS)", 70, formulas.middle(own.memory_mb) if own else None, False, "MB"),
        Aim("start to first answer", 0.5, formulas.middle(own.start_seconds) if own else None, False, "s"),
    ]


def _median(of: dict[str, list[float]], mode: str) -> float | None:
    return formulas.middle(of.get(mode, []))


def _number(value: float | None, digits: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.{digits}f}"


def _pair(pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return "-"
    low, high = (formulas.middle([pair[at] for pair in pairs]) for at in (0, 1))
    return f"{_number(low, 2)} / {_number(high, 2)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def aims_table(found: Sequence[Aim]) -> str:
    words = {True: "met", False: "**missed**", None: "not measured"}
    rows = [
        [
            aim.text,
            f"{'at least' if aim.at_least else 'at most'} {aim.wanted:g} {aim.unit}".strip(),
            f"{_number(aim.found, 2)} {aim.unit}".strip(),
            words[aim.met],
        ]
        for aim in found
    ]
    return _table(["aim", "wanted", "measured", ""], rows)


def capacity_table(measured: Sequence[Measured]) -> str:
    rows = []
    for one in measured:
        json_us = _median(one.cpu, "json")
        row = [one.title, _number(formulas.per_core(json_us) if json_us else None, 0), _number(json_us)]
        row += [
            _number(formulas.middle(one.event)),
            _number(_median(one.cpu, "69KB")),
            _number(_median(one.cpu, "480KB")),
        ]
        shares = [_median(one.ratio, mode) for mode in ("json", "sse", "69KB", "480KB")]
        if one.name == REFERENCE:
            shares = [1.0] * 4
        row += [_number(share, 3 if share is not None and share < 0.1 else 2) for share in shares]
        rows.append(row)
    head = ["gateway", "JSON/s a core", "JSON us", "SSE event us", "69 KB us", "480 KB us"]
    return _table([*head, "of nginx: JSON", "SSE", "69 KB", "480 KB"], rows)


def latency_table(measured: Sequence[Measured]) -> str:
    rows = [
        [
            one.title,
            _pair(one.added.get("json-low", [])),
            _pair(one.added.get("sse-low", [])),
            _number(formulas.middle(one.memory_mb), 0),
            _number(formulas.middle(one.start_seconds), 2),
        ]
        for one in measured
    ]
    return _table(["gateway", "JSON +ms p50 / p99", "first token +ms p50 / p99", "MB (PSS)", "start s"], rows)


def held_table(held: Sequence[StreamsHeld]) -> str:
    rows = [
        [
            one.title,
            f"{one.streams:,} of {one.wanted:,}",
            _number(one.memory_mb, 0),
            _number(one.kilobytes_each),
            _number(one.cores_used * 100, 1),
        ]
        for one in held
    ]
    return _table(["gateway", "open streams", "MB (PSS)", "KB a stream", "% of a core"], rows)


def scaling_table(scaling: dict[int, float]) -> str:
    """`scaling`: processes to CPU microseconds of a JSON request."""
    one = scaling.get(1)
    rows = [[str(count), _number(us), _number(one / us if one else None, 2)] for count, us in sorted(scaling.items())]
    return _table(["processes", "JSON us", "capacity a process, against one"], rows)


def growth_table(seen: Sequence[tuple[int, float]]) -> str:
    """`seen`: requests so far and the own gateway's MB, in their order."""
    if not seen:
        return "Not measured.\n"
    picked = [seen[round(at * (len(seen) - 1) / 9)] for at in range(10)] if len(seen) > 10 else list(seen)
    table = _table(["requests so far", "MB (PSS)"], [[f"{done:,}", _number(memory)] for done, memory in picked])
    grown = formulas.growth(seen)
    if grown is None:
        return table
    return table + (
        f"\nGrown by {grown:.2f} MB from the highest of the first half (after the first fifth) to that of the second; "
        f"{formulas.MOST_GROWTH_MB:g} MB are allowed.\n"
    )


def noise_line(measured: Sequence[Measured]) -> str:
    """How far rounds lie apart, of the reference and of the own gateway."""
    parts = []
    for one in measured:
        spread = formulas.noise(one.cpu.get("json", []))
        if one.name in {OWN, REFERENCE} and spread is not None:
            parts.append(f"{one.title} ±{spread * 100:.0f} %")
    return (
        f"Noise of CPU per JSON request between rounds: {', '.join(parts)}."
        if parts
        else "One round: noise is not known."
    )


def page(
    facts: Facts,
    measured: Sequence[Measured],
    missing: dict[str, str],
    held: Sequence[StreamsHeld],
    scaling: dict[int, float],
    grown: Sequence[tuple[int, float]] = (),
) -> str:
    found = aims(measured)
    missed = [aim for aim in found if aim.met is False]
    unknown = [aim for aim in found if aim.met is None]
    closing = "All aims that were measured are met." if not missed else (
        f"{len(missed)} of {len(found)} aims are missed: " + "; ".join(aim.text for aim in missed) + "."
    )  # fmt: skip
    if unknown:
        closing += f" Not measured: {'; '.join(aim.text for aim in unknown)}."
    versions = [[one.title, one.version, one.does] for one in measured]
    lost = "".join(f"- {name}: missing, {reason}\n" for name, reason in sorted(missing.items()))
    faults = "".join(f"- {one.title}: {fault}\n" for one in measured for fault in one.faults)
    quick = " It was a quick run (`BENCH=quick`): take the figures as a hint only." if facts.quick else ""
    return f"""# Performance of the gateway

Written by `make bench`; do not edit. {facts.date}, {facts.machine}, Python {facts.python}, commit {facts.commit}.
Medians of {facts.rounds} round{"s" if facts.rounds != 1 else ""} (slow gateways: one), {
        facts.seconds / 60:.0f} minutes in all. Load
average of the machine at the end: {facts.load_average:.1f}.{quick}
{noise_line(measured)}

## Aims

{aims_table(found)}
{closing}

## Capacity

CPU of the gateway in microseconds; a core's capacity is its inverse. The last four columns are shares of nginx's
capacity, taken in the same slot.

{capacity_table(measured)}
## Latency, memory, start

Milliseconds added to a direct request at low load. Start is from the command to the first answered request.

{latency_table(measured)}
## Idle streams

One process holds streams that say nothing; each takes two open files, so the limit of open files bounds them.

{held_table(held)}
## Memory over many requests

One process, JSON requests and every fifth window streams, at full load. `python -m bench.gateway.memory` goes on for
longer and fails where memory grows.

{growth_table(grown)}
## Processes

{scaling_table(scaling)}
Processes share nothing but the machine. Each has a generator of its own; with two cores the second process shares its
core with the load, so CPU per request says more here than requests per second.

## Gateways

{_table(["gateway", "version", "does for a request"], versions)}
{lost or "None is missing." + chr(10)}{("Runs that do not count:" + chr(10) + chr(10) + faults) if faults else ""}
## Method

- The gateway runs alone on one core with one worker; load generator and upstream (C, `bench/gateway`) run on the other{
        "" if facts.own_core else " (**not here: this machine has one core: the load ran beside the gateway**)"
    }.
- CPU is the kernel's scheduler time (`/proc/PID/task/TID/schedstat`) of all threads of the gateway's process tree over
  the generator's window, divided by the requests or events of that window. It holds when neighbours steal the core;
  requests per second do not.
- Gateways that are not being measured are stopped (SIGSTOP). In a slot (one mode, one round) nginx runs before and
  after the others; a share is nginx's CPU per request, the mean of its nearest runs, over the gateway's.
- Modes: 820 B JSON in a closed loop on 64 connections; SSE of 32 chunks at 5 ms on 256; prompts of 69 KB on 16 and
  480 KB on 8. Slow gateways (production-stack, LiteLLM) get 4 to 8 connections, or streams
  enough to fill their core. Low load: 60 JSON requests and 30
  streams a second (slow: 10 and 3) in an open loop, counted from the scheduled time. All
  {
        "with gateway, load and Redis before ordinary processes (SCHED_FIFO)"
        if facts.real_time
        else "without real-time scheduling"
    }.
- nginx and HAProxy are the system's, else Debian's packages, unpacked into the user's cache folder (`penstock/bench`);
  Envoy is in Penstock's environment; LiteLLM and the routers get environments of their own in the cache folder. The
  production-stack router is on no package index: `PENSTOCK_BENCH_PRODUCTION_STACK` names a checkout of its source.
  `python -m bench.gateway --only NAME ...` runs some of them; `BENCH=quick make bench` takes one short round.
- A run with one failed, cut or incomplete answer does not count.
- On in Penstock besides what the table says: {facts.on or "nothing"}. Off: {facts.off or "nothing of these"}, and
  guards on the answer.
- Penstock's Python was built {"with" if facts.optimised else "**without**"} profile-guided optimisation{
        ", as is the image's" if facts.optimised else " (a build with it takes a tenth to a quarter less)"
    }. Where the environment's was not, the distribution's of the same version is taken, with the same packages.
"""
