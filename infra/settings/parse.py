"""Reads a stack's configuration: from a stack file, or from the running Pulumi program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ValidationError
from yaml.constructor import ConstructorError

from infra.settings.errors import Problem, SettingsError, describe
from infra.settings.model import NAMESPACE, SCHEMA_VERSION, Shape
from infra.settings.rules import problems_of

SCALARS = {"schemaVersion", "namespace", "protected"}
"""Keys that hold a plain value; all others hold an object or a list, and reach a program as JSON."""


class Settings(Shape):
    """One stack's configuration, complete and checked."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], source: str = "configuration") -> Self:
        """`values` maps top-level keys, without the `penstock:` prefix, to plain data.

        Raises SettingsError with every problem found; the rules across keys are tried once the shape is right.
        """
        if older := _other_version(values):
            raise SettingsError(source, NAMESPACE, [older])
        try:
            settings = cls.model_validate(dict(values))
        except ValidationError as error:
            found = [describe(detail, cls) for detail in error.errors()]
            raise SettingsError(source, NAMESPACE, found) from None
        broken = problems_of(settings)
        if broken:
            raise SettingsError(source, NAMESPACE, broken)
        return settings

    @classmethod
    def from_stack_file(cls, path: Path) -> Self:
        """Reads `Pulumi.<stack>.yaml`. Raises SettingsError, or OSError where the file cannot be read."""
        return cls.parse(stack_file_values(path), path.name)

    @classmethod
    def from_pulumi(cls) -> Self:
        """Reads the configuration of the running program. Raises SettingsError."""
        # pulumi.Config answers only for keys that are asked for; a misspelt key shows in the whole map alone.
        # Imported here, for the command parses stack files without loading the SDK.
        from pulumi.runtime.config import CONFIG, get_config_env

        given = {**get_config_env(), **CONFIG.get()}
        values: dict[str, Any] = {}
        for full_key, text in given.items():
            namespace, _, key = full_key.partition(":")
            if namespace == NAMESPACE:
                values[key] = text if key in SCALARS else _decoded(key, text)
        return cls.parse(values, "stack configuration")

    @property
    def weights(self) -> dict[str, int]:
        """Per cent of new requests, by colour."""
        return {"blue": self.release.blue.weight, "green": self.release.green.weight}

    @property
    def model_names(self) -> list[str]:
        """Those of own engines first."""
        return [model.name for model in (*self.models, *self.outside_models)]

    @property
    def runs_engines(self) -> bool:
        """False: models outside answer alone. What serves engines is then left out, whatever its own key says."""
        return bool(self.models)

    @property
    def may_have_gpus(self) -> bool:
        groups = self.node_groups
        found = groups.gpu.max_nodes or groups.gpu_spot.max_nodes_per_zone
        return bool(found) or (self.runs_engines and self.controllers.karpenter.enabled)


def stack_file_values(path: Path) -> dict[str, Any]:
    """The `penstock:` keys of a stack file, without the prefix.

    Raises SettingsError for a file that is not YAML or holds a key twice, OSError where it cannot be read.
    """
    return values_of_text(path.read_text(encoding="utf-8"), path.name)


def values_of_text(text: str, name: str) -> dict[str, Any]:
    """The same of a text, which `name` is the name of."""
    try:
        document = yaml.load(text, Loader=_OnceLoader)  # noqa: S506 - a SafeLoader, see below
    except yaml.YAMLError as problem:
        raise SettingsError(name, NAMESPACE, [Problem("*", f"the file is not readable as YAML: {problem}")]) from None
    config = (document or {}).get("config") if isinstance(document or {}, dict) else None
    if not isinstance(config, dict):
        raise SettingsError(name, NAMESPACE, [Problem("*", "the file has no mapping named `config`")])
    prefix = f"{NAMESPACE}:"
    return {str(key).removeprefix(prefix): value for key, value in config.items() if str(key).startswith(prefix)}


def _other_version(values: Mapping[str, Any]) -> Problem | None:
    """A file of another layout misses and has many keys; that alone is then said."""
    given = values.get("schemaVersion", 1)
    if not str(given).isdigit() or int(str(given)) == SCHEMA_VERSION:
        return None
    if int(str(given)) > SCHEMA_VERSION:
        return Problem("schemaVersion", f"{given} is newer than this checkout, which reads {SCHEMA_VERSION}")
    was = "is missing, so the file is of version 1" if "schemaVersion" not in values else f"is {given}"
    return Problem("schemaVersion", f"{was}; this checkout reads {SCHEMA_VERSION}: run `penstock migrate`")


class _OnceLoader(yaml.SafeLoader):
    """YAML readers take the last of two equal keys without a word; with weights that would be a wrong release."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _decoded(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        allowed = "a mapping or a list, as in the other stack files"
        raise SettingsError(
            "stack configuration", NAMESPACE, [Problem(key, f"must not be plain text; allowed: {allowed}")]
        ) from None


def top_level_keys(model: type[BaseModel] = Shape) -> list[str]:
    """The keys of a stack, as written after `penstock:`."""
    return [info.alias or name for name, info in model.model_fields.items()]
