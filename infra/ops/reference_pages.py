"""Generated reference: policies, components, API. Written by `python -m infra.ops.reference_pages`.

Each from what the program itself has: the rules' docstrings, the package's schema, the gateway's OpenAPI documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- rules: begin -->\n", "<!-- rules: end -->\n"
TOKEN, REFERENCE = "penstock:index:", "#/types/"

COMPONENTS_HEAD = """# Components

Written by `make docs` from the component package's schema, which any of Pulumi's languages can use
([examples](../examples/library/README.md)). A type token, such as `penstock:index:Network`, is public API: it changes
only with an alias. `plain` inputs take no outputs of other resources; where a list or a map says `plain, not its
items`, its items may be outputs. Inputs that end in `?` may be left out. Each component says which providers its
resources need: hand them over in the option `providers`, or it takes the program's default ones.
"""
API_HEAD = """# API

Written by `make docs` from the OpenAPI documents that a gateway serves: `/v1/openapi.json` for clients and
`/admin/v1/openapi.json` for administrators. A deployed gateway's own documents name its models and their ceilings.
Fields that only the engine reads are passed on as they are.
"""
ELSEWHERE = """
## Further routes

| path | page |
|---|---|
| `/v1/files`, `/v1/batches`, `/v1/jobs` | [jobs.md](jobs.md) |
| `/v1/retrieval` | [retrieval.md](retrieval.md) |
| `/v1/feedback` | [feedback.md](feedback.md) |
| `/admin/v1/usage` | [ledger.md](ledger.md) |
| `/admin/v1/pipelines` | [pipelines.md](pipelines.md) |
| `/console` | [console.md](console.md) |
| `/healthz`, `/readyz`, `/metrics`, `/debug` | [gateway.md](gateway.md), [observability.md](observability.md) |
"""


def policies(page: str) -> str:
    """docs/policies.md with its table of rules written anew. Raises ValueError where the marks are missing."""
    from infra.policy.pack import titles
    from infra.policy.rules import RULES, STACK_RULES

    rows = [(*titles(rule), seen) for rules, seen in ((RULES, "one"), (STACK_RULES, "all")) for rule in rules]
    table = "".join(f"| `{name}` | {says} | {seen} |\n" for name, says, seen in rows)
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/policies.md has no marks for the table of rules")
    return f"{before}{BEGIN}| rule | what it asks | resources it sees |\n|---|---|---|\n{table}{END}{after}"


def components(schema: Mapping[str, Any], providers: Mapping[str, Sequence[str]]) -> str:
    """docs/components.md. `providers`: the packages whose providers a component needs, by the component's name."""
    parts = [COMPONENTS_HEAD]
    for token, row in sorted(schema["resources"].items()):
        needs = " and ".join(f"`{each}`" for each in providers[_name(token)]) or "none"
        parts.append(f"\n## {_name(token)}\n\nProviders: {needs}.\n\n{row['description']}\n")
        parts += _table("input", row["inputProperties"], row.get("requiredInputs", []))
        parts += _table("output", row["properties"], row["properties"])
    parts.append("\n## Types of inputs\n")
    for token, row in sorted(schema["types"].items()):
        said = f"\n{row['description']}\n" if row.get("description") else ""
        parts.append(f"\n### {_name(token)}\n{said}")
        parts += _table("property", row["properties"], row.get("required", []))
    return "".join(parts)


def _table(what: str, properties: Mapping[str, Any], required: Any) -> Iterator[str]:
    if not properties:
        return
    yield f"\n| {what} | type | meaning |\n|---|---|---|\n"
    for name, row in sorted(properties.items()):
        left_out = "" if name in required else "?"
        kind = _kind(row) + (_plain(row) if what == "input" else "")
        yield f"| `{name}{left_out}` | {kind} | {_cell(row.get('description', ''))} |\n"


def _plain(row: Mapping[str, Any]) -> str:
    if not row.get("plain"):
        return ""
    inner = row.get("items") or row.get("additionalProperties")
    return ", plain, not its items" if inner and not inner.get("plain") else ", plain"


def _kind(row: Mapping[str, Any]) -> str:
    if "$ref" in row:
        name = row["$ref"].removeprefix(REFERENCE)
        return f"[{_name(name)}](#{_name(name).lower()})" if name.startswith(TOKEN) else "any"
    if row.get("type") == "array":
        return f"list of {_kind(row['items'])}"
    if row.get("type") == "object":
        return f"map of {_kind(row['additionalProperties'])}" if row.get("additionalProperties") else "map"
    return row["type"]


def _name(token: str) -> str:
    return token.removeprefix(TOKEN)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def api(clients: Mapping[str, Any], administrators: Mapping[str, Any]) -> str:
    errors = {code: row["description"] for code, row in clients["components"]["responses"].items()}
    parts = [API_HEAD, "\n## For clients\n\nWith a key of a tenant: `Authorization: Bearer KEY`.\n"]
    parts += _operations(clients)
    parts.append("\nErrors have OpenAI's shape: `{error: {message, type, param, code}}`.\n")
    parts += _errors(errors)
    parts.append("\n## For administrators\n\nWith the administrator's key; a client's key is refused.\n")
    parts += _operations(administrators)
    some = next(iter(next(iter(administrators["paths"].values())).values()))["responses"]
    parts += _errors({code: row["description"] for code, row in some.items() if code != "200"})
    return "".join([*parts, ELSEWHERE])


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    yield "\n| request | what it does | body |\n|---|---|---|\n"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"| `{method.upper()} {path}` | {_cell(operation['summary'])} | {_body(operation, document)} |\n"


def _body(operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Fields of a JSON body; `?` behind those that may be left out."""
    given = operation.get("requestBody")
    if not given:
        return ""
    schema = given["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    needed = schema.get("required", [])
    return ", ".join(f"`{name}{'' if name in needed else '?'}`" for name in schema["properties"])


def _errors(errors: Mapping[str, str]) -> Iterator[str]:
    yield "\n| status | when |\n|---|---|\n"
    for code, text in errors.items():
        yield f"| {code} | {_cell(text)} |\n"


def pages() -> dict[Path, str]:
    """Each generated page and what it should hold."""
    from infra.rehearsal import penstock_program

    penstock_program()  # imports pulumi_aws without its warnings
    from app.gateway.config import GatewayConfig, ModelRoute
    from app.gateway.keys.admin_document import document as administrators
    from app.gateway.openapi import document as clients
    from components.package import PROVIDERS, package_schema

    model = ModelRoute(name="model", selector="model", context_tokens=1, max_output_tokens=1)
    gateway = GatewayConfig(colour="blue", namespace="penstock", models=(model,), drain_seconds=1)
    rules = DOCS / "policies.md"
    return {
        rules: policies(rules.read_text(encoding="utf-8")),
        DOCS / "components.md": components(
            package_schema(), {component.__name__: needs for component, needs in PROVIDERS.items()}
        ),
        DOCS / "api.md": api(clients(gateway), administrators()),
    }


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
