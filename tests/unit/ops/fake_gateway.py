"""A gateway that answers as told, on a port of its own."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.ops.endpoint import Endpoint

KEY = "test-key"


def events(tokens: int = 3, usage: int | None = None, finish: str | None = "stop", done: bool = True) -> list[bytes]:
    """A stream as vLLM frames it; the arguments break it on purpose."""

    def event(content: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({"model": "tiny", **content}).encode() + b"\n\n"

    def choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    sent = [event(choice({"role": "assistant", "content": ""})), b": keep-alive\n\n"]
    sent += [event(choice({"content": f"t{n} "}, finish if n == tokens - 1 else None)) for n in range(tokens)]
    count = tokens if usage is None else usage
    sent.append(event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": count}}))
    return [*sent, b"data: [DONE]\n\n"] if done else sent


@dataclass
class FakeGateway:
    """`stream`, `status` and `reply` may be changed by a test at any time. `colours` are given in turn."""

    url: str = ""
    status: int = 200
    first: list[int] = field(default_factory=list)
    """Statuses of the next answers, before `status`."""
    colours: tuple[str, ...] = ("blue",)
    stream: Callable[[], Iterable[bytes]] = events
    reply: Callable[[], bytes] = lambda: json.dumps(
        {
            "model": "tiny",
            "choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 1},
        }
    ).encode()
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.url, KEY, ("tiny",))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    gateway: FakeGateway

    def handle_error(self, request: object, client_address: object) -> None:
        """Quiet: a client that leaves early is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_GET(self) -> None:
        self._whole(200, json.dumps({"object": "list", "data": [{"id": "tiny"}]}).encode())

    def do_POST(self) -> None:
        gateway = self.server.gateway
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        gateway.requests.append(body)
        if self.headers["authorization"] != f"Bearer {KEY}":
            self._whole(401, b'{"error":{"message":"Incorrect API key.","code":401}}')
        elif (status := gateway.first.pop(0) if gateway.first else gateway.status) != 200:
            self._whole(status, b'{"error":{"message":"No engine is ready.","code":503}}')
        elif body.get("stream"):
            self._stream(gateway.stream())
        else:
            self._whole(200, gateway.reply())

    def _colour(self) -> str:
        gateway = self.server.gateway
        return gateway.colours[len(gateway.requests) % len(gateway.colours)]

    def _whole(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.send_header("x-penstock-colour", self._colour())
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, chunks: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("x-penstock-colour", self._colour())
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
