"""Writes the golden files anew: the resource table of each stack, the example stacks and their resources by type, and
the schema of the component package.

python tests/program/write_golden.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from infra.ops import typescript
from infra.rehearsal import penstock_program, rehearse_stack
from infra.resource_table import committed_table
from tests.program import example_stacks

CHECKOUT = Path(__file__).resolve().parents[2]
STACKS = ("local", "dev", "prod")


def main() -> None:
    for stack in STACKS:
        table = committed_table(CHECKOUT / f"Pulumi.{stack}.yaml")
        _write(CHECKOUT / "tests" / "program" / "golden" / f"{stack}.txt", table)
    example_stacks.write()
    counts = {}
    for path in sorted(example_stacks.EXAMPLES.glob("Pulumi.*.yaml")):
        counted = Counter(each.type for each in rehearse_stack(path).registrations)
        counts[path.name.split(".")[1]] = dict(sorted(counted.items()))
    _write(CHECKOUT / "tests" / "program" / "golden" / "examples.json", json.dumps(counts, indent=2) + "\n")
    penstock_program()  # imports pulumi_aws without its warnings
    from components.package import package_schema

    schema = json.dumps(package_schema(), indent=2, sort_keys=True) + "\n"
    _write(CHECKOUT / "tests" / "components" / "golden" / "schema.json", schema)
    _write(CHECKOUT / "examples" / "library" / "typescript" / "penstock.ts", typescript.module(package_schema()))


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(exist_ok=True)
    changed = not path.exists() or path.read_text() != content
    path.write_text(content)
    print(f"{'wrote' if changed else 'unchanged'} {path.relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
