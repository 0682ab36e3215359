"""The JSON Schema of the stack files, for editors, made from the parser's models: `python -m infra.settings.schema`.

It knows each key, its type and its bounds; rules across keys are the parser's alone. Where the parser takes a number as
text too, for `pulumi config set` may write it so, the schema asks for the number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.settings.migrations import SCHEMA_PATH
from infra.settings.model import NAMESPACE, Shape

FILE = Path(__file__).resolve().parents[2] / SCHEMA_PATH
BESIDE = ("secretsprovider", "encryptedkey", "encryptionsalt")
"""What Pulumi writes into a stack file beside `config`."""


def schema() -> dict[str, Any]:
    """Of a whole stack file. Keys of other namespaces are not judged."""
    made = _plain(Shape.model_json_schema(by_alias=True))
    definitions = made.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack file of Penstock",
        "description": "Pulumi.<stack>.yaml. Written by `make docs` from infra/settings/model.py.",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "properties": {f"{NAMESPACE}:{key}": value for key, value in made["properties"].items()},
                "required": [f"{NAMESPACE}:{key}" for key in made["required"]],
                "patternProperties": {f"^(?!{NAMESPACE}:)": {}},
                "additionalProperties": False,
            },
            **{name: {"type": "string"} for name in BESIDE},
            "environment": {},
        },
        "additionalProperties": False,
        "$defs": definitions,
    }


def _plain(value: Any) -> Any:
    """Without the titles that are made of names, and with JSON Schema's own words for bounds."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, each in value.items():
        if (key == "title" and isinstance(each, str)) or (key == "discriminator" and "oneOf" in value):
            continue  # OpenAPI's word, which validators of JSON Schema do not know
        word = WORDS.get(key, key)
        made[word] = {name: _plain(child) for name, child in each.items()} if key in NAMED else _plain(each)
    if isinstance(made.get("description"), str):  # docstrings come with the source's margins
        made["description"] = " ".join(str(made["description"]).split())
    return made


WORDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
"""pydantic writes its own words for the bounds of a value that a function of ours has read first."""
NAMED = ("properties", "$defs", "patternProperties")
"""Their keys are names of ours and not words of JSON Schema."""


def text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
