"""Evaluation records, and whether one lets a version carry traffic."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ops.registry.manifest import READY, Manifest, manifest_key, records_prefix, version_of
from infra.ops.registry.store import Bucket
from infra.settings import Settings
from infra.settings.model import ColourRelease
from infra.settings.served import WEIGHTS_SCHEME, Model

SCHEMA = 1
PASSED = "passed"


@dataclass(frozen=True)
class Carried:
    """What a colour carries under one name, and by what: a record counts for exactly this."""

    name: str
    source: str
    image: str
    quantisation: str
    suite: str
    """The suite's file."""

    @property
    def version(self) -> tuple[str, str] | None:
        return version_of(self.source)

    @property
    def in_bucket(self) -> bool:
        return self.source.startswith(WEIGHTS_SCHEME)


def carried_by(settings: Settings, colour: str) -> list[Carried]:
    """All models and adapters of a colour."""
    release = release_of(settings, colour)
    found = []
    for own in settings.models:
        model = release.carried(own)
        found.append(_carried(settings, release, model, model.name, model.source))
        found += [_carried(settings, release, model, each.name, each.source) for each in model.lora_adapters]
    return found


def release_of(settings: Settings, colour: str) -> ColourRelease:
    return settings.release.green if colour == "green" else settings.release.blue


def _carried(settings: Settings, release: ColourRelease, model: Model, name: str, source: str) -> Carried:
    validation = settings.release.validation
    image = release.engine_images.get(model.name, release.engine_image)
    return Carried(name, source, image, model.quantisation, validation.suites.get(name, validation.suite))


def write(bucket: Bucket, record: Mapping[str, Any]) -> str:
    """Returns the key. A record is written once, and none replaces another."""
    time = str(record["ended_at"]).replace("-", "").replace(":", "").partition("+")[0]
    key = f"{records_prefix(record['model'], record['version'])}{time}-{record['suite']['digest'][:12]}.json"
    bucket.create(key, record)
    return key


def read_all(bucket: Bucket, model: str, digest: str) -> list[dict[str, Any]]:
    """The newest last: keys begin with the time."""
    found = (bucket.read(key) for key in sorted(bucket.keys(records_prefix(model, digest))))
    return [entry[0] for entry in found if entry is not None]


def fits(record: Mapping[str, Any], wanted: Carried, suite_digest: str) -> bool:
    """Whether a record is of this version, engine, quantisation and suite, asked of the deployed engines themselves."""
    engine = record.get("engine") or {}
    return (
        wanted.version == (record.get("model"), record.get("version"))
        and record.get("schema") == SCHEMA
        and record.get("bound") is True
        and (record.get("suite") or {}).get("digest") == suite_digest
        and (engine.get("image"), engine.get("quantisation")) == (wanted.image, wanted.quantisation)
    )


def objection(
    found: Iterable[Mapping[str, Any]], wanted: Carried, suite_digest: str, max_age_days: int, now: dt.datetime
) -> str:
    """Why no record lets this version carry traffic; empty where the newest that fits does.

    The newest alone counts: a version is not asked again and again until it passes by luck.
    """
    told = f"{wanted.name} {short(wanted.version[1])}" if wanted.version else wanted.name
    records = list(found)
    fitting = [record for record in records if fits(record, wanted, suite_digest)]
    if not fitting:
        if not records:
            return f"{told} has no evaluation record"
        return f"{told} has no evaluation record with the image {wanted.image}, {wanted.quantisation} and this suite"
    newest = fitting[-1]
    if newest["verdict"] != PASSED:
        return f"{told} did not pass its evaluation of {newest['ended_at']}: {newest['verdict']}{_why(newest)}"
    age = now - dt.datetime.fromisoformat(newest["ended_at"])
    if age > dt.timedelta(days=max_age_days):
        return f"{told} was evaluated {age.days} days ago; allowed: {max_age_days}"
    return ""


def _why(record: Mapping[str, Any]) -> str:
    reasons = record.get("reasons") or []
    return f" ({'; '.join(map(str, reasons[:3]))})" if reasons else ""


def objections(bucket: Bucket, settings: Settings, checkout: Path, colour: str) -> list[str]:
    """What keeps a colour from traffic. Empty where the stack asks for no validation, or nothing is in the way."""
    from infra.ops.evaluate.suite import read_suite

    validation = settings.release.validation
    if not validation.required:
        return []
    now, found = dt.datetime.now(dt.UTC), []
    for wanted in carried_by(settings, colour):
        if not wanted.in_bucket:
            continue  # the engine's image has it, or fetches it by name: the image's digest stands for it
        version = wanted.version
        if version is None:
            found.append(f"{wanted.name}: {wanted.source} is no version of the registry")
            continue
        if reason := absence(bucket, *version):
            found.append(reason)
            continue
        suite = read_suite(checkout / wanted.suite)
        records = read_all(bucket, *version)
        if reason := objection(records, wanted, suite.digest, validation.max_age_days, now):
            found.append(reason)
    return found


def absence(bucket: Bucket, model: str, digest: str) -> str:
    """Why a version cannot be carried at all; empty where it is there and whole."""
    found = bucket.read(manifest_key(model, digest))
    if found is None:
        return f"{model} {short(digest)} is not in the registry of this stack"
    if Manifest.parse(found[0]).state != READY:
        return f"{model} {short(digest)} is being removed"
    return ""


def missing(bucket: Bucket, settings: Settings, colours: Sequence[str]) -> list[str]:
    """Versions that a colour names and that are not there: its engines would not come up."""
    named = {each.version for colour in colours for each in carried_by(settings, colour) if each.version}
    return [reason for version in sorted(named) if (reason := absence(bucket, *version))]


def short(digest: str) -> str:
    return digest[: len("sha256-") + 12]
