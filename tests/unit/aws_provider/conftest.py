"""One embedded AWS (without data planes) for all tests of this folder, and a configured plug-in that uses it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider.servicer import Servicer
from infra.local.aws.provider.values import Values, from_struct, to_struct

CHECKOUT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("moto_process.py")
REGION = "eu-central-1"


class AbortedError(Exception):
    def __init__(self, message: str, metadata: tuple[tuple[str, Any], ...] = ()) -> None:
        super().__init__(message)
        self.metadata = dict(metadata)


class Context:
    """What a method of the servicer needs of a gRPC context."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise AbortedError(details)

    def abort_with_status(self, status: Any) -> NoReturn:
        raise AbortedError(status.details, status.trailing_metadata)


@dataclass
class Made:
    """A resource as Pulumi's engine keeps it in a stack's state."""

    kind: str
    name: str
    id: str
    inputs: Values
    state: Values

    def __getitem__(self, output: str) -> Any:
        return self.state[output]


@dataclass
class Plugin:
    """Speaks to the servicer as Pulumi's engine does."""

    servicer: Servicer
    context: Context = field(default_factory=Context)

    def _named(self, kind: str, name: str) -> dict[str, Any]:
        return {"urn": f"urn:pulumi:test::penstock::{kind}::{name}", "type": kind, "name": name}

    def check(self, kind: str, name: str, inputs: Mapping[str, Any], olds: Values | None = None, **more: Any) -> Any:
        request = provider_pb2.CheckRequest(
            **self._named(kind, name), olds=to_struct(olds or {}), news=to_struct(inputs), randomSeed=b"seed", **more
        )
        return self.servicer.Check(request, self.context)

    def checked(self, kind: str, name: str, inputs: Mapping[str, Any], olds: Values | None = None) -> Values:
        response = self.check(kind, name, inputs, olds)
        assert not response.failures, [it.reason for it in response.failures]
        return from_struct(response.inputs)

    def preview(self, kind: str, name: str, inputs: Mapping[str, Any]) -> Values:
        request = provider_pb2.CreateRequest(
            **self._named(kind, name), properties=to_struct(self.checked(kind, name, inputs)), preview=True
        )
        return from_struct(self.servicer.Create(request, self.context).properties)

    def create(self, kind: str, name: str, inputs: Mapping[str, Any]) -> Made:
        checked = self.checked(kind, name, inputs)
        request = provider_pb2.CreateRequest(**self._named(kind, name), properties=to_struct(checked))
        response = self.servicer.Create(request, self.context)
        return Made(kind, name, response.id, checked, from_struct(response.properties))

    def diff(self, made: Made, inputs: Mapping[str, Any]) -> Any:
        """The diff of these inputs, which are checked first."""
        news = self.checked(made.kind, made.name, inputs, made.inputs)
        request = provider_pb2.DiffRequest(
            **self._named(made.kind, made.name),
            id=made.id,
            olds=to_struct(made.state),
            old_inputs=to_struct(made.inputs),
            news=to_struct(news),
        )
        return self.servicer.Diff(request, self.context)

    def read(self, made: Made) -> Made | None:
        request = provider_pb2.ReadRequest(
            **self._named(made.kind, made.name),
            id=made.id,
            properties=to_struct(made.state),
            inputs=to_struct(made.inputs),
        )
        response = self.servicer.Read(request, self.context)
        if not response.id:
            return None
        inputs, state = from_struct(response.inputs), from_struct(response.properties)
        return Made(made.kind, made.name, response.id, inputs, state)

    def update(self, made: Made, inputs: Mapping[str, Any], *, preview: bool = False) -> Made:
        news = self.checked(made.kind, made.name, inputs, made.inputs)
        request = provider_pb2.UpdateRequest(
            **self._named(made.kind, made.name),
            id=made.id,
            olds=to_struct(made.state),
            old_inputs=to_struct(made.inputs),
            news=to_struct(news),
            preview=preview,
        )
        response = self.servicer.Update(request, self.context)
        return Made(made.kind, made.name, made.id, news, from_struct(response.properties))

    def delete(self, made: Made) -> None:
        request = provider_pb2.DeleteRequest(
            **self._named(made.kind, made.name),
            id=made.id,
            properties=to_struct(made.state),
            old_inputs=to_struct(made.inputs),
        )
        self.servicer.Delete(request, self.context)

    def invoke(self, token: str, arguments: Mapping[str, Any] | None = None) -> Values:
        request = provider_pb2.InvokeRequest(tok=token, args=to_struct(arguments or {}))
        return from_struct(getattr(self.servicer.Invoke(request, self.context), "return"))


def configured(endpoint: str, settings: Mapping[str, Any] | None = None) -> Plugin:
    plugin = Plugin(Servicer({"AWS_ENDPOINT_URL": endpoint}))
    request = provider_pb2.ConfigureRequest(args=to_struct({"region": REGION, **(settings or {})}))
    plugin.servicer.Configure(request, plugin.context)
    return plugin


@contextlib.contextmanager
def embedded_aws() -> Generator[str]:
    """The address of a fresh embedded AWS, which ends with the context."""
    command = [sys.executable, str(SCRIPT)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=CHECKOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The embedded AWS that this folder's tests share."""
    with embedded_aws() as address:
        yield address


@pytest.fixture(scope="session")
def plugin(endpoint: str) -> Plugin:
    return configured(endpoint, {"defaultTags": '{"tags": {"project": "penstock"}}'})
