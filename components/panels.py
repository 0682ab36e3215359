"""The one list of panels: what people look at, be it in Grafana or in CloudWatch. Pure.

Prometheus has all that gateways and engines show on `/metrics`; CloudWatch gets a few of these from the collector, and
has what AWS counts itself. A panel says what it asks of each; `infra/ops/grafana.py` and `components/dashboards.py`
write them down in the form of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.engines import ENGINES

WINDOW = "$__rate_interval"
PICKED = 'model=~"$model",colour=~"$colour"'
OF_COLOUR = 'colour=~"$colour"'

Of = Literal["balancer", "target groups", "database", "cache", "dead queue", "cluster"]
"""What a metric of AWS is of; `target groups` and `cache` are one line for each."""


@dataclass(frozen=True)
class Collected:
    """A metric that the collector sends to CloudWatch, one line for each colour."""

    metric: str
    statistic: str
    unit: str
    """Written beside the axis."""
    title: str = ""
    """Where it shows something else than the queries do, such as a mean for a quantile."""


@dataclass(frozen=True)
class Counted:
    """A metric that AWS counts itself."""

    label: str
    namespace: str
    metric: str
    of: Of
    statistic: str = "Sum"


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """Grafana's name of a unit: reqps, s, percentunit, percent, short, currencyUSD, bytes, celsius."""
    queries: tuple[tuple[str, str], ...] = ()
    """PromQL and its legend, with Grafana's `{{label}}`; none: Prometheus does not have it."""
    about: str = ""
    collected: Collected | None = None
    counted: tuple[Counted, ...] = ()
    """CloudWatch's own; `axis` is written beside them."""
    axis: str = ""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "colour", where: str = PICKED) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[{WINDOW}]))"


def quantile(share: float, histogram: str, by: str = "colour", where: str = PICKED) -> str:
    return f"histogram_quantile({share:g}, sum by (le, {by}) (rate({histogram}_bucket{{{where}}}[{WINDOW}])))"


def ratio(part: str, whole: str) -> str:
    return f"({part}) / ({whole})"


def spread(histogram: str) -> tuple[tuple[str, str], ...]:
    return tuple((quantile(share, histogram), f"p{share * 100:g} {{{{colour}}}}") for share in (0.5, 0.95, 0.99))


CLIENTS = Row(
    "What clients see",
    (
        Panel(
            "Requests",
            "reqps",
            ((rate("penstock_requests_total"), "{{colour}}"),),
            collected=Collected(
                "penstock_requests_total", "Sum", "requests a minute", "Requests that gateways answered"
            ),
        ),
        Panel(
            "Errors on our side",
            "percentunit",
            (
                (
                    ratio(
                        rate("penstock_requests_total", where=f'{PICKED},code=~"5.."'), rate("penstock_requests_total")
                    ),
                    "{{colour}}",
                ),
            ),
            "Share of the requests that ended with 5xx.",
        ),
        Panel("Answers by status", "reqps", ((rate("penstock_requests_total", "code"), "{{code}}"),)),
        Panel(
            "Time to the first token",
            "s",
            spread("penstock_ttft_seconds"),
            collected=Collected("penstock_ttft_seconds", "Average", "seconds", "Time to the first token, mean"),
        ),
        Panel("Between tokens", "s", spread("penstock_itl_seconds")),
        Panel("Whole requests", "s", spread("penstock_request_seconds")),
        Panel(
            "Streams",
            "short",
            (
                (rate("penstock_interrupted_streams_total"), "cut {{colour}}"),
                (rate("penstock_resumed_streams_total", "outcome", OF_COLOUR), "{{outcome}}"),
            ),
            "Cut: ended with an error event. The others lost their engine and went on, or why not.",
            Collected("penstock_interrupted_streams_total", "Sum", "a minute", "Streams cut"),
        ),
        Panel("Stall of resumed streams", "s", ((quantile(0.99, "penstock_stream_stall_seconds"), "p99 {{colour}}"),)),
        Panel("Refused", "reqps", ((rate("penstock_refused_requests_total", "reason", OF_COLOUR), "{{reason}}"),)),
    ),
)

WORK = Row(
    "Engines and waiting",
    (
        Panel(
            "Demand", "short", ((f"sum by (model) (penstock_demand{{{PICKED}}})", "{{model}}"),), "What scaling sees."
        ),
        Panel("Waiting at gateways", "short", ((f"sum by (model) (penstock_queue_waiting{{{PICKED}}})", "{{model}}"),)),
        Panel("Time in the waiting room", "s", ((quantile(0.95, "penstock_queue_seconds", "model"), "{{model}}"),)),
        Panel(
            "Engines",
            "short",
            ((f"max by (model, state, colour) (penstock_engines{{{PICKED}}})", "{{model}} {{state}} {{colour}}"),),
        ),
        Panel(
            "At engines, by zone", "short", ((f"sum by (zone) (penstock_engine_in_flight{{{PICKED}}})", "{{zone}}"),)
        ),
        Panel(
            "Moved",
            "reqps",
            (
                (rate("penstock_retries_total", "reason", OF_COLOUR), "retry: {{reason}}"),
                (rate("penstock_fallbacks_total", "reason", OF_COLOUR), "fallback: {{reason}}"),
                (rate("penstock_engine_hangs_total", "model", PICKED), "hung: {{model}}"),
            ),
        ),
    ),
)

MONEY = Row(
    "Tokens and money",
    (
        Panel("Tokens", "short", ((rate("penstock_tokens_total", "direction"), "{{direction}} a second"),)),
        Panel("Cost an hour", "currencyUSD", ((f"3600 * {rate('penstock_cost_usd_total', 'model')}", "{{model}}"),)),
        Panel(
            "Answers from the cache",
            "percentunit",
            (
                (
                    ratio(
                        rate("penstock_cache_requests_total", "outcome", OF_COLOUR),
                        f"scalar(sum(rate(penstock_cache_requests_total{{{OF_COLOUR}}}[{WINDOW}])))",
                    ),
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Refused by limits", "reqps", ((rate("penstock_limit_refusals_total", "limit", OF_COLOUR), "{{limit}}"),)
        ),
        Panel("Ledger: rows not stored yet", "s", ((f"max(penstock_ledger_lag_seconds{{{OF_COLOUR}}})", "oldest"),)),
        Panel(
            "What guards found", "short", ((rate("penstock_guard_findings_total", "guard", OF_COLOUR), "{{guard}}"),)
        ),
    ),
)


def engine_row(kind: str) -> Row:
    """What engines of one kind say of themselves; what they do not tell is left out."""
    names = ENGINES[kind].metrics
    panels = [
        Panel(
            title,
            unit,
            ((f"max by (colour) ({name}{{{OF_COLOUR}}})", "{{colour}}"),),
            collected=Collected(name, "Maximum", axis, _named(title, kind)),
        )
        for title, name, unit, axis in (
            ("Requests that wait in the fullest engine", names.waiting, "short", "requests"),
            ("Requests that run in the busiest engine", names.running, "short", "requests"),
            ("Key-value cache of the fullest engine", names.kv_cache_usage, "percentunit", "share"),
        )
        if name is not None
    ]
    panels += [
        Panel(title, "s", ((quantile(0.95, name, where=OF_COLOUR), "p95 {{colour}}"),))
        for title, name in (("Engine's time to the first token", names.ttft), ("Engine's time a token", names.itl))
        if name is not None
    ]
    if names.preemptions is not None:
        panels.append(
            Panel(
                "Preemptions",
                "short",
                ((rate(names.preemptions, where=OF_COLOUR), "{{colour}}"),),
                collected=Collected(names.preemptions, "Sum", "a minute", _named("Preemptions", kind)),
            )
        )
    return Row(f"Engines of the kind {kind}", tuple(panels))


def _named(title: str, kind: str) -> str:
    """In CloudWatch there are no rows to tell kinds apart."""
    return title if kind == "vllm" else f"{title} ({kind})"


_ELB, _RDS, _CACHE, _NODES = "AWS/ApplicationELB", "AWS/RDS", "AWS/ElastiCache", "ContainerInsights"

EDGE = Row(
    "The load balancer",
    (
        Panel(
            "Requests of each colour", "reqps",
            counted=(Counted("", _ELB, "RequestCount", "target groups"),), axis="requests a minute",
        ),
        Panel(
            "Errors", "short",
            counted=(
                Counted("by gateways", _ELB, "HTTPCode_Target_5XX_Count", "balancer"),
                Counted("no gateway", _ELB, "HTTPCode_ELB_5XX_Count", "balancer"),
            ),
            axis="answers a minute",
        ),
        Panel(
            "Time to the first byte", "s",
            counted=tuple(
                Counted(share, _ELB, "TargetResponseTime", "balancer", share) for share in ("p50", "p90", "p99")
            ),
            axis="seconds",
        ),
        Panel(
            "Healthy gateways", "short",
            counted=(Counted("", _ELB, "HealthyHostCount", "target groups", "Minimum"),), axis="gateways",
        ),
        Panel(
            "Open connections", "short",
            counted=(Counted("open", _ELB, "ActiveConnectionCount", "balancer"),), axis="connections",
        ),
    ),
)  # fmt: skip

STORES = Row(
    "Stores",
    (
        Panel(
            "Database: CPU", "percent",
            counted=(Counted("CPU", _RDS, "CPUUtilization", "database", "Average"),), axis="per cent",
        ),
        Panel(
            "Database: free storage", "bytes",
            counted=(Counted("free", _RDS, "FreeStorageSpace", "database", "Minimum"),), axis="bytes",
        ),
        Panel(
            "Cache: memory", "percent",
            counted=(Counted("", _CACHE, "DatabaseMemoryUsagePercentage", "cache", "Maximum"),), axis="per cent",
        ),
        Panel(
            "Cache: evictions", "short",
            counted=(Counted("", _CACHE, "Evictions", "cache"),), axis="keys a minute",
        ),
        Panel(
            "Events that nobody could read", "short",
            counted=(Counted("dead", "AWS/SQS", "ApproximateNumberOfMessagesVisible", "dead queue", "Maximum"),),
            axis="messages",
        ),
    ),
)  # fmt: skip

GPUS = (
    Panel(
        "GPUs in use", "percent",
        counted=(
            Counted("mean", _NODES, "node_gpu_utilization", "cluster", "Average"),
            Counted("memory", _NODES, "node_gpu_memory_utilization", "cluster", "Average"),
        ),
        axis="per cent",
    ),
    Panel(
        "Hottest GPU", "celsius",
        counted=(Counted("hottest", _NODES, "node_gpu_temperature", "cluster", "Maximum"),), axis="degrees Celsius",
    ),
)  # fmt: skip
COUNT_OF_NODES = Panel(
    "Nodes", "short",
    counted=(
        Counted("all", _NODES, "cluster_node_count", "cluster", "Minimum"),
        Counted("failed", _NODES, "cluster_failed_node_count", "cluster", "Maximum"),
    ),
    axis="nodes",
)  # fmt: skip


def node_row(*, gpus: bool = True) -> Row:
    """What Container Insights counts."""
    return Row("Nodes", (*(GPUS if gpus else ()), COUNT_OF_NODES))


def rows(kinds: Sequence[str] = ("vllm",), *, gpus: bool = True) -> tuple[Row, ...]:
    """Every panel there is."""
    return (CLIENTS, WORK, *(engine_row(kind) for kind in kinds), MONEY, EDGE, STORES, node_row(gpus=gpus))
