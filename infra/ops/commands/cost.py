"""`penstock cost`: a month and a million tokens of a stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import PenstockError, UsageError

if TYPE_CHECKING:
    from infra.ops.cost.estimate import Estimate
    from infra.ops.progress import Progress
    from infra.settings import Settings


@click.command()
@stack_option
@click.option("--refresh", is_flag=True, help="Ask AWS for today's prices of nodes, cache and database first.")
@click.option(
    "--spot-percent",
    type=click.FloatRange(0, 100, min_open=True),
    default=100,
    show_default=True,
    help="What spot costs of the price on demand; 100 is the ceiling.",
)
@click.option(
    "--tokens-per-second",
    "rates",
    multiple=True,
    metavar="MODEL=N",
    help="Output tokens a second of one engine pod, as you measured it; may be given several times.",
)
@click.option(
    "--utilisation",
    type=click.FloatRange(0, 100, min_open=True),
    default=100,
    show_default=True,
    help="Per cent of that rate that an engine has over the day.",
)
@json_option
@pass_context
def cost(
    context: Context,
    stack: str,
    refresh: bool,
    spot_percent: float,
    rates: tuple[str, ...],
    utilisation: float,
    as_json: bool,
) -> None:
    """Estimate a month, and a million output tokens of each model.

    From the stack file and a dated table of list prices with their sources; no credentials are needed.
    What has no price in the table is named and not in the sum. Node groups stand at desiredNodes.
    What the file pays for and hardly uses stands at the end, with what it costs.

    A model's tokens need a throughput: there is none in the table, for it depends on model, GPU and load.
    Measure it (`penstock load`) and give it.

    \b
    JSON: {stack, region, month_usd, budget_usd, over_budget, unpriced, parts, lines, release_usd_per_hour,
           million_tokens, idle, left_out, sources, remarks}.
    """
    from infra.ops.cost.estimate import estimate
    from infra.ops.cost.prices import cache_file, load
    from infra.parts import key_count, network_endpoints
    from infra.settings import Settings

    file = context.stack_file(stack)
    settings = Settings.from_stack_file(file)
    given = _rates(rates, settings)
    cache = cache_file(settings.aws.region)
    remarks = _refreshed(settings, cache, context.progress()) if refresh else []
    table, unread = load(settings.aws.region, cache)
    copies = settings.data.copy_region
    found = estimate(
        settings,
        table,
        endpoints=len(network_endpoints(settings)),
        keys=key_count(settings),
        copies=load(copies, cache_file(copies))[0] if copies else None,
        spot_percent=spot_percent,
        tokens_per_second=given,
        utilisation_percent=utilisation,
    )
    remarks += unread
    if as_json:
        echo_json({"stack": stack, **found.as_dict(), "remarks": remarks})
    else:
        click.echo(_text(found, remarks, spot_percent, utilisation))


def _rates(rates: tuple[str, ...], settings: Settings) -> dict[str, float]:
    """Raises UsageError."""
    found: dict[str, float] = {}
    for text in rates:
        model, _, number = text.rpartition("=")
        try:
            found[model] = float(number)
        except ValueError:
            found[model] = 0
        if model not in settings.model_names or not 0 < found[model] < 1e6:
            raise UsageError(
                f"--tokens-per-second {text!r} is not allowed.",
                f"Write MODEL=N with N above 0; models: {', '.join(settings.model_names)}.",
            )
    return found


def _refreshed(settings: Settings, cache: Path, progress: Progress) -> list[str]:
    """Asks and saves. Returns sentences about what has no price. Raises botocore's errors, PenstockError."""
    import os
    from datetime import UTC, datetime

    from infra.ops import aws
    from infra.ops.cost import refresh
    from infra.ops.cost.prices import save

    groups, data = settings.node_groups, settings.data
    wanted = [groups.system, groups.gpu, groups.gpu_spot]
    if settings.controllers.karpenter.enabled and settings.runs_engines:
        wanted.append(settings.controllers.karpenter)
    kinds = dict.fromkeys(kind for group in wanted for kind in group.instance_types)
    kinds |= dict.fromkeys(each.instance_type for each in groups.reservations if each.kind == "onDemand")
    keys = [*(f"ec2:{kind}" for kind in kinds), f"cache:{data.cache.node_type}", f"rds:{data.database.instance_class}"]
    client = aws.session(os.environ).client("pricing", region_name=refresh.PRICING_REGION)
    with progress.step(f"Asking AWS for {len(keys)} prices"):
        prices, remarks = refresh.ask(client, settings.aws.region, keys)
    if not prices:
        raise PenstockError("AWS gave no price at all.", "; ".join(remarks))
    save(cache, settings.aws.region, f"{datetime.now(UTC):%Y-%m-%d}", prices, "AWS Price List API (GetProducts)")
    return remarks


def _text(found: Estimate, remarks: list[str], spot_percent: float, utilisation: float) -> str:
    from infra.ops.cost.estimate import LEFT_OUT
    from infra.ops.tables import table

    rows = [
        (line.part, line.item, "no price" if line.usd is None else f"{line.usd:10.2f}", line.remark)
        for line in found.lines
    ]
    lines = table(("part", "item", "USD a month", ""), rows)
    least = "at least " if found.unpriced else ""
    lines += ["", f"  {found.region}: {least}{found.month:,.2f} USD a month, spot at {spot_percent:g} % of on demand"]
    limits = {"monthlyUsd": found.budget_usd, **{f"partUsd.{key}": usd for key, usd in found.part_budgets_usd.items()}}
    lines += [
        f"  penstock:budget.{key}, {limits[key]:,}, is below its estimate of {usd:,.2f}"
        for key, usd in found.over_budget.items()
    ]
    if found.unpriced:
        lines.append(f"  Without a price, and not in the sum: {', '.join(found.unpriced)}")
    if found.release_usd_per_hour is not None:
        lines.append(f"  While both colours are up: {found.release_usd_per_hour:,.2f} USD an hour more")
    lines += ["", "  A million output tokens, by the model's share of a GPU node on demand alone:"]
    for tokens in found.tokens:
        if tokens.tokens_per_second is None:
            lines.append(f"    {tokens.model}: no throughput given (--tokens-per-second {tokens.model}=N)")
        elif tokens.usd_per_million is None:
            lines.append(f"    {tokens.model}: the node has no price")
        else:
            lines.append(
                f"    {tokens.model}: {tokens.usd_per_million:.3f} USD at the given {tokens.tokens_per_second:g} "
                f"tokens a second and pod, {utilisation:g} % used; the stack file charges {tokens.sold_at:g}"
            )
    if found.idle:
        lines += ["", "  Hardly used, by the stack file:"]
    for each in found.idle:
        price = "no price" if each.usd is None else f"{each.usd:,.2f} USD a month"
        lines.append(f"    penstock:{each.key}: {each.why} ({price})")
    lines += ["", f"  Left out: {LEFT_OUT}.", *(f"  Prices of {source}" for source in found.sources)]
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)])
