"""`python -m infra.ops.diff.record_aws [ENGINE]`: the provider `aws` without a cloud behind it."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider import config as settings
from infra.local.aws.provider.clients import Clients, RefusedError
from infra.local.aws.provider.engine import Engine
from infra.local.aws.provider.row import Row
from infra.local.aws.provider.servicer import Servicer, _diff_response, _type
from infra.local.aws.provider.table import UnknownTypeError, find_row
from infra.local.aws.provider.values import UNKNOWN, from_struct, to_struct
from infra.local.plugin import serve
from infra.ops.diff import recording

ANY_ACCOUNT = "000000000000"


class NoCloud(Clients):
    """Whatever would call AWS is a mistake of this program."""

    def __init__(self) -> None:
        """Without an endpoint."""

    def get(self, service: str, region: str) -> NoReturn:
        raise RefusedError(f"a diff without credentials cannot ask AWS ({service}, {region})")


class RecordingServicer(Servicer):
    """Checks and compares as the local provider does; creates, updates and deletes nothing."""

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the protocol, here and below
        news = from_struct(request.args)
        if news.get("region") is not UNKNOWN:
            config = settings.parse(news)
            account = next(iter(config.allowed_accounts), ANY_ACCOUNT)
            self._engine = Engine(NoCloud(), config.region, account, config.default_tags, self._cancelled)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        row = _row(request)
        news = from_struct(request.news)
        if row is None:
            return provider_pb2.CheckResponse(inputs=request.news)
        unknown = recording.beyond(row, news)
        if not unknown:
            return super().Check(request, context)
        known = provider_pb2.CheckRequest()
        known.CopyFrom(request)
        known.news.CopyFrom(to_struct({key: value for key, value in news.items() if key not in unknown}))
        checked = super().Check(known, context)
        checked.inputs.CopyFrom(to_struct({**from_struct(checked.inputs), **unknown}))
        return checked

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        row = _row(request)
        old, new = from_struct(request.old_inputs), from_struct(request.news)
        if row is None:
            return _diff_response(tuple(recording.plain_differences(old, new)))
        more = tuple(recording.plain_differences(recording.beyond(row, old), recording.beyond(row, new)))
        if not more:
            return super().Diff(request, context)
        found = self.engine.diff(row, old, from_struct(request.olds), new)
        return _diff_response((*found.entries, *more), found.replaces, found.delete_before_replace, found.stables)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        row, name = _row(request), request.urn.split("::")[-1]
        inputs = from_struct(request.properties)
        if row is None:
            made = {} if request.preview else recording.told_by(_type(request), name, inputs)
            return provider_pb2.CreateResponse(
                id="" if request.preview else f"{name}-id", properties=to_struct({**inputs, **made})
            )
        if request.preview:
            return super().Create(request, context)
        planned = self.engine.planned(row, inputs, None)
        state = recording.recorded(row, name, inputs, planned)
        return provider_pb2.CreateResponse(id=f"{name}-id", properties=to_struct(state))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        row = _row(request)
        if row is None:
            state = {**from_struct(request.olds), **from_struct(request.news)}
            return provider_pb2.UpdateResponse(properties=to_struct(state))
        return super().Update(request, context)

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        answers = {recording.OFFERINGS: recording.all_offered, recording.DATABASES: recording.no_database}
        if request.tok not in answers:
            return super().Invoke(request, context)
        response = provider_pb2.InvokeResponse()
        answer = answers[request.tok](from_struct(request.args))
        getattr(response, "return").CopyFrom(to_struct(answer))  # a keyword of Python
        return response


def _row(request: Any) -> Row | None:
    try:
        return find_row(_type(request))
    except UnknownTypeError:
        return None


def make() -> RecordingServicer:
    return RecordingServicer(os.environ)


if __name__ == "__main__":
    serve(make)
