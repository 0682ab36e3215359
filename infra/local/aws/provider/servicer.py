"""The gRPC face of the provider: Pulumi's messages in, the engine's answers out."""

from __future__ import annotations

import functools
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from infra.local.aws.provider import calls
from infra.local.aws.provider import config as settings
from infra.local.aws.provider.check import Request
from infra.local.aws.provider.clients import Clients, RefusedError, local_endpoint
from infra.local.aws.provider.compare import Difference
from infra.local.aws.provider.engine import Engine, HalfDoneError, explain
from infra.local.aws.provider.invokes import UnknownInvokeError, invoke
from infra.local.aws.provider.row import NotDoneError
from infra.local.aws.provider.table import UnknownTypeError, find_row
from infra.local.aws.provider.values import UNKNOWN, from_struct, to_struct

VERSION = "7.51.1"

_KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class NotConfiguredError(RuntimeError):
    """A call that needs AWS came before Configure."""


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns what a method raises into one sentence for the user, with the resource's type in front."""

    @functools.wraps(method)
    def call(self: Servicer, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except HalfDoneError as error:
            _abort_half_done(context, error)
        except (UnknownTypeError, UnknownInvokeError, RefusedError, NotConfiguredError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception as error:  # noqa: BLE001  the boundary: every failure must reach the user as a message
            if not hasattr(error, "response") and not isinstance(error, NotDoneError):
                traceback.print_exc(file=sys.stderr)
            context.abort(grpc.StatusCode.UNKNOWN, f"{_subject(request)}{explain(error)}")

    return call


def _subject(request: Any) -> str:
    urn = getattr(request, "urn", "")
    if not urn:
        return ""
    return (
        f"{urn.split('::')[2].rsplit('$', 1)[-1]}: {request.id if getattr(request, 'id', '') else urn.split('::')[3]}: "
    )


class _HalfDoneStatus(grpc.Status):
    def __init__(self, details: str, status: bytes) -> None:
        self.code = grpc.StatusCode.UNKNOWN
        self.details = details
        self.trailing_metadata = (("grpc-status-details-bin", status),)


def _abort_half_done(context: grpc.ServicerContext, error: HalfDoneError) -> NoReturn:
    """Tells the engine that the resource exists, so that it is kept in the state and finished by the next update."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.resource_id,
        properties=to_struct(error.state),
        inputs=to_struct(error.inputs),
        reasons=[error.reason],
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=error.reason)
    status.details.add().Pack(detail)
    context.abort_with_status(_HalfDoneStatus(error.reason, status.SerializeToString()))
    raise AssertionError("abort_with_status always raises")


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Package `aws`. `environment` names the endpoint (AWS_ENDPOINT_URL), which must be on this machine."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._cancelled = threading.Event()
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise NotConfiguredError("the provider `aws` is not configured: its configuration is not known yet")
        return self._engine

    @_answers
    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  names of the protocol, here and below
        return plugin_pb2.PluginInfo(version=VERSION)

    @_answers
    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        failures = [
            provider_pb2.CheckFailure(
                property=key,
                reason=f'aws: provider setting "{key}" is not supported by the local provider; '
                f"supported: {', '.join(sorted(settings.EFFECTIVE | settings.HARMLESS))}",
            )
            for key in settings.unknown_keys(from_struct(request.news))
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @_answers
    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        old, new = from_struct(request.old_inputs), from_struct(request.news)
        paths = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        return _diff_response(tuple(Difference(path, "update", replace=False) for path in paths))

    @_answers
    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        news = from_struct(request.args)
        if news.get("region") is not UNKNOWN:
            config = settings.parse(news)
            clients = Clients(local_endpoint(self._environment), calls.from_environment(self._environment))
            account = clients.get("sts", config.region).get_caller_identity()["Account"]
            if refusal := config.refusal(account):
                raise RefusedError(refusal)
            self._engine = Engine(clients, config.region, account, config.default_tags, self._cancelled)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True,
            supportsPreview=True,
            acceptResources=False,
            acceptOutputs=False,
            supports_autonaming_configuration=True,
        )

    @_answers
    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs, failures = self.engine.check(
            Request(
                row=find_row(_type(request)),
                name=request.name or request.urn.split("::")[-1],
                urn=request.urn,
                olds=from_struct(request.olds),
                news=from_struct(request.news),
                seed=request.randomSeed,
                proposed=request.autonaming.proposed_name,
                mode=request.autonaming.mode,
                default_tags=self.engine.default_tags,
            )
        )
        return provider_pb2.CheckResponse(
            inputs=to_struct(inputs),
            failures=[provider_pb2.CheckFailure(property=it.property, reason=it.reason) for it in failures],
        )

    @_answers
    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = from_struct(request.olds)
        old_inputs = from_struct(request.old_inputs) if request.HasField("old_inputs") else state
        diff = self.engine.diff(find_row(_type(request)), old_inputs, state, from_struct(request.news))
        return _diff_response(diff.entries, diff.replaces, diff.delete_before_replace, diff.stables)

    @_answers
    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        row = find_row(_type(request))
        made, state = self.engine.create(row, from_struct(request.properties), preview=request.preview)
        return provider_pb2.CreateResponse(id=made, properties=to_struct(state))

    @_answers
    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        row = find_row(_type(request))
        inputs, state = from_struct(request.inputs), from_struct(request.properties)
        found, state, inputs = self.engine.read(row, request.id, inputs, state)
        if not found:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(id=found, properties=to_struct(state), inputs=to_struct(inputs))

    @_answers
    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = self.engine.update(
            find_row(_type(request)),
            request.id,
            from_struct(request.old_inputs),
            from_struct(request.olds),
            from_struct(request.news),
            preview=request.preview,
        )
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    @_answers
    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.engine.delete(find_row(_type(request)), request.id, from_struct(request.properties))
        return Empty()

    @_answers
    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = invoke(self.engine, request.tok, from_struct(request.args))
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(answer))  # a keyword of Python
        return response

    @_answers
    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._cancelled.set()
        return Empty()


def _type(request: Any) -> str:
    """The type token; older engines send it only inside the URN, behind the parents' types."""
    return request.type or request.urn.split("::")[2].rsplit("$", 1)[-1]


def _diff_response(
    entries: tuple[Difference, ...],
    replaces: tuple[str, ...] = (),
    delete_before_replace: bool = False,
    stables: tuple[str, ...] = (),
) -> Any:
    response = provider_pb2.DiffResponse
    return response(
        changes=response.DIFF_SOME if entries else response.DIFF_NONE,
        diffs=sorted({entry.path.split(".", 1)[0].split("[", 1)[0] for entry in entries}),
        replaces=replaces,
        stables=stables,
        deleteBeforeReplace=delete_before_replace,
        hasDetailedDiff=True,
        detailedDiff={
            entry.path: provider_pb2.PropertyDiff(kind=_KINDS[entry.kind, entry.replace], inputDiff=True)
            for entry in entries
        },
    )
