"""Configurations and origins of the compared gateways."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from app.gateway.config import GatewayConfig, KeyFile
from bench.gateway.compiled import Missing, compiled
from bench.gateway.install import Checkout, Debian, Wheels, last_words, version_in
from bench.gateway.modes import EVENTS, KEY, MODEL
from bench.gateway.peers import OWN, PEERS, REFERENCE, Peer, Place

PLACE = Place(port=8801, engine=8802, folder=Path("/bench"), open_files=20_000)
BY_NAME = {peer.name: peer for peer in PEERS}


def config_and_command(peer: Peer) -> str:
    return "\n".join([*peer.files(PLACE).values(), *peer.arguments(PLACE)])


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_each_gateway_listens_on_loopback_before_the_given_engine(peer: Peer):
    text = config_and_command(peer)
    assert "8801" in text
    assert "8802" in text
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) == {"127.0.0.1"}


def test_the_gateways_that_the_aims_name_are_all_there():
    assert {OWN, REFERENCE, "haproxy", "envoy", "litellm", "production-stack"} <= set(BY_NAME)


def test_the_own_gateway_takes_its_configuration_and_knows_the_benchmarks_key():
    files = BY_NAME[OWN].files(PLACE)
    config = GatewayConfig.model_validate_json(files["gateway.json"])
    assert config.models[0].name == MODEL
    assert config.models[0].context_tokens > 110_000
    keys = KeyFile.model_validate_json(files["keys.json"])
    assert len(keys.keys) == 1001
    assert hashlib.sha256(KEY.encode()).hexdigest() in {key.sha256 for key in keys.keys}


def test_nginx_passes_streams_on_at_once_and_keeps_long_prompts_in_memory():
    text = BY_NAME["nginx"].files(PLACE)["nginx.conf"]
    assert "proxy_buffering off;" in text
    assert "client_body_buffer_size 1m;" in text
    assert "worker_processes 1;" in text


def test_nginx_keeps_its_user_only_as_root():
    assert "user root;" not in BY_NAME["nginx"].files(PLACE)["nginx.conf"]
    as_root = Place(8801, 8802, Path("/bench"), 20_000, root=True)
    assert "user root;" in BY_NAME["nginx"].files(as_root)["nginx.conf"]


def test_haproxy_sends_each_event_without_delay_on_one_thread():
    text = BY_NAME["haproxy"].files(PLACE)["haproxy.cfg"]
    assert "option http-no-delay" in text
    assert "nbthread 1" in text
    assert "maxconn 9950" in text


def test_envoy_lets_more_streams_through_than_are_opened():
    clusters = json.loads(BY_NAME["envoy"].files(PLACE)["envoy.json"])["static_resources"]["clusters"]
    assert clusters[0]["circuit_breakers"]["thresholds"][0]["max_requests"] >= 10_000


def test_the_withdrawn_release_of_litellm_is_never_installed():
    source = BY_NAME["litellm"].source
    assert isinstance(source, Wheels)
    assert "!=1.107.0" in source.requirements[0]
    assert KEY in BY_NAME["litellm"].files(PLACE)["litellm.yaml"]


def test_no_gateway_may_lose_content_events():
    assert all(peer.events >= EVENTS - 3 for peer in PEERS)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - site", "2.6.12"),
        ("\nenvoy  version: 9e5580933739775e8bce/1.40.0/Clean/RELEASE", "1.40.0"),
        ("it did not start", "unknown"),
    ],
)
def test_a_version_is_read_from_a_programs_own_words(said: str, version: str):
    assert version_in(said) == version


def test_a_reason_names_no_address_or_folder():
    words = last_words("first\nerror: failed to fetch `https://example.com/x` into /home/me/cache\n\n")
    assert words == "error: failed to fetch ... into ..."
    assert last_words("") == "it said nothing"


def test_a_router_without_its_source_tree_is_missing_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PENSTOCK_BENCH_PRODUCTION_STACK", str(tmp_path / "none"))
    source = BY_NAME["production-stack"].source
    assert isinstance(source, Checkout)
    with pytest.raises(Missing, match="set PENSTOCK_BENCH_PRODUCTION_STACK"):
        source.install(tmp_path)


def test_a_server_that_is_neither_installed_nor_packaged_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.gateway.install.SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(Missing, match="no apt-get"):
        Debian("no-such-server", ("no-such-server",), "-v").install(tmp_path)


def test_a_server_of_the_system_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "some-server"
    program.write_text("#!/bin/sh\necho some-server/3.2.1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    installed = Debian("some-server", ("some-server",), "-v").install(tmp_path / "cache")
    assert (installed.program, installed.version) == (program, "3.2.1")


def test_without_a_compiler_the_reason_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(Missing, match="apt-get install gcc"):
        compiled("load", tmp_path)


def test_what_the_compiler_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'no such header' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(Missing, match="no such header"):
        compiled("load", tmp_path)
    assert not list((tmp_path / "programs").iterdir())


def test_a_compiled_program_is_kept_until_its_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\necho run >> "$0.log"\ntouch "$3"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert compiled("load", tmp_path) == compiled("load", tmp_path)
    assert (tmp_path / "cc.log").read_text() == "run\n"
