"""That the pages list every metric, and that no log line can hold a prompt or a key."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.gateway.log import Log
from app.gateway.redact import redacted
from tests.gateway.harness import CHAT, Engine, fails, make_config, running

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "observability.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
METRICS = {"Counter", "Counts", "Gauge", "Histogram", "Spread", "GaugeMetricFamily", "CounterMetricFamily"}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in sorted((ROOT / "app" / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def metrics() -> dict[str, str]:
    """Name (as Prometheus shows it) and description of each metric that the gateway's code makes."""
    found: dict[str, str] = {}
    for _, call in calls():
        kind = call.func.id if isinstance(call.func, ast.Name) else ""
        if kind in METRICS and len(call.args) >= 2 and isinstance(call.args[0], ast.Constant):
            name = str(call.args[0].value)
            shown = f"{name}_total" if kind.startswith("Count") and not name.endswith("_total") else name
            text = call.args[1].value if isinstance(call.args[1], ast.Constant) else ""
            found[shown] = str(text).replace("|", "\\|")
    return found


def test_the_page_lists_every_metric():
    table = "| metric | meaning |\n|---|---|\n" + "".join(
        f"| `{name}` | {text} |\n" for name, text in sorted(metrics().items())
    )
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if os.environ.get("PENSTOCK_WRITE_GOLDEN"):
        PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")
    else:
        assert page == f"{before}{BEGIN}{table}{END}{after}", "write it anew with PENSTOCK_WRITE_GOLDEN=1"


CONTENT = {"body", "content", "messages", "prompt", "text", "answer", "authorization", "token", "password", "headers"}


def test_no_log_line_names_a_field_of_content_or_secrets():
    seen = 0
    for path, call in calls():
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("event", "log_event"):
            fields = {keyword.arg for keyword in call.keywords if keyword.arg}
            seen += 1
            assert not fields & CONTENT, f"{path}:{call.lineno} logs {fields & CONTENT}"
    assert seen > 10


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"reason":"key sk-abcdefghijklmnop is wrong"}', b'{"reason":"key [SECRET] is wrong"}'),
        (b'{"request_id":"sk-proj-abcdefghijklmnop"}', b'{"request_id":"[SECRET]"}'),
        (b'{"reason":"postgres://user:pass@host/db"}', b'{"reason":"postgres://[SECRET]@host/db"}'),
        (b'{"reason":"Bearer abcdefghijkl"}', b'{"reason":"Bearer [SECRET]"}'),
        (b'{"reason":"bob@example.com wrote"}', b'{"reason":"[EMAIL] wrote"}'),
        (b'{"engine":"10.0.0.1:8000","time":1763740000.123}', b'{"engine":"10.0.0.1:8000","time":1763740000.123}'),
    ],
)
def test_secrets_are_taken_out_of_lines(line: bytes, told: bytes):
    assert redacted(line) == told
    json.loads(told)


def test_what_a_client_puts_into_its_request_id_is_redacted_on_the_way_out():
    read, write = os.pipe()
    log = Log(write)
    log.event("request", request_id="sk-live-abcdefghijklmnop1234", feature="a")
    log.close()
    os.close(write)
    line = os.read(read, 10_000)
    os.close(read)
    assert json.loads(line)["request_id"] == "[SECRET]"


async def test_no_line_of_a_request_holds_what_it_asked_or_got():
    secret = CHAT | {"messages": [{"role": "user", "content": "top secret question"}], "user": "bob"}
    config = make_config(guards={"modes": {"pii_input": "flag", "injection": "flag"}}, traces={"ratio": 1.0})
    for engine in (Engine(), Engine(fails(500, "top secret answer")), Engine(fails(400, "top secret answer"))):
        async with running(engine, config=config) as gateway:
            await gateway.ask(secret)
            await gateway.ask(secret | {"stream": True})
            text = json.dumps(gateway.log.events)
            assert "secret" not in text
            assert not re.search("sk-|question|hello", text)
