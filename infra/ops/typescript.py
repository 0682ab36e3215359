"""TypeScript types of the component package, made from its schema. Pure.

For programs without Pulumi's own generator (`pulumi package add`), and for the example in examples/library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HEAD = """// Penstock's components for TypeScript. Written by `make golden` from the schema of the component package.

import * as pulumi from "@pulumi/pulumi";
"""
SCALARS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def module(schema: Mapping[str, Any]) -> str:
    """One interface for each type, and for each component its arguments and its class."""
    parts = [HEAD]
    for token, each in sorted(schema.get("types", {}).items()):
        name = token.rsplit(":", 1)[-1]
        if "enum" in each:
            values = " | ".join(f'"{value["value"]}"' for value in each["enum"])
            parts.append(f"export type {name} = {values};\n")
        else:
            parts.append(_interface(name, each["properties"], each.get("required", [])))
    for token, each in sorted(schema["resources"].items()):
        name = token.rsplit(":", 1)[-1]
        parts.append(_interface(f"{name}Args", each.get("inputProperties", {}), each.get("requiredInputs", [])))
        parts.append(_class(name, token, schema["version"], each))
    return "\n".join(parts)


def _interface(name: str, properties: Mapping[str, Any], required: list[str]) -> str:
    return "\n".join([f"export interface {name} {{", *_members(properties, required), "}", ""])


def _members(properties: Mapping[str, Any], required: list[str]) -> Iterator[str]:
    for name, each in sorted(properties.items()):
        yield from _said(each, "    ")
        written = _type(each)
        written = written if each.get("plain") else f"pulumi.Input<{written}>"
        yield f"    {name}{'' if name in required else '?'}: {written};"


def _said(each: Mapping[str, Any], indent: str = "") -> list[str]:
    """What an editor shows beside a name."""
    text = " ".join(each.get("description", "").split()).replace("*/", "* /")
    return [f"{indent}/** {text} */"] if text else []


def _class(name: str, token: str, version: str, each: Mapping[str, Any]) -> str:
    outputs = sorted(each.get("properties", {}).items())
    lines = _said(each)
    lines.append(f"export class {name} extends pulumi.ComponentResource {{")
    for key, value in outputs:
        lines += [*_said(value, "    "), f"    declare readonly {key}: pulumi.Output<{_type(value, output=True)}>;"]
    nothing = "".join(f", {key}: undefined" for key, _ in outputs)
    lines += [
        "",
        f"    constructor(name: string, args: {name}Args, options: pulumi.ComponentResourceOptions = {{}}) {{",
        f'        super("{token}", name, {{ ...args{nothing} }}, {{ version: "{version}", ...options }}, true);',
        "    }",
        "}",
        "",
    ]
    return "\n".join(lines)


def _type(each: Mapping[str, Any], *, output: bool = False) -> str:
    if "$ref" in each:
        reference = each["$ref"]
        if reference.startswith("#/types/"):
            return reference.rsplit(":", 1)[-1]
        return "any"  # of another package, and pulumi.json#/Any
    kind = each.get("type")
    if kind == "array":
        return f"{_wrapped(each['items'], output=output)}[]"
    if kind == "object":
        inner = each.get("additionalProperties")
        return f"Record<string, {_wrapped(inner, output=output) if inner else 'any'}>"
    return SCALARS.get(kind or "", "any")


def _wrapped(each: Mapping[str, Any], *, output: bool) -> str:
    written = _type(each, output=output)
    return written if output or each.get("plain") else f"pulumi.Input<{written}>"
