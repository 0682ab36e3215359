"""Sends spans to a collector: OTLP over HTTP, in protobuf, by a thread, in batches, bounded.

The messages are OpenTelemetry's own (3 MB, 20 ms, imported by the thread). Its SDK and HTTP exporter would bring two MB
more, `requests`, and a queue with a lock that the hot path takes; what they would do here is this file.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from app.gateway.metrics import version

if TYPE_CHECKING:
    from app.gateway.trace.span import Done, Value
    from app.gateway.trace.tracer import Tracer

MOST_IN_BATCH = 256
TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = (0.5, 1.0, 2.0)
RETRIED = frozenset({429, 502, 503, 504})
"""Statuses after which OTLP lets a client send again."""


class Exporter:
    """`submit` is quick and never blocks. Beyond `most_waiting` requests new ones are dropped and counted."""

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str],
        resource: dict[str, Value],
        most_waiting: int,
        seconds: float,
        on_result: Callable[[str, int], None],
    ) -> None:
        parts = urlsplit(endpoint)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        path = parts.path.rstrip("/")
        self._path = path if path.endswith("/v1/traces") else f"{path}/v1/traces"
        self._headers = {"content-type": "application/x-protobuf", **headers}
        self._resource = resource
        self._most_waiting = most_waiting
        self._seconds = seconds
        self._on_result = on_result
        self._waiting: queue.SimpleQueue[list[Done] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def submit(self, spans: list[Done]) -> None:
        if self._waiting.qsize() >= self._most_waiting:
            self._on_result("dropped", len(spans))
            return
        self._waiting.put(spans)

    def _run(self) -> None:
        from app.gateway.trace.messages import encode

        ended = False
        while not ended:
            first = self._waiting.get()
            batch = [first]
            until = time.monotonic() + self._seconds
            while batch[-1] is not None and len(batch) < MOST_IN_BATCH and not self._stop.is_set():
                try:
                    batch.append(self._waiting.get(timeout=max(until - time.monotonic(), 0.0)))
                except queue.Empty:
                    break
            while len(batch) < MOST_IN_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get())
            ended = None in batch and self._waiting.empty()
            spans = [span for request in batch if request is not None for span in request]
            if spans:
                self._send(encode(spans, self._resource), len(spans))
        if self._connection is not None:
            self._connection.close()

    def _send(self, body: bytes, spans: int) -> None:
        for wait in (*RETRY_SECONDS, None):
            status, rejected = self._post(body)
            if 200 <= status < 300:
                self._on_result("exported", spans - rejected)
                if rejected:
                    self._on_result("failed", rejected)
                return
            if (status and status not in RETRIED) or wait is None or self._stop.wait(wait):
                break
        self._on_result("failed", spans)

    def _post(self, body: bytes) -> tuple[int, int]:
        """The collector's status (0: it was not reached), and how many spans it rejected."""
        from app.gateway.trace.messages import rejected

        try:
            if self._connection is None:
                if self._secure:
                    context = ssl.create_default_context()
                    self._connection = http.client.HTTPSConnection(
                        self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
                    )
                else:
                    self._connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            self._connection.request("POST", self._path, body, self._headers)
            reply = self._connection.getresponse()
            content = reply.read(64 * 1024)
            if reply.will_close or not reply.isclosed():
                self._disconnect()
            return reply.status, rejected(content) if 200 <= reply.status < 300 else 0
        except (OSError, http.client.HTTPException):
            self._disconnect()
            return 0, 0

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self, seconds: float = 2.0) -> None:
        """Sends what waits, within the time given."""
        self._stop.set()
        self._waiting.put(None)
        self._thread.join(seconds)


def read_headers(text: str) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: `name=value,name=value`, percent-encoded. Raises ValueError."""
    headers: dict[str, str] = {}
    for pair in text.split(","):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError("it must be name=value pairs with commas between them")
        headers[unquote(name.strip()).lower()] = unquote(value.strip())
    return headers


def attach(tracer: Tracer, colour: str, headers: Mapping[str, str]) -> None:
    """Gives a tracer its exporter, where its settings name a collector."""
    config = tracer.config
    if config.endpoint is None:
        return
    resource: dict[str, Value] = {
        "service.name": "penstock-gateway",
        "service.version": version(),
        "service.instance.id": socket.gethostname(),
        "deployment.environment.name": colour,
    }
    tracer.exporter = Exporter(
        config.endpoint,
        headers=headers,
        resource=resource,
        most_waiting=config.most_waiting,
        seconds=config.export_seconds,
        on_result=tracer.count,
    )
