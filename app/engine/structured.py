"""Small answers of a given form: for requests that ask for JSON, a choice or a tool call. Pure."""

from __future__ import annotations

import json
from typing import Any

_DEPTH = 6
"""Nesting after which optional parts are left out, so that a recursive schema ends."""


def fixed_answer(body: dict[str, Any]) -> str | None:
    """The answer that `response_format` or `structured_outputs` asks for, or None where plain text is wanted."""
    wanted = body.get("response_format")
    if isinstance(wanted, dict):
        if wanted.get("type") == "json_object":
            return json.dumps({"answer": "The flow is steady.", "confidence": 1})
        if wanted.get("type") == "json_schema":
            holder = wanted.get("json_schema")
            return json.dumps(sample(holder.get("schema", {}) if isinstance(holder, dict) else {}))
    outputs = body.get("structured_outputs")
    if isinstance(outputs, dict):
        if outputs.get("choice"):
            return str(outputs["choice"][0])
        if outputs.get("json_object"):
            return json.dumps({"answer": "The flow is steady."})
        schema = outputs.get("json")
        if schema is not None:
            return json.dumps(sample(json.loads(schema) if isinstance(schema, str) else schema))
    return None


def tool_call(body: dict[str, Any]) -> tuple[str, str] | None:
    """(name, arguments as JSON) where `tool_choice` insists on a call; None where the model may answer in words."""
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if not isinstance(tools, list) or not tools or choice in (None, "auto", "none"):
        return None
    functions = [
        tool["function"] for tool in tools if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    for function in functions:
        if named is None or function.get("name") == named:
            return str(function.get("name")), json.dumps(sample(function.get("parameters") or {}))
    return None


def sample(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A small value that fits the usual parts of a JSON schema: type, properties, enum, bounds, $ref, anyOf."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        return sample(_resolve(root, schema["$ref"]), root, depth + 1) if depth < 2 * _DEPTH else None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return sample(schema[key][0], root, depth)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        kept = {name: part for name, part in properties.items() if depth < _DEPTH or name in required}
        return {name: sample(part, root, depth + 1) for name, part in kept.items()}
    if kind == "array":
        count = max(int(schema.get("minItems", 0)), 1 if depth < _DEPTH else 0)
        return [sample(schema.get("items", {}), root, depth + 1) for _ in range(min(count, 16))]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = "steady".ljust(int(schema.get("minLength", 0)), "y")
    return text[: int(schema.get("maxLength", len(text)))]


def _resolve(root: Any, reference: str) -> Any:
    found = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found
