"""The versions of the stack files' layout, and the steps from each to the next. Pure.

Each step takes a file's text and returns the next version's, with comments and order kept. A file without
`penstock:schemaVersion` is of version 1. Whoever adds, renames or removes a key of a released version adds a version
here; before the release the step to it may grow. tests/unit/stack_files has files of each version, which a test brings
to this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.settings.model import NAMESPACE, SCHEMA_VERSION
from infra.settings.yaml_text import TextError, add, put, value_at

VERSION_KEY = f"config.{NAMESPACE}:schemaVersion"
SCHEMA_COMMENT = "# yaml-language-server: $schema="
SCHEMA_PATH = "docs/schema/stack.schema.json"

NO_COPIES = "{percent: 0, text: false, textPoints: 5, minCopies: 0, minTexts: 0, leaveOutTenants: []}"
"""Of release.shadow."""

Change = Callable[[str], str]


@dataclass(frozen=True)
class Step:
    """From one version to the next."""

    what: str
    """For the person who reviews it."""
    change: Change


@dataclass(frozen=True)
class Migrated:
    text: str
    was: int
    now: int
    steps: tuple[str, ...]
    """What was done, a sentence each; empty where the file was of the newest version."""


class MigrationError(ValueError):
    """The file cannot be brought to this version. The message says why, and what to do."""


ROTATION = "cacheToken: 1\ndatabaseLogins: 1\njobsSigning: 1\nadminKey: 1\n"
PIPELINES = "names: []\nprompts: []\ncallOutHosts: []\ncallOutCidrs: []\n"


def _version_and_schema(text: str) -> str:
    """1 to 2: the file says its version, and editors find the schema."""
    text = add(text, VERSION_KEY, "2", first=True)
    if SCHEMA_COMMENT in text:
        return text
    head, newline, rest = text.partition("\n")
    line = f"{SCHEMA_COMMENT}{SCHEMA_PATH}\n"
    return f"{head}{newline}{line}{rest}" if head.startswith("#") else f"{line}{text}"


def _scaling_memory_and_pipelines(text: str) -> str:
    """2 to 3: what a model's key-value cache takes, workers that scale, pipelines, intents and copies: all off."""
    text = add(text, f"config.{NAMESPACE}:jobs.scaling", "null")
    text = add(text, f"config.{NAMESPACE}:models[].kvCache", "null")
    text = add(text, f"config.{NAMESPACE}:pipelines", PIPELINES)
    text = add(text, f"config.{NAMESPACE}:release.shadow", NO_COPIES)
    text = add(text, f"config.{NAMESPACE}:gateway.intents", "null")
    text = add(text, f"config.{NAMESPACE}:gateway.feedback.epsilonPerMonth", "4")
    text = add(text, f"config.{NAMESPACE}:models[].required", "true")
    text = add(text, f"config.{NAMESPACE}:controllers.karpenter.perColour", "false")
    text = add(text, f"config.{NAMESPACE}:nodeGroups.reservations", "[]")
    text = add(text, f"config.{NAMESPACE}:budget.colourUsd", "null")
    text = add(text, f"config.{NAMESPACE}:gateway.console", "null")
    text = add(text, f"config.{NAMESPACE}:routing.routes[].when", "[]")
    text = add(text, f"config.{NAMESPACE}:outsideModels[].embeddingDimensions", "null")
    text = _times_and_bounds_of_gateways(text)
    text = _day_two(text)
    return _versions_of_models(text)


def _times_and_bounds_of_gateways(text: str) -> str:
    """Still 2 to 3: what was fixed can be set; the values are those that held."""
    gateway = f"config.{NAMESPACE}:gateway"
    text = add(text, f"{gateway}.retries", "{attempts: 3, budgetPercent: 20}")
    text = add(text, f"{gateway}.resume", "{attempts: 2, maxKeptKib: 256}")
    text = add(text, f"{gateway}.health", "{silenceSeconds: 1, timeoutSeconds: 1, attempts: 2}")
    text = add(text, f"{gateway}.cache.lookupSeconds", "0.03")
    text = add(text, f"{gateway}.cache.maxRequestKib", "128")
    text = add(text, f"{gateway}.cache.maxAnswerKib", "256")
    text = add(text, f"{gateway}.jwt.clockSkewSeconds", "30")
    return add(text, f"{gateway}.jwt.refreshSeconds", "300")


def _day_two(text: str) -> str:
    """Still 2 to 3: nodes stay as they are until they are told otherwise, and every secret is the first of its kind."""
    text = add(text, f"config.{NAMESPACE}:data.database.allowMajorUpgrade", "false")
    text = add(text, f"config.{NAMESPACE}:rotation", ROTATION)
    for group in ("system", "gpu", "gpuSpot"):
        for key, value in (("version", "null"), ("releaseVersion", "null"), ("maxUnavailable", "1")):
            text = add(text, f"config.{NAMESPACE}:nodeGroups.{group}.{key}", value)
    return text


def _versions_of_models(text: str) -> str:
    """Still 2 to 3: a colour may carry versions of models, and weights by hand are carried as before."""
    release = f"config.{NAMESPACE}:release"
    for colour in ("blue", "green"):
        text = add(text, f"{release}.{colour}.sources", "{}")
    wanted = "required: false\nsuite: infra/evaluation/standard.yaml\nsuites: {}\nmaxAgeDays: 90\n"
    return add(text, f"{release}.validation", wanted)


STEPS: Mapping[int, Step] = {
    1: Step("the file says its version, and where editors find the schema", _version_and_schema),
    2: Step(
        "workers of jobs may scale, the memory of a key-value cache may be checked; pipelines, intents, copies and "
        "versions of models, console",
        _scaling_memory_and_pipelines,
    ),
}
"""By the version that a step starts from."""


def version_of(text: str) -> int:
    """1 for a file that does not say. Raises MigrationError for one that is not a number, or that is not YAML."""
    try:
        written = value_at(text, VERSION_KEY)
    except TextError as error:
        raise MigrationError(f"{error}.") from None
    if written is None:
        return 1
    if not (written.isascii() and written.isdigit()) or int(written) < 1:
        raise MigrationError(f"{NAMESPACE}:schemaVersion is {written!r}; allowed: 1 to {SCHEMA_VERSION}.")
    return int(written)


def migrate(text: str, steps: Mapping[int, Step] = STEPS, newest: int = SCHEMA_VERSION) -> Migrated:
    """The text in the newest layout. Raises MigrationError; then nothing of the text is of use."""
    was = version = version_of(text)
    if version > newest:
        raise MigrationError(
            f"The file is of version {version}, and this checkout reads {newest}: take a newer Penstock, or the file "
            "of an older commit."
        )
    done = []
    while version < newest:
        step = steps[version]
        try:
            text = put(step.change(text), VERSION_KEY, str(version + 1))
        except TextError as error:
            raise MigrationError(f"From version {version} to {version + 1}: {error}.") from None
        done.append(f"{version} to {version + 1}: {step.what}")
        version += 1
    return Migrated(text, was, version, tuple(done))
