"""The simulated engine as a process: refused connections while it loads, the drain of vLLM 0.32, exits."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.settings.drain import breaches

ROOT = Path(__file__).parents[2]


@contextmanager
def process(*flags: str, wait: bool = True, **settings: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A real engine process on a free port, killed in the end if it is still there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PENSTOCK_SIM_")}
    environment |= {"PENSTOCK_SIM_LOAD_SECONDS": "0", "PENSTOCK_SIM_TEARDOWN_SECONDS": "0.05"}
    environment |= {f"PENSTOCK_SIM_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "app.engine", "serve", "./tiny", "--served-model-name", "tiny", *flags]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "4096"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            if wait:
                until_healthy(port)
            yield child, port
        finally:
            child.kill()


def until_healthy(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if status(port, "/health") == 200:
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("the engine did not come up")


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def chat(port: int, tokens: int) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Opens a stream of so many tokens."""
    messages = [{"role": "user", "content": "Tell me about the drain"}]
    body = {"model": "tiny", "messages": messages, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    return connection, connection.getresponse()


def test_connections_are_refused_until_the_engine_is_loaded() -> None:
    with process(wait=False, load_seconds="0.6") as (child, port):
        assert child.stdout is not None
        assert "simulated" in child.stdout.readline()  # the process runs and has bound its port
        with pytest.raises(ConnectionRefusedError):
            status(port, "/health")
        until_healthy(port)
        assert status(port, "/v1/models") == 200


def test_a_drain_finishes_the_open_stream_and_refuses_new_work() -> None:
    with process("--shutdown-timeout", "20", decode_tokens_per_second="100") as (child, port):
        connection, stream = chat(port, 150)
        assert stream.readline().startswith(b"data: ")
        child.send_signal(signal.SIGTERM)
        assert child.stdout is not None
        assert any("Shutting down" in line for line in child.stdout)
        refused, answer = chat(port, 5)
        assert answer.status == 500
        error = json.loads(answer.read())["error"]
        assert error == {
            "message": "cannot schedule new futures after shutdown",
            "type": "InternalServerError",
            "param": None,
            "code": 500,
        }
        refused.close()
        assert status(port, "/health") == 200, "readiness does not show the drain"
        assert status(port, "/v1/models") == 200
        events = [line for line in stream.read().split(b"\n\n") if line]
        connection.close()
        assert events[-1] == b"data: [DONE]"
        assert len(events) == 150 + 1, "150 tokens and [DONE]; the role event was read before"
        assert child.wait(30) == 0


def test_a_drain_ends_at_its_time_out() -> None:
    with process("--shutdown-timeout", "0.3", decode_tokens_per_second="50") as (child, port):
        connection, stream = chat(port, 1000)
        assert stream.readline().startswith(b"data: ")
        started = time.monotonic()
        child.send_signal(signal.SIGTERM)
        events = [line for line in stream.read().split(b"\n\n") if line]
        connection.close()
        assert len(events) < 1000, "the stream would take 20 s"
        assert json.loads(events[-2][6:])["error"]["code"] == 500
        assert child.wait(30) == 0
        assert time.monotonic() - started > 0.3, "at its time-out, and not before"


def leave(child: subprocess.Popen[str], drain: Mapping[str, int]) -> int | None:
    """What the kubelet does: sleep in preStop, SIGTERM, and SIGKILL at the end of the grace. None: it was killed."""
    kill_at = time.monotonic() + drain["grace_seconds"]
    time.sleep(drain["pre_stop_seconds"])
    child.send_signal(signal.SIGTERM)
    try:
        return child.wait(kill_at - time.monotonic())
    except subprocess.TimeoutExpired:
        child.kill()
        return None


@pytest.mark.parametrize(("grace", "holds"), [(9, True), (2, False)])
def test_a_stream_ends_within_the_contract_and_is_cut_where_the_contract_is_broken(grace: int, holds: bool) -> None:
    drain = {"pre_stop_seconds": 1, "engine_shutdown_seconds": 2, "grace_seconds": grace}
    found = breaches(
        **drain,
        gateway_shutdown_seconds=1,
        deregistration_delay_seconds=3,
        probe_period_seconds=1,
        probe_failures=1,
        spot=True,
    )
    assert (found == []) is holds
    slow = process("--shutdown-timeout", "2", decode_tokens_per_second="100", teardown_seconds="0.5")
    with slow as (child, port):
        # 1 s in preStop and 1.6 s after SIGTERM: longer than a broken grace, shorter than what the engine may take.
        connection, stream = chat(port, 260)
        assert stream.readline().startswith(b"data: ")
        ended = leave(child, drain)
        if holds:
            assert ended == 0
            assert stream.read().endswith(b"data: [DONE]\n\n")
        else:
            assert ended is None
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                stream.read()
        connection.close()


def test_without_a_time_out_what_is_under_way_is_aborted() -> None:
    with process(decode_tokens_per_second="50") as (child, port):
        connection, stream = chat(port, 1000)
        assert stream.readline().startswith(b"data: ")
        child.send_signal(signal.SIGTERM)
        assert b'"error"' in stream.read()
        connection.close()
        assert child.wait(30) == 0


def test_a_crash_cuts_the_stream() -> None:
    with process(crash_after_tokens="10", decode_tokens_per_second="200") as (child, port):
        connection, stream = chat(port, 100)
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            stream.read()
        connection.close()
        assert child.wait(30) == 1


def test_a_port_in_use_is_one_clear_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "app.engine", "serve", "m", "--host", "127.0.0.1", "--port", str(port)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert f"cannot bind 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_process_is_small() -> None:
    with process() as (child, port):
        status(port, "/metrics")
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        (resident,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    assert resident < 45_000, "six of them run on a machine of two cores"
