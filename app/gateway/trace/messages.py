"""Spans as OpenTelemetry's protobuf messages. Imported by the exporting thread alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

if TYPE_CHECKING:
    from app.gateway.trace.span import Done, Value

_KINDS = {"server": Span.SPAN_KIND_SERVER, "client": Span.SPAN_KIND_CLIENT, "internal": Span.SPAN_KIND_INTERNAL}


def encode(spans: list[Done], resource: dict[str, Value]) -> bytes:
    request = ExportTraceServiceRequest()
    whole = request.resource_spans.add()
    whole.resource.attributes.extend(_fields(resource))
    scope = whole.scope_spans.add()
    scope.scope.name = "penstock.gateway"
    scope.spans.extend(_span(span) for span in spans)
    return request.SerializeToString()


def _span(done: Done) -> Span:
    span = Span(
        trace_id=bytes.fromhex(done.trace),
        span_id=bytes.fromhex(done.span),
        parent_span_id=bytes.fromhex(done.parent),
        name=done.name,
        kind=_KINDS[done.kind],
        start_time_unix_nano=done.begun,
        end_time_unix_nano=done.ended,
        attributes=_fields(done.fields),
    )
    if done.error:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = done.error
    for name, at, fields in done.events:
        span.events.add(name=name, time_unix_nano=at, attributes=_fields(fields))
    if done.link is not None:
        span.links.add(trace_id=bytes.fromhex(done.link[0]), span_id=bytes.fromhex(done.link[1]))
    return span


def _fields(fields: dict[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in fields.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(one) for one in value]))
    return AnyValue(string_value=value)


def rejected(reply: bytes) -> int:
    """How many spans a collector's reply says that it did not take."""
    try:
        return ExportTraceServiceResponse.FromString(reply).partial_success.rejected_spans
    except DecodeError:
        return 0
