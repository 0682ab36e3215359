"""A small OTLP collector: takes protobuf over HTTP and decodes it with OpenTelemetry's own messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.gateway.harness import Engine, Request, Wire


def fields(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@dataclass
class Collector:
    """Its `status` is what it answers; 200 takes the spans."""

    status: int = 200
    delay: float = 0.0
    rejects: int = 0
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = Engine(self._answer)

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def _answer(self, request: Request, wire: Wire) -> None:
        self.requests.append(request)
        await asyncio.sleep(self.delay)
        if self.status == 200:
            for whole in ExportTraceServiceRequest.FromString(request.raw).resource_spans:
                self.resources.append(fields(whole.resource.attributes))
                self.spans += [span for scope in whole.scope_spans for span in scope.spans]
        reply = ExportTraceServiceResponse()
        if self.rejects:
            reply.partial_success.rejected_spans = self.rejects
        await wire.raw(self.status, reply.SerializeToString(), "application/x-protobuf")

    def of(self, kind: int) -> list[Span]:
        return [span for span in self.spans if span.kind == kind]
