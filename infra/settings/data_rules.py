"""Rules about where data rests, who may read the cache, and when money is spoken of."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings.errors import Problem
from infra.settings.model import Shape


def data_stays_where_it_may(shape: Shape) -> Iterator[Problem]:
    allowed = shape.aws.allowed_regions
    if shape.aws.region not in allowed:
        yield Problem("aws.region", f"{shape.aws.region} is not in aws.allowedRegions; allowed: {', '.join(allowed)}")


def copies_stay_where_they_may(shape: Shape) -> Iterator[Problem]:
    region, allowed = shape.data.copy_region, [each for each in shape.aws.allowed_regions if each != shape.aws.region]
    if region is None:
        return
    if region not in allowed:
        others = ", ".join(allowed) or "null, as aws.allowedRegions names no other region"
        yield Problem("data.copyRegion", f"{region} is not another region of aws.allowedRegions; allowed: {others}")
    if shape.data.database.backup_days == 0:
        yield Problem("data.copyRegion", f"{region} needs data.database.backupDays of 1 or more; allowed: null")


def a_major_upgrade_has_a_way_back(shape: Shape) -> Iterator[Problem]:
    """RDS takes a snapshot before a major upgrade only where it keeps backups (RDS user guide, PostgreSQL upgrades)."""
    database = shape.data.database
    if database.allow_major_upgrade and database.backup_days == 0:
        yield Problem(
            "data.database.allowMajorUpgrade",
            "true needs data.database.backupDays of 1 or more, for else RDS takes no snapshot first; allowed: false",
        )


def a_token_travels_encrypted(shape: Shape) -> Iterator[Problem]:
    if shape.data.cache.auth and not shape.data.cache.tls:
        yield Problem("data.cache.auth", "true needs data.cache.tls: true, as AWS does; allowed: false")


def alerts_rise(shape: Shape) -> Iterator[Problem]:
    for key, percents in (
        ("alertPercents", shape.budget.alert_percents),
        ("forecastPercents", shape.budget.forecast_percents),
    ):
        if list(percents) != sorted(set(percents)):
            yield Problem(f"budget.{key}", f"must rise, each once: {', '.join(map(str, sorted(set(percents))))}")


def parts_fit_the_whole(shape: Shape) -> Iterator[Problem]:
    whole = shape.budget.monthly_usd
    parts = {"partUsd.system": shape.budget.part_usd.system, "partUsd.gpu": shape.budget.part_usd.gpu}
    for name, usd in {**parts, "colourUsd": shape.budget.colour_usd or 0}.items():
        if usd > whole:
            yield Problem(f"budget.{name}", f"{usd} is too large; allowed: budget.monthlyUsd, {whole}, or less, in USD")


def actions_rise(shape: Shape) -> Iterator[Problem]:
    thresholds = shape.budget.actions.thresholds
    given = [one for one in thresholds.model_dump().values() if one is not None]
    if given != sorted(set(given)):
        yield Problem(
            "budget.actions.thresholds", "must rise from warn to capped, each once; allowed: null to leave out"
        )


def actions_name_what_there_is(shape: Shape) -> Iterator[Problem]:
    actions = shape.budget.actions
    every = (*shape.models, *shape.outside_models)
    models = {model.name for model in every}
    models |= {adapter.name for model in shape.models for adapter in model.lora_adapters}
    embedders = {model.name for model in every if model.makes_embeddings}
    names = models | {alias for model in every for alias in model.aliases}
    names |= {route.name for route in shape.routing.routes}
    for name, to in actions.cheaper_models.items():
        if name not in names:
            yield Problem(f"budget.actions.cheaperModels.{name}", f"is not known; allowed: {', '.join(sorted(names))}")
        if to not in models - embedders or to == name:
            others = ", ".join(sorted(models - embedders - {name}))
            yield Problem(f"budget.actions.cheaperModels.{name}", f"{to} is not another model; allowed: {others}")
    both = sorted(set(actions.protected_tenants) & set(actions.low_priority_tenants or ()))
    if both:
        yield Problem(
            "budget.actions.lowPriorityTenants", f"{', '.join(both)}: protected as well; allowed: one of both"
        )


DATA_RULES = (
    data_stays_where_it_may,
    copies_stay_where_they_may,
    a_major_upgrade_has_a_way_back,
    a_token_travels_encrypted,
    alerts_rise,
    parts_fit_the_whole,
    actions_rise,
    actions_name_what_there_is,
)
