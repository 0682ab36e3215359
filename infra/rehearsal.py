"""Runs the program without engine, cloud or credentials, and records what it would register.

The answers that a cloud would give are made up from each resource's inputs; a rehearsed preview gives none, as in the
first preview of an empty account. Used by tests, by the golden resource tables and by the bench.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from pulumi.runtime import config as pulumi_config
from pulumi.runtime import mocks as pulumi_mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import ROOT, SETTINGS, _get_rpc_manager, configure, is_dry_run
from pulumi.runtime.stack import run_in_stack

from infra.inventions import invented_answer, invented_outputs

PROJECT = "penstock"
SECRET = "[secret]"  # noqa: S105 - what is shown in place of one
UNKNOWN = "[unknown]"
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - marks a secret on the wire
_UNKNOWN_VALUES = {
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
}
"""The SDK's placeholders for values that are not known yet: text, number, boolean and so on."""


@dataclass(frozen=True)
class Registration:
    """One resource, as the program described it to the engine."""

    type: str
    name: str
    urn: str
    parent: str
    """The parent's URN; the stack's for what stands at the top."""
    inputs: dict[str, Any]
    """Plain data in the wire's camelCase. Secrets read `[secret]`, values not known yet `[unknown]`."""
    protect: bool
    retain_on_delete: bool
    ignore_changes: tuple[str, ...]
    provider: str
    """The provider's URN and id; empty for components."""
    dependencies: frozenset[str]
    custom: bool
    former: frozenset[str] = frozenset()
    """URNs that it had in earlier releases: its aliases, and its parent's."""

    @property
    def parent_name(self) -> str:
        return self.parent.rsplit("::", 1)[-1]


@dataclass(frozen=True)
class Rehearsal:
    registrations: tuple[Registration, ...]
    """Sorted by type and name."""
    outputs: dict[str, Any]
    """The stack's outputs, as far as they are known."""
    seconds: float

    def of_type(self, token: str) -> list[Registration]:
        return [found for found in self.registrations if found.type == token]

    def one(self, token: str, name: str) -> Registration:
        """Raises LookupError where there is no such resource, or more than one."""
        found = [each for each in self.of_type(token) if each.name == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} resources of type {token} named {name}")
        return found[0]


def stack_config(path: Path) -> dict[str, str]:
    """A stack file's configuration as the engine hands it to a program: text, objects as JSON."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
    return {key: _as_text(value) for key, value in config.items()}


def rehearse(
    program: Callable[[], None], config: Mapping[str, str], *, stack: str, preview: bool, project: str = PROJECT
) -> Rehearsal:
    """Runs `program` once, in a context of its own: nothing is left behind for the next run. Raises what it raises."""
    recorder = _Recorder()
    # An output in an f-string must fail here, not at the cloud.
    os.environ.setdefault("PULUMI_ERROR_OUTPUT_STRING", "1")

    def run() -> None:
        pulumi_config.set_all_config(dict(config))
        # As set_mocks does, but without the stack that it makes at once: `run_in_stack` makes the real one.
        settings = pulumi_mocks.MockSettings(
            monitor=recorder,
            monitor_features=set(recorder.GetDeploymentInfo(None).supportedFeatures),
            engine=pulumi_mocks.MockEngine(None),
            project=project,
            stack=stack,
            dry_run=preview,
            organization=None,
            callbacks=None,
        )
        configure(settings)
        ROOT.set(None)
        # A run that failed leaves its unfinished tasks there, whose loop is closed.
        SETTINGS.outputs.clear()
        _get_rpc_manager().clear()
        asyncio.run(run_in_stack(program))

    begun = time.perf_counter()
    with _without_collections():
        contextvars.copy_context().run(run)
    seconds = time.perf_counter() - begun
    registrations = sorted(recorder.registrations, key=lambda each: (each.type, each.name, each.parent))
    return Rehearsal(tuple(registrations), recorder.outputs, seconds)


def rehearse_stack(path: Path, *, preview: bool = False) -> Rehearsal:
    """Penstock's own program under the stack file `Pulumi.<stack>.yaml`."""
    return rehearse(penstock_program(), stack_config(path), stack=path.name.split(".")[1], preview=preview)


def penstock_program() -> Callable[[], None]:
    """Imports the program: about two seconds, most of it pulumi_aws."""
    with _without_collections():
        from infra.program import deploy

    return deploy


@contextmanager
def _without_collections() -> Generator[None]:
    """The SDK makes many small objects that live to the end: looking for garbage takes half of a run (measured)."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


@dataclass
class _Recorder(pulumi_mocks.MockMonitor):
    """Answers in the engine's place. Works on the wire's own values, so that secrets and unknowns pass through."""

    registrations: list[Registration] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    _former_of: dict[str, frozenset[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine does: all types from the top down, and not the stack's."""
        head, project, chain, _ = parent.split("::", 3) if parent else ("", "", "", "")
        if not chain or chain == "pulumi:pulumi:Stack":
            return super().make_urn("", type_, name)
        return f"{head}::{project}::{chain}${type_}::{name}"

    def _former(self, request: Any, urn: str) -> frozenset[str]:
        """As the engine derives them: each alias, and what the parent's former URNs make of it."""
        with self._lock:
            parents = [request.parent, *sorted(self._former_of.get(request.parent, ()))]
        found = {self.make_urn(parent, request.type, request.name) for parent in parents}
        for alias in request.aliases:
            spec = alias.spec
            if alias.urn:
                found.add(alias.urn)
                continue
            above = [""] if spec.noParent else [spec.parentUrn] if spec.parentUrn else parents
            found |= {self.make_urn(parent, spec.type or request.type, spec.name or request.name) for parent in above}
        found.discard(urn)
        with self._lock:
            self._former_of[urn] = frozenset(found)
        return frozenset(found)

    def Invoke(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        response = resource_pb2.ResourceInvokeResponse()
        getattr(response, "return").update(invented_answer(request.tok, _plain(MessageToDict(request.args))))
        return response

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = MessageToDict(request.object)
        registration = Registration(
            type=request.type,
            name=request.name,
            urn=urn,
            parent=request.parent,
            inputs=_plain(inputs),
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            ignore_changes=tuple(request.ignoreChanges),
            provider=request.provider,
            dependencies=frozenset(request.dependencies),
            custom=request.custom,
            former=self._former(request, urn),
        )
        with self._lock:
            self.registrations.append(registration)
        if not request.custom:
            return resource_pb2.RegisterResourceResponse(urn=urn, object=request.object)
        identifier, invented = invented_outputs(request.type, request.name, inputs, preview=bool(is_dry_run()))
        outputs = copy.copy(request.object)
        outputs.update(invented)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identifier or "", object=outputs)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        if "::pulumi:pulumi:Stack::" in request.urn:
            self.outputs.update(_plain(MessageToDict(request.outputs)))
        return super().RegisterResourceOutputs(request)


def _plain(value: Any) -> Any:
    match value:
        case {"4dabf18193072939515e22adb298388d": signature} if signature == _SECRET_SIGNATURE:
            return SECRET
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case str() if value in _UNKNOWN_VALUES:
            return UNKNOWN
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)
