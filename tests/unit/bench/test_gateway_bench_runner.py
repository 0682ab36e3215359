"""Starting, holding and ending gateways, with small programs in their place."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.gateway import compare, kernel
from bench.gateway.compare import Comparison, Plan
from bench.gateway.compiled import Missing
from bench.gateway.install import Installed
from bench.gateway.peers import PEERS, Peer, Place
from bench.gateway.runner import Bench, Cores, Failed, ask, free_port

ANSWERS = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(int(sys.argv[2])); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Program:
    """A source whose program is this Python."""

    def install(self, cache: Path) -> Installed:
        return Installed(Path(sys.executable), "1.0")


def peer(code: str, *more: str, seconds: float = 10.0) -> Peer:
    def arguments(place: Place) -> list[str]:
        return ["-c", code, str(place.port), *more]

    base = replace(PEERS[0], name="small", title="Small", files=lambda place: {}, uses_stores=False)
    return replace(base, arguments=arguments, start_seconds=seconds)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    before = os.sched_getaffinity(0)
    yield Bench(tmp_path, Path("load"), Path("upstream"), Cores.of_this_machine(), 1024)
    os.sched_setaffinity(0, before)


def state(process: int) -> str:
    """The kernel's letter; T is stopped."""
    return (kernel.PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[0]


def test_a_gateway_is_started_on_its_core_and_measured_until_its_first_answer(bench: Bench):
    installed = Installed(Path(sys.executable), "1.0")
    server = bench.start(peer(ANSWERS, "200"), installed, engine=1)
    try:
        assert os.sched_getaffinity(server.root) == {bench.cores.gateway}
        assert 0 < server.start_seconds < 10
        server.hold()
        until = time.monotonic() + 5
        while state(server.root) != "T" and time.monotonic() < until:
            time.sleep(0.01)
        assert state(server.root) == "T"
        server.go_on()
        assert ask(server.port, b"{}") == 200
    finally:
        server.end()
    assert ask(server.port, b"{}") == 0
    assert server.process.returncode == -signal.SIGTERM


def test_a_gateway_that_ends_at_once_fails_with_its_last_words(bench: Bench):
    with pytest.raises(Failed, match="it ended: no such option"):
        bench.start(peer("raise SystemExit('no such option')"), Installed(Path(sys.executable), "1"), engine=1)


def test_a_gateway_that_answers_errors_fails_with_the_status(bench: Bench):
    with pytest.raises(Failed, match="not ready after 1 s: it answers 503"):
        bench.start(peer(ANSWERS, "503", seconds=1.0), Installed(Path(sys.executable), "1"), engine=1)


def test_two_ports_beside_each_other_are_free():
    port = free_port()
    for one in (port, port + 1):
        with socket.socket() as wire:
            wire.bind(("127.0.0.1", one))


def test_an_answer_that_is_no_http_has_no_status():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            wire, _ = listener.accept()
            with wire:
                wire.recv(4096)
                wire.sendall(b"hello\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask(listener.getsockname()[1], b"{}") == 0
        thread.join()


class Nowhere:
    """A source that has nothing."""

    def install(self, cache: Path) -> Installed:
        raise Missing("not to be had")


def test_a_gateway_that_cannot_be_installed_is_reported_with_its_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    absent = replace(peer(""), source=Nowhere())
    comparison = Comparison(bench, [absent], Plan(rounds=0))
    monkeypatch.setattr(compare, "stores", nothing_there)
    monkeypatch.setattr(Comparison, "_measure", lambda self: None)
    comparison.run(tmp_path)
    assert comparison.missing == {"Small": "not to be had"}
    assert comparison.measured() == []
    assert comparison.off.endswith("no PostgreSQL")


def test_a_gateway_that_never_started_is_missing_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    broken = replace(peer("raise SystemExit('bad file')"), source=Program())
    comparison = Comparison(bench, [broken], Plan(rounds=1))
    monkeypatch.setattr(compare, "stores", nothing_there)
    monkeypatch.setattr(Comparison, "_measure", lambda self: self._begin(broken, {}, 1))
    comparison.run(tmp_path)
    assert comparison.missing == {"Small": "it ended: bad file"}


def nothing_there(folder: Path) -> None:
    raise Missing("no PostgreSQL")
