"""What the YAML host runs in the folder of a YAML program."""

import json
from pathlib import Path

import yaml

from tests.library.host import run_yaml

CHECKOUT = Path(__file__).resolve().parents[2]

run_yaml(
    yaml.safe_load(Path("Pulumi.yaml").read_text(encoding="utf-8")),
    json.loads((CHECKOUT / "tests" / "components" / "golden" / "schema.json").read_text(encoding="utf-8")),
)
