"""`penstock status` as text. Pure."""

from __future__ import annotations

from components.shares import COLOURS
from infra.ops.status import Status
from infra.ops.tables import table


def render(status: Status) -> str:
    blocks = [_head(status), _release(status), _pods(status), _engines(status), _totals(status), _missing(status)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _head(status: Status) -> list[str]:
    facts = [("stack", f"{status.stack} ({status.state}{', ' + status.region if status.region else ''})")]
    facts += [("models", ", ".join(status.models) or "none"), *status.urls.items()]
    width = max(len(name) for name, _ in facts)
    return [f"{name:{width}}  {value}" for name, value in facts]


def _release(status: Status) -> list[str]:
    rows = []
    for colour in COLOURS:
        pods = [pod for pod in status.pods if pod.colour == colour]
        rows.append(
            [
                colour,
                _share(status.weights_live.of(colour) if status.weights_live else None),
                _share(status.weights_file.of(colour) if status.weights_file else None),
                f"{status.targets[colour]} healthy" if colour in status.targets else "unknown",
                _ready([pod.ready for pod in pods if pod.app == "gateway"]),
                _ready([pod.ready for pod in pods if pod.app == "engine"]),
            ]
        )
    lines = table(["colour", "live", "stack file", "targets", "gateways", "engines"], rows, indent="")
    if status.weights_differ:
        lines.append(
            f"The stack file says {status.weights_file}, the load balancer says {status.weights_live}: "
            "see `penstock release status`."
        )
    return lines


def _pods(status: Status) -> list[str]:
    zones = sorted({pod.zone or "(not placed)" for pod in status.pods})
    kinds = sorted({(pod.app, pod.model, pod.colour) for pod in status.pods})
    rows = []
    for app, model, colour in kinds:
        of_kind = [pod for pod in status.pods if (pod.app, pod.model, pod.colour) == (app, model, colour)]
        by_zone = [_ready([pod.ready for pod in of_kind if (pod.zone or "(not placed)") == zone]) for zone in zones]
        rows.append([" ".join(part for part in (app, model, colour) if part), *by_zone])
    lines = table(["pods ready/total", *zones], rows, indent="") if rows else []
    for pod in status.pods:
        if not pod.ready:
            lines.append(f"not ready: {pod.name} ({', '.join(part for part in (pod.phase, pod.reason) if part)})")
    return lines


def _engines(status: Status) -> list[str]:
    rows = [
        [name, figures.running, figures.waiting, f"{figures.kv_cache_usage:.1%}"]
        for name, figures in sorted(status.engines.items())
    ]
    return table(["engine", "running", "waiting", "KV cache"], rows, indent="") if rows else []


def _totals(status: Status) -> list[str]:
    if not status.gateways:
        return []
    total = status.total
    failed = f", {total.failed} failed" if total.failed else ""
    tokens = f"{total.input_tokens} input and {total.output_tokens} output tokens"
    return [f"since the gateways started: {total.requests} requests{failed}, {tokens}, {total.cost_usd:.4f} USD"]


def _missing(status: Status) -> list[str]:
    return [f"could not be had: {part}: {reason}" for part, reason in sorted(status.missing.items())]


def _share(weight: int | None) -> str:
    return "unknown" if weight is None else f"{weight} %"


def _ready(ready: list[bool]) -> str:
    return f"{sum(ready)}/{len(ready)}" if ready else "-"
