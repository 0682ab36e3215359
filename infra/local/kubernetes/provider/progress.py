"""Status lines in the engine's display while something is waited for."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from typing import Protocol

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

SEND_SECONDS = 5.0
MOST_WAITING = 256
"""Lines kept for an engine that is slow to take them."""


class Reporter(Protocol):
    def status(self, urn: str, message: str) -> None:
        """Shows a line beside the resource until the next one comes."""

    def warn(self, urn: str, message: str) -> None:
        """Adds a warning to the resource's diagnostics."""


class SilentReporter:
    """Where no engine listens."""

    def status(self, urn: str, message: str) -> None:
        del urn, message

    def warn(self, urn: str, message: str) -> None:
        del urn, message


@dataclass
class EngineReporter:
    """Speaks to the engine at `address`, from a thread of its own. A line that cannot be delivered is dropped."""

    address: str
    _last: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: queue.Queue[engine_pb2.LogRequest] = field(default_factory=lambda: queue.Queue(MOST_WAITING))

    def __post_init__(self) -> None:
        threading.Thread(target=self._deliver, name="progress", daemon=True).start()

    def status(self, urn: str, message: str) -> None:
        with self._lock:
            if self._last.get(urn) == message:
                return
            self._last[urn] = message
        self._send(engine_pb2.LogRequest(severity=engine_pb2.INFO, urn=urn, message=message, ephemeral=True))

    def warn(self, urn: str, message: str) -> None:
        self._send(engine_pb2.LogRequest(severity=engine_pb2.WARNING, urn=urn, message=message))

    def _send(self, line: engine_pb2.LogRequest) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(line)

    def _deliver(self) -> None:
        engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self.address))
        while True:
            line = self._waiting.get()
            with contextlib.suppress(grpc.RpcError):
                engine.Log(line, timeout=SEND_SECONDS)
