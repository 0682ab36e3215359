"""The provider's gRPC surface: the engine's requests in, the cluster's answers out."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage  # ty: ignore[import-not-found]
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from infra.local.kubernetes.provider import directives
from infra.local.kubernetes.provider.check import Naming, check
from infra.local.kubernetes.provider.diff import Change, Difference, diff, property_path
from infra.local.kubernetes.provider.errors import CancelledError, ProviderError, UnreachableError
from infra.local.kubernetes.provider.kinds import Kind, UnsupportedTypeError, parse_token
from infra.local.kubernetes.provider.kubeconfig import KubeconfigError
from infra.local.kubernetes.provider.objects import NotReadyError, Reference
from infra.local.kubernetes.provider.outputs import as_inputs, as_outputs, refreshed_inputs
from infra.local.kubernetes.provider.progress import EngineReporter, Reporter, SilentReporter
from infra.local.kubernetes.provider.session import Session
from infra.local.kubernetes.provider.settings import Settings, SettingsError
from infra.local.kubernetes.provider.values import at, decode, encode, has_unknown, plain

VERSION = "4.34.2"
"""Of the SDK (pulumi-kubernetes) whose resources this serves."""

KINDS_OF_CHANGE = {
    (Change.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Change.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Change.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Change.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Change.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Change.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}

CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (UnsupportedTypeError, grpc.StatusCode.UNIMPLEMENTED),
    (SettingsError, grpc.StatusCode.INVALID_ARGUMENT),
    (KubeconfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnreachableError, grpc.StatusCode.UNAVAILABLE),
    (CancelledError, grpc.StatusCode.CANCELLED),
    (ProviderError, grpc.StatusCode.FAILED_PRECONDITION),
)
"""None of them makes the engine believe that an object of unknown state was left behind (INTERNAL and UNKNOWN do)."""


def answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns the errors that are meant for people into gRPC statuses; others stay bugs with a traceback."""

    @functools.wraps(method)
    def answer(self: KubernetesProvider, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except (ProviderError, UnsupportedTypeError, SettingsError, KubeconfigError) as error:
            context.abort(next(code for kind, code in CODES if isinstance(error, kind)), str(error))

    return answer


class KubernetesProvider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider process. Requests come from many threads at once."""

    def __init__(self, reporter: Reporter | None = None) -> None:
        self.cancelled = threading.Event()
        self.session = Session(cancelled=self.cancelled)
        self.reporter: Reporter = reporter or SilentReporter()

    def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802 - the protocol's names
        return plugin_pb2.PluginInfo(version=VERSION)

    def Attach(self, request: Any, context: Any) -> Empty:  # noqa: N802
        self.reporter = EngineReporter(request.address)
        return Empty()

    def Cancel(self, request: Any, context: Any) -> Empty:  # noqa: N802
        self.cancelled.set()
        return Empty()

    @answering
    def CheckConfig(self, request: Any, context: Any) -> provider_pb2.CheckResponse:  # noqa: N802
        news = decode(request.news)
        try:
            Settings.parse({key: value for key, value in news.items() if not has_unknown(value)})
        except SettingsError as error:
            return provider_pb2.CheckResponse(failures=[provider_pb2.CheckFailure(reason=str(error))])
        return provider_pb2.CheckResponse(inputs=request.news)

    @answering
    def DiffConfig(self, request: Any, context: Any) -> provider_pb2.DiffResponse:  # noqa: N802
        """Only another cluster replaces the provider, and with it every object; never a kubeconfig's bytes."""
        old = plain(decode(request.old_inputs if request.old_inputs.fields else request.olds))
        new = plain(decode(request.news))
        before, after = old.get("clusterIdentifier"), new.get("clusterIdentifier")
        another = bool(before and after) and not has_unknown(after) and before != after
        changed = sorted(key for key in {*old, *new} - {"version"} if old.get(key) != new.get(key))
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=["clusterIdentifier"] if another else [],
        )

    @answering
    def Configure(self, request: Any, context: Any) -> provider_pb2.ConfigureResponse:  # noqa: N802
        arguments: Mapping[str, Any] = decode(request.args) if request.HasField("args") else {}
        if not arguments:
            arguments = {key.rpartition(":")[2]: value for key, value in request.variables.items()}
        known = {key: value for key, value in arguments.items() if not has_unknown(value)}
        self.session = Session.configure(known, self.cancelled)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @answering
    def Check(self, request: Any, context: Any) -> provider_pb2.CheckResponse:  # noqa: N802
        kind = _kind(request)
        news = decode(request.news)
        self.session.scopes.learn(kind, news)
        placed = at(news, "metadata", "namespace") is not None
        discovery = self.session.objects.discovery if self.session.access and not placed else None
        checked = check(
            kind,
            decode(request.olds),
            news,
            _naming(request),
            namespaced=self.session.scopes.namespaced(kind, discovery),
            default_namespace=self.session.default_namespace,
        )
        failures = [provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in checked.failures]
        return provider_pb2.CheckResponse(inputs=encode(checked.inputs), failures=failures)

    @answering
    def Diff(self, request: Any, context: Any) -> provider_pb2.DiffResponse:  # noqa: N802
        difference = diff(
            _kind(request),
            decode(request.old_inputs),
            decode(request.news),
            decode(request.olds),
            self.session.settings,
        )
        return _diff_response(difference)

    @answering
    def Create(self, request: Any, context: Any) -> provider_pb2.CreateResponse:  # noqa: N802
        kind, inputs = _kind(request), decode(request.properties)
        if request.preview:
            outputs = self.session.preview.create(kind, inputs, self._warn(request))
            return provider_pb2.CreateResponse(properties=encode(outputs))
        seconds = directives.timeout_seconds(inputs, request.timeout)
        try:
            live = self.session.objects.create(kind, inputs, seconds, self._status(request))
        except NotReadyError as error:
            _not_ready(context, kind, error, inputs)
        return provider_pb2.CreateResponse(id=_identifier(live), properties=encode(as_outputs(kind, live, inputs)))

    @answering
    def Update(self, request: Any, context: Any) -> provider_pb2.UpdateResponse:  # noqa: N802
        kind, inputs = _kind(request), decode(request.news)
        if request.preview:
            outputs = self.session.preview.update(kind, inputs, self._warn(request), list(request.ignoreChanges))
            return provider_pb2.UpdateResponse(properties=encode(outputs))
        seconds = directives.timeout_seconds(inputs, request.timeout)
        try:
            ignored = list(request.ignoreChanges)
            live = self.session.objects.update(kind, inputs, seconds, self._status(request), ignored)
        except NotReadyError as error:
            _not_ready(context, kind, error, inputs)
        return provider_pb2.UpdateResponse(properties=encode(as_outputs(kind, live, inputs)))

    @answering
    def Read(self, request: Any, context: Any) -> provider_pb2.ReadResponse:  # noqa: N802
        kind, inputs = _kind(request), decode(request.inputs)
        try:
            live = self.session.objects.read(kind, Reference.parse(request.id))
        except UnreachableError as error:
            if not self.session.settings.delete_unreachable:
                raise
            self.reporter.warn(request.urn, f"{error}; taken for gone, as deleteUnreachable says")
            live = None
        if live is None:
            return provider_pb2.ReadResponse()
        seen = refreshed_inputs(kind, live, inputs) if inputs else as_inputs(kind, live)
        outputs = as_outputs(kind, live, inputs)
        if inputs:
            state = self.session.objects.readiness(kind, live, inputs)
            if not state.done:
                reason = f"{kind.kind} {_identifier(live)}: {state.failure or state.message}"
                _not_ready(context, kind, NotReadyError(live, reason), inputs, seen)
        return provider_pb2.ReadResponse(id=_identifier(live), properties=encode(outputs), inputs=encode(seen))

    @answering
    def Delete(self, request: Any, context: Any) -> Empty:  # noqa: N802
        kind = _kind(request)
        inputs = decode(request.old_inputs) or decode(request.properties)
        seconds = directives.timeout_seconds(inputs, request.timeout)
        try:
            self.session.objects.delete(kind, Reference.parse(request.id), inputs, seconds, self._status(request))
        except UnreachableError as error:
            if not self.session.settings.delete_unreachable:
                raise
            self.reporter.warn(request.urn, f"{error}; forgotten, as deleteUnreachable says")
        return Empty()

    def Invoke(self, request: Any, context: Any) -> None:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"function {request.tok} is not supported by the local provider")

    def Call(self, request: Any, context: Any) -> None:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"method {request.tok} is not supported by the local provider")

    def Construct(self, request: Any, context: Any) -> None:  # noqa: N802
        message = f"{request.type} is not supported by the local provider: declare its objects one by one"
        context.abort(grpc.StatusCode.UNIMPLEMENTED, message)

    def _status(self, request: Any) -> Callable[[str], None]:
        return functools.partial(self.reporter.status, request.urn)

    def _warn(self, request: Any) -> Callable[[str], None]:
        return functools.partial(self.reporter.warn, request.urn)


def _kind(request: Any) -> Kind:
    """The request's kind; engines before 3.1xx send the URN only (urn:pulumi:stack::project::parents$type::name)."""
    return parse_token(request.type or request.urn.split("::")[2].rpartition("$")[2])


def _naming(request: Any) -> Naming:
    logical = request.name or request.urn.rpartition("::")[2]
    options = provider_pb2.CheckRequest.AutonamingOptions
    if not request.HasField("autonaming"):
        return Naming(logical, request.randomSeed)
    return Naming(
        logical,
        request.randomSeed,
        proposed=request.autonaming.proposed_name,
        disabled=request.autonaming.mode == options.Mode.DISABLE,
    )


def _identifier(live: Mapping[str, Any]) -> str:
    return str(Reference.of(live))


def _diff_response(difference: Difference) -> provider_pb2.DiffResponse:
    if not difference.changes:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE, hasDetailedDiff=True)
    detailed = {
        property_path(path): provider_pb2.PropertyDiff(kind=KINDS_OF_CHANGE[change], inputDiff=True)
        for path, change in difference.changes.items()
    }
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME,
        diffs=sorted({str(path[0]) for path in difference.changes}),
        replaces=sorted(property_path(path) for path, (_, replace) in difference.changes.items() if replace),
        deleteBeforeReplace=difference.delete_before_replace,
        detailedDiff=detailed,
        hasDetailedDiff=True,
    )


def _not_ready(
    context: grpc.ServicerContext,
    kind: Kind,
    error: NotReadyError,
    inputs: Mapping[str, Any],
    seen: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Tells the engine that the object exists but is not ready: it is kept in state and waited for next time."""
    detail = AnyMessage()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=_identifier(error.live),
            properties=encode(as_outputs(kind, error.live, inputs)),
            reasons=error.reasons,
            inputs=encode(seen if seen is not None else inputs),
        )
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, str(error))
    raise AssertionError("abort does not return")
