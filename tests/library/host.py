"""`python -m tests.library.host nodejs|yaml ENGINE`: the part of a language host that the examples need.

Pulumi's own hosts for these languages come with its release, and not with a `pulumi` that was built from its module.
For TypeScript this one starts the runner of Pulumi's own Node package; for YAML it interprets the program, as far as
examples/library goes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local import language_host

HERE = Path(__file__).parent
REFERENCE = re.compile(r"\$\{([^}]+)\}")


def node_command(request: Any, engine_address: str, executor: str) -> list[str]:
    """The runner finds `@pulumi/pulumi` beside the program."""
    folder = Path(request.info.program_directory)
    command = ["node", str(folder / "node_modules" / "@pulumi" / "pulumi" / "cmd" / "run")]
    command += ["--monitor", request.monitor_address, "--engine", engine_address, "--project", request.project]
    command += ["--stack", request.stack, "--organization", request.organization, "--pwd", request.pwd]
    command += ["--root-directory", request.info.root_directory, "--parallel", str(max(request.parallel, 1))]
    return [*command, *(["--dry-run"] if request.dryRun else []), "."]


def yaml_command(request: Any, engine_address: str, executor: str) -> list[str]:
    """Python's executor, with the interpreter below as the program."""
    command = [sys.executable, "-u", executor, "--monitor", request.monitor_address, "--engine", engine_address]
    command += ["--project", request.project, "--stack", request.stack, "--organization", request.organization]
    command += ["--root_directory", request.info.root_directory, "--pwd", request.pwd]
    command += ["--parallel", str(max(request.parallel, 1)), *(["--dry_run", "true"] if request.dryRun else [])]
    return [*command, str(HERE / "yaml_program.py")]


def run_yaml(program: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Registers the program's resources, each when something first needs it, and exports its outputs."""
    import pulumi

    config = pulumi.Config()
    made: dict[str, Any] = {}

    class Remote(pulumi.ComponentResource):
        def __init__(self, token: str, name: str, properties: dict[str, Any]) -> None:
            outputs = dict.fromkeys(schema["resources"][token]["properties"])
            super().__init__(token, name, {**properties, **outputs}, None, remote=True)

    def resource(name: str) -> Any:
        if name not in made:
            row = program["resources"][name]
            package, _, kind = row["type"].partition(":")
            made[name] = Remote(f"{package}:index:{kind}", name, value(row.get("properties", {})))
        return made[name]

    def looked_up(path: str) -> Any:
        first, *rest = path.split(".")
        if first in program.get("resources", {}):
            found = resource(first)
            return getattr(found, rest[0]) if rest else found
        return config.get(first) or program["config"][first]["default"]

    def value(written: Any) -> Any:
        if isinstance(written, dict):
            return {key: value(each) for key, each in written.items()}
        if isinstance(written, list):
            return [value(each) for each in written]
        if isinstance(written, str) and (whole := REFERENCE.fullmatch(written)):
            return looked_up(whole[1])
        return written

    for name in program["resources"]:
        resource(name)
    for name, written in program.get("outputs", {}).items():
        pulumi.export(name, value(written))


COMMANDS = {"nodejs": node_command, "yaml": yaml_command}


if __name__ == "__main__":
    os.environ["PULUMI_NODEJS_TYPESCRIPT"] = "true"  # as Pulumi's own host says to its runner
    vars(language_host)["program_command"] = COMMANDS[sys.argv[1]]
    language_host.main(sys.argv[2:])
