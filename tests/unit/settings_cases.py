"""The stack files' values, and what the parser says after an edit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.settings import Settings, SettingsError
from infra.settings.parse import stack_file_values

CHECKOUT = Path(__file__).resolve().parents[2]
STACKS = ("local", "dev", "prod")

Values = dict[str, Any]


def settled(stack: str) -> Values:
    """A stack file's values with blue live and green idle: the files of the checkout move with every release."""
    values = stack_file_values(CHECKOUT / f"Pulumi.{stack}.yaml")
    values["release"]["blue"]["weight"], values["release"]["green"]["weight"] = 100, 0
    return {"local": of_one_model, "dev": dict, "prod": of_fixed_size}[stack](values)


def of_fixed_size(values: Values) -> Values:
    """Without what scales, for sums that a person can follow."""
    values["controllers"]["keda"]["enabled"] = False
    values["nodeGroups"]["gpuSpot"]["maxNodesPerZone"] = 4
    values["jobs"]["scaling"] = None
    for model in values["models"]:
        model |= {"scaling": None, "spotShare": None}
    return values


def of_one_model(values: Values) -> Values:
    """Without the model of retrieval and what stands on it: most rules are clearer where there is one model."""
    del values["models"][1:]
    for colour in ("blue", "green"):
        del values["release"][colour]["engineReplicas"]["embed"]
    values["nodeGroups"]["gpu"] |= {"desiredNodes": 3, "maxNodes": 6}
    values["retrieval"] |= {"enabled": False, "model": None}
    values["pipelines"] |= {"names": [], "prompts": []}
    values["gateway"]["cache"]["semantic"] = None
    return values


VALUES = {stack: settled(stack) for stack in STACKS}


def problems(edit: Callable[[Values], object], stack: str = "local") -> dict[str, str]:
    """What is wrong with a stack's configuration after an edit: key path -> message. Empty when nothing is."""
    values = copy.deepcopy(VALUES[stack])
    edit(values)
    try:
        Settings.parse(values)
    except SettingsError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


def put(path: str, value: Any) -> Callable[[Values], None]:
    """An edit that puts a value at a dotted path."""

    def edit(values: Values) -> None:
        *way, last = path.split(".")
        here: Any = values
        for part in way:
            here = here[int(part)] if part.isdigit() else here[part]
        here[int(last) if last.isdigit() else last] = value

    return edit
