"""`penstock usage`: what it asks the gateway, and what it prints."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from app.gateway.ledger.report import PATH
from app.gateway.ledger.report_schema import GROUPS
from components.edge import NOT_FOUND
from infra.ops import usage
from infra.ops.cli import cli
from infra.ops.commands import usage as command
from infra.ops.endpoint import NOT_LET_IN, GatewayError
from infra.ops.errors import NotRunningError, UsageError

SUMS = {
    "requests": 3,
    "failed": 1,
    "estimated": 0,
    "input_tokens": 50,
    "output_tokens": 20,
    "cached_tokens": 4,
    "cost_usd": 0.25,
    "mean_ttft_ms": 12.5,
}
ROWS = [{"tenant": "acme", "feature": "=1+1", **SUMS}, {"tenant": "globex", "feature": None, **SUMS}]
Run = Callable[..., Result]


class Ledger(ThreadingHTTPServer):
    """A gateway that knows usage alone."""

    asked: list[tuple[str, str]]
    status, content = 200, b""


class Handler(BaseHTTPRequestHandler):
    server: Ledger  # ty: ignore[incompatible-mutable-override]

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["authorization"]))
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    server = Ledger(("127.0.0.1", 0), Handler)
    server.asked = []
    report = {"since": "2026-11-01", "until": "2026-11-21", "by": ["tenant", "feature"], "rows": ROWS}
    server.content = json.dumps(report | {"truncated": False}).encode()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(2)


@pytest.fixture
def run(ledger: Ledger) -> Run:
    url = f"http://127.0.0.1:{ledger.server_address[1]}"

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(
            cli, ["usage", *arguments], env={"PENSTOCK_GATEWAY_URL": url, "PENSTOCK_ADMIN_KEY": "pa-1"}
        )

    return invoke


def test_the_gateway_is_asked_with_the_admins_key(run: Run, ledger: Ledger):
    assert (
        run("--since", "2026-11-01", "--until", "2026-11-21", "--by", "tenant, feature", "--limit", "5").exit_code == 0
    )
    ((path, authorization),) = ledger.asked
    assert authorization == "Bearer pa-1"
    assert urlsplit(path).path == PATH
    assert parse_qs(urlsplit(path).query) == {
        "since": ["2026-11-01"],
        "until": ["2026-11-21"],
        "by": ["tenant,feature"],
        "limit": ["5"],
    }


def test_a_table_has_the_rows_and_their_sum(run: Run):
    text = run().stdout
    assert "usage 2026-11-01 to 2026-11-21 (UTC)" in text
    assert any(line.split() == ["globex", "-", "3", "1", "50", "20", "4", "0.2500"] for line in text.splitlines())
    assert "sum: 6 requests, 100 input and 40 output tokens, 0.5000 USD" in text


def test_json_is_what_the_gateway_said(run: Run, ledger: Ledger):
    assert json.loads(run("--json").stdout) == json.loads(ledger.content)


def test_csv_has_every_column_and_no_formula(run: Run):
    rows = list(csv.DictReader(io.StringIO(run("--csv").stdout)))
    assert list(rows[0]) == list(ROWS[0])
    assert rows[0]["feature"] == "'=1+1", "a client chose it; a spreadsheet would run it"
    assert (rows[1]["feature"], rows[1]["cost_usd"]) == ("", "0.25")


def test_csv_without_rows_has_its_header():
    empty = usage.Report("2026-11-01", "2026-11-21", ("tenant",), (), False)
    assert usage.as_csv(empty).startswith("tenant,requests,")
    assert "no requests" in usage.as_text(empty)


def test_rows_that_are_left_out_are_said(run: Run, ledger: Ledger):
    ledger.content = ledger.content.replace(b'"truncated": false', b'"truncated": true')
    assert "more rows" in run().stdout


def test_what_the_gateway_refuses_is_said_in_its_own_words(run: Run, ledger: Ledger):
    ledger.status, ledger.content = 400, b'{"error":{"message":"by: no such column."}}'
    assert "400: by: no such column." in str(run("--by", "x").exception)
    ledger.status, ledger.content = 200, b"<html>"
    assert isinstance(run().exception, GatewayError)


def test_a_network_that_the_load_balancer_does_not_let_in_is_told_the_setting_and_the_way_inside(
    run: Run, ledger: Ledger
):
    ledger.status, ledger.content = 404, NOT_FOUND.encode()
    said = run().exception
    assert isinstance(said, GatewayError)
    assert "not in edge.adminCidrs" in said.cause
    assert "port-forward deploy/gateway-blue 8080:8080" in said.next_step
    ledger.content = b'{"error":{"message":"There is no such report.","code":"not_found"}}'
    assert "404: There is no such report." in str(run().exception), "a gateway's own 404 is something else"


def test_the_load_balancers_refusal_is_known_by_its_words():
    assert NOT_LET_IN == NOT_FOUND


def test_days_are_dates_or_so_many_before_today():
    today = dt.date(2026, 11, 21)
    assert usage.day_of("7d", today) == dt.date(2026, 11, 14)
    assert usage.day_of("2026-11-01", today) == dt.date(2026, 11, 1)
    for wrong in ("yesterday", "7", "-1d", "2026-13-01"):
        with pytest.raises(UsageError, match="is not a day"):
            usage.day_of(wrong, today)


def test_two_forms_at_once_are_wrong_usage(run: Run):
    assert isinstance(run("--csv", "--json").exception, UsageError)


def test_a_stack_without_an_admin_key_is_told_what_to_do():
    with pytest.raises(NotRunningError, match="adminKey"):
        usage.admin_of({"gatewayUrl": "http://127.0.0.1:1"})
    assert "pa-2" not in repr(usage.admin_of({"gatewayUrl": "http://127.0.0.1:1", "adminKey": "pa-2"}))


def test_the_help_names_the_columns_that_the_gateway_offers():
    assert tuple(command.GROUPS.split(", ")) == GROUPS
