import json
from pathlib import Path

import pytest

from tests.local.conftest import Platform

pytestmark = pytest.mark.local


def test_the_status_of_a_fresh_platform_is_complete(platform: Platform):
    platform.penstock("chat", "hello", "--max-tokens", "4")
    status = platform.penstock_json("status")
    assert status["missing"] == {}
    assert status["weights"]["differ"] is False
    assert status["urls"]["gateway"] == platform.endpoint.url
    assert {pod["colour"] for pod in status["pods"] if pod["app"] != "jobs"} == {"blue", "green"}
    assert all(pod["ready"] for pod in status["pods"]), status["pods"]
    for app, colour in {(pod["app"], pod["colour"]) for pod in status["pods"] if pod["colour"]}:
        zones = {pod["zone"] for pod in status["pods"] if (pod["app"], pod["colour"]) == (app, colour)}
        assert len(zones) == 3, f"{app} {colour} is not spread over the zones: {zones}"
    assert status["targets"]["blue"]["healthy"] == status["targets"]["blue"]["total"] > 0
    assert set(status["engines"]) == {pod["name"] for pod in status["pods"] if pod["app"] == "engine"}
    assert set(status["gateways"]) == {pod["name"] for pod in status["pods"] if pod["app"] == "gateway"}
    assert status["totals"]["requests"] > 0
    assert status["totals"]["output_tokens"] > 0
    assert status["totals"]["cost_usd"] > 0


def test_the_status_page_names_colours_zones_and_cost(platform: Platform):
    page = platform.penstock("status").stdout
    for words in ("local (deployed", "blue ", "green ", "KV cache", "since the gateways started", " USD"):
        assert words in page, page
    assert "could not be had" not in page


def test_logs_of_servers_and_pods_can_be_read(platform: Platform):
    names = platform.penstock("logs", "--list").stdout.split()
    assert any(name.startswith("engine-") for name in names), names
    assert platform.penstock("logs", "gateway", "-n", "3").stdout.strip()
    unknown = platform.penstock("logs", "nonsense", check=False)
    assert unknown.returncode == 2
    assert "There are:" in unknown.stderr


def test_load_leaves_a_page_with_its_pictures_and_the_same_figures_as_json(platform: Platform, tmp_path: Path):
    done = platform.penstock_json(
        "load", "--rate", "5", "--streams", "2", "--seconds", "4", "--same-text", "--report", str(tmp_path / "report")
    )
    assert done["failed_requests"] == done["failed_streams"] == 0, done["reasons"]
    assert done["requests"] > 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 1
    assert (tmp_path / "report" / "seconds.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "report" / "report.json").read_text())
    assert kept["requests"] == done["requests"]
