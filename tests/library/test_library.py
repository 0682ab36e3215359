"""The components in programs of other projects and languages: checked by the schema, and run by Pulumi's engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.language_host import EXECUTOR_VARIABLE
from infra.local.toolchain.find import cache_folder, ensure
from infra.local.toolchain.tools import PULUMI
from infra.ops.diff.engine import Bench
from infra.ops.progress import Progress
from infra.ops.typescript import module

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples" / "library"
SCHEMA = json.loads((CHECKOUT / "tests" / "components" / "golden" / "schema.json").read_text())
NODE_SECONDS = 280
WANTED = {
    "penstock:index:DataKeys": 1,
    "penstock:index:Registry": 1,
    "aws:ecr/repository:Repository": 2,
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": 2,
}
"""Among what each of the three programs makes."""


def test_the_types_for_typescript_are_current():
    assert (EXAMPLES / "typescript" / "penstock.ts").read_text() == module(SCHEMA), "run `make golden`"


def problems(program: Mapping[str, Any]) -> list[str]:
    """What the schema refuses in a YAML program: unknown types, properties, outputs, missing and wrong values."""
    found = []
    for name, row in program["resources"].items():
        package, _, kind = row["type"].partition(":")
        schema = SCHEMA["resources"].get(f"{package}:index:{kind}")
        if schema is None:
            found.append(f"{name}: no component {row['type']}")
            continue
        given, known = row.get("properties", {}), schema["inputProperties"]
        found += [f"{name}.{key} is unknown" for key in given.keys() - known.keys()]
        found += [f"{name}.{key} is missing" for key in set(schema["requiredInputs"]) - given.keys()]
        found += [
            f"{name}.{key}: {why}" for key in given.keys() & known.keys() if (why := wrong(known[key], given[key]))
        ]
    texts = re.findall(r"\$\{([^}]+)\}", json.dumps(program))
    for path in texts:
        first, *rest = path.split(".")
        if first in program["resources"]:
            kind = program["resources"][first]["type"].partition(":")[2]
            outputs = SCHEMA["resources"].get(f"penstock:index:{kind}", {}).get("properties", {})
            found += [f"${{{path}}}: no such output"] if rest and rest[0] not in outputs else []
        elif first not in program.get("config", {}):
            found.append(f"${{{path}}}: no such resource or configuration")
    return sorted(found)


def wrong(schema: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, str) and value.startswith("${"):
        return ""
    kinds = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "array": list, "object": dict}
    kind = kinds.get(schema.get("type", ""))
    if kind and (not isinstance(value, kind) or (isinstance(value, bool) and schema["type"] != "boolean")):
        return f"{value!r} is not of type {schema['type']}"
    return ""


def the_yaml_program() -> dict[str, Any]:
    return yaml.safe_load((EXAMPLES / "yaml" / "Pulumi.yaml").read_text())


def test_the_yaml_program_fits_the_schema():
    assert problems(the_yaml_program()) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("registry", "type"), "penstock:Registri", "no component"),
        (("registry", "properties", "image"), ["a"], "registry.image is unknown"),
        (("registry", "properties", "images"), "gateway", "is not of type array"),
        (("registry", "properties", "protected"), "no", "is not of type boolean"),
        (("registry", "properties", "keyArn"), "${keys.picture}", "no such output"),
        (("registry", "properties", "keyArn"), "${other.images}", "no such resource"),
    ],
)
def test_the_schema_refuses_what_the_components_do_not_take(path: tuple[str, ...], value: Any, said: str):
    program = the_yaml_program()
    here = program["resources"]
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    assert any(said in each for each in problems(program)), problems(program)


def node_modules() -> Path:
    """The packages of the TypeScript example, kept in the user's cache: npm takes half a minute."""
    kept = cache_folder() / "library-npm"
    kept.mkdir(parents=True, exist_ok=True)
    manifest = (EXAMPLES / "typescript" / "package.json").read_text()
    mark = kept / ".ready"
    if not mark.exists() or mark.read_text() != manifest:
        (kept / "package.json").write_text(manifest)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
        subprocess.run(command, cwd=kept, check=True, timeout=NODE_SECONDS, capture_output=True)
        mark.write_text(manifest)
    return kept / "node_modules"


@pytest.mark.toolchain
@pytest.mark.timeout(NODE_SECONDS + 100)
def test_the_typescript_program_has_the_types_that_the_schema_gives(tmp_path: Path):
    program = copied("typescript", tmp_path)
    (program / "node_modules").symlink_to(node_modules())
    done = compiled(program)
    assert done.returncode == 0, done.stdout
    index = program / "index.ts"
    index.write_text(index.read_text().replace("keys.images", "keys.pictures").replace('prefix: "acme"', "prefix: 3"))
    done = compiled(program)
    assert "Property 'pictures' does not exist" in done.stdout
    assert "not assignable to type 'string'" in done.stdout


def compiled(program: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", "node_modules/typescript/lib/tsc.js", "-p", "."]
    return subprocess.run(command, cwd=program, capture_output=True, text=True, timeout=200, check=False)


def copied(name: str, folder: Path) -> Path:
    """The example where the engine may write beside it, with its paths led to this checkout."""
    target = folder / name
    shutil.copytree(EXAMPLES / name, target, ignore=shutil.ignore_patterns("node_modules"))
    project = target / "Pulumi.yaml"
    project.write_text(project.read_text().replace("../../../components", str(CHECKOUT / "components")))
    return target


@pytest.mark.toolchain
@pytest.mark.timeout(NODE_SECONDS + 100)
@pytest.mark.parametrize("name", ["python", "yaml", "typescript"])
def test_the_engine_runs_the_program(name: str, tmp_path: Path):
    """A deployment in record-only mode, and a second one that changes nothing."""
    program = copied(name, tmp_path)
    if name == "typescript":
        (program / "node_modules").symlink_to(node_modules())
    environment = made_environment(tmp_path)

    def pulumi(*arguments: str) -> str:
        command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=program, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pulumi("stack", "init", "dev")
    pulumi("config", "set", "aws:region", "eu-central-1")
    pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
    rows = json.loads(pulumi("stack", "export", "--stack", "dev"))["deployment"]["resources"]
    for token, count in WANTED.items():
        assert sum(row["type"] == token for row in rows) == count, token
    outputs = json.loads(pulumi("stack", "output", "--json", "--stack", "dev"))
    assert set(outputs["urls"]) == {"gateway", "worker"}
    chain = next(row["urn"] for row in rows if row["type"] == "aws:ecr/repository:Repository").split("::")[2]
    assert chain == "penstock:index:Registry$aws:ecr/repository:Repository", "the same identity in every language"
    pulumi("preview", "--expect-no-changes", "--stack", "dev")


def made_environment(folder: Path) -> dict[str, str]:
    """A bench's home with recording providers; hosts for Node and YAML first on PATH."""
    toolchain = ensure(Progress(quiet=True), tools=(PULUMI,))
    search = toolchain.search_path(os.environ["PATH"])
    bench = Bench(folder, toolchain.path("pulumi"), search)
    bench.prepare()
    hosts = folder / "hosts"
    hosts.mkdir()
    for language in ("nodejs", "yaml"):
        script = hosts / f"pulumi-language-{language}"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.library.host {language} "$@"\n')
        script.chmod(0o755)
    executor = shutil.which("pulumi-language-python-exec", path=search)
    return {
        **bench._environment(CHECKOUT),
        "PATH": f"{hosts}{os.pathsep}{search}",
        EXECUTOR_VARIABLE: str(executor),
    }
