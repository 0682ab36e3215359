"""Status lines in the engine's display while something is waited for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

SEND_SECONDS = 5.0


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
    """Speaks to the engine at `address`. A line that cannot be delivered is dropped: it is only a courtesy."""

    address: str
    _last: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _engine: engine_pb2_grpc.EngineStub = field(init=False)

    def __post_init__(self) -> None:
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self.address))

    def status(self, urn: str, message: str) -> None:
        with self._lock:
            if self._last.get(urn) == message:
                return
            self._last[urn] = message
        self._send(engine_pb2.LogRequest(severity=engine_pb2.INFO, urn=urn, message=message, ephemeral=True))

    def warn(self, urn: str, message: str) -> None:
        self._send(engine_pb2.LogRequest(severity=engine_pb2.WARNING, urn=urn, message=message))

    def _send(self, line: engine_pb2.LogRequest) -> None:
        self._engine.Log.future(line, timeout=SEND_SECONDS)
