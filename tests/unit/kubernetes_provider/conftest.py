"""A small API server in a thread (discovery, server-side apply, deletion, faults to order) and an engine to drive."""

from __future__ import annotations

import copy
import json
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, status_pb2

from infra.local.kubernetes.provider.client import Patience
from infra.local.kubernetes.provider.pods import Endurance
from infra.local.kubernetes.provider.servicer import KubernetesProvider
from infra.local.kubernetes.provider.values import decode, encode
from infra.local.kubernetes.provider.waiting import Pace

RESOURCES = {
    "/api/v1": {
        "Namespace": ("namespaces", False), "ConfigMap": ("configmaps", True), "Secret": ("secrets", True),
        "Service": ("services", True), "Pod": ("pods", True),
    },
    "/apis/apps/v1": {"Deployment": ("deployments", True), "ReplicaSet": ("replicasets", True)},
    "/apis/apiextensions.k8s.io/v1": {"CustomResourceDefinition": ("customresourcedefinitions", False)},
}  # fmt: skip


def status_object(code: int, message: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, **more}


@dataclass
class FakeCluster:
    """Objects by path. `script` answers a request before the server does: (method, path) -> (code, body) or None."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    served: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=lambda: copy.deepcopy(RESOURCES))
    requests: list[SimpleNamespace] = field(default_factory=list)
    script: Callable[[str, str], Any] = lambda _method, _path: None
    evolve: Callable[[dict[str, Any], int], None] = lambda _live, _reads: None
    reads: dict[str, int] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {"token"})
    resets: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def kubeconfig(self, user: dict[str, Any] | None = None, server: str = "") -> str:
        return json.dumps({
            "clusters": [{"name": "c", "cluster": {"server": server or self.url}}],
            "users": [{"name": "u", "user": user or {"token": "token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        })  # fmt: skip

    def count(self, method: str, part: str = "") -> int:
        return sum(1 for request in self.requests if request.method == method and part in request.path)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if path in self.served:
            listing = [
                {"kind": kind, "name": plural, "namespaced": namespaced}
                for kind, (plural, namespaced) in self.served[path].items()
            ]
            return 200, {"resources": listing}
        if method == "GET":
            return self._get(path, query)
        if method == "PATCH":
            return self._apply(path, query, body)
        if method == "DELETE":
            return self._delete(path)
        return 405, status_object(405, "no such method")

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.rsplit("/", 1)[-1] in ("pods", "replicasets"):
            found = [live for where, live in self.objects.items() if where.startswith(path + "/")]
            wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            chosen = [live for live in found if wanted.items() <= (live["metadata"].get("labels") or {}).items()]
            return 200, {"items": chosen}
        if path not in self.objects:
            return 404, status_object(404, f"{path} not found", reason="NotFound")
        self.reads[path] = self.reads.get(path, 0) + 1
        self.evolve(self.objects[path], self.reads[path])
        return 200, self.objects[path]

    def _apply(self, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        old = self.objects.get(path)
        live = copy.deepcopy(body)
        metadata = live.setdefault("metadata", {})
        kept: dict[str, Any] = (
            old["metadata"] if old else {"uid": str(uuid.uuid4()), "resourceVersion": "0", "generation": 0}
        )
        same_spec = old is not None and old.get("spec") == live.get("spec")
        metadata["uid"] = kept["uid"]
        metadata["resourceVersion"] = str(int(kept["resourceVersion"]) + 1)
        metadata["generation"] = kept["generation"] + (0 if same_spec else 1)
        metadata["managedFields"] = [{"manager": query["fieldManager"]}]
        if old and "status" in old:
            live["status"] = old["status"]
        if "dryRun" not in query:
            self.objects[path] = live
        return 200 if old else 201, live

    def _delete(self, path: str) -> tuple[int, Any]:
        if path not in self.objects:
            return 404, status_object(404, f"{path} not found", reason="NotFound")
        live = self.objects[path]
        if live["metadata"].get("finalizers"):
            live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return 200, live
        del self.objects[path]
        return 200, {"kind": "Status", "status": "Success", "details": {"uid": live["metadata"]["uid"]}}


def _handler(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65536

        def _serve(self) -> None:
            where = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(where.query).items()}
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            with cluster.lock:
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                request = SimpleNamespace(method=self.command, path=where.path, query=query, body=body, token=token)
                cluster.requests.append(request)
                if cluster.resets > 0:
                    cluster.resets -= 1
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                if token not in cluster.tokens:
                    self._send(401, status_object(401, "Unauthorized"))
                    return
                code, answer = cluster.script(self.command, where.path) or cluster.answer(
                    self.command, where.path, query, body
                )
                self._send(code, answer)

        def _send(self, code: int, answer: Any) -> None:
            payload = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the overridden method's name
            pass

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                self.close_connection = True

    return Handler


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    fake = FakeCluster()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()


class Aborted(Exception):  # noqa: N818 - what grpc does to a request
    def __init__(self, code: grpc.StatusCode, message: str, failed: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.failed = failed
        """ErrorResourceInitFailed, where the object exists but is not ready."""


class Context:
    def __init__(self) -> None:
        self.metadata: tuple[tuple[str, bytes], ...] = ()

    def set_trailing_metadata(self, metadata: tuple[tuple[str, bytes], ...]) -> None:
        self.metadata = metadata

    def abort(self, code: grpc.StatusCode, message: str) -> None:
        failed = None
        for key, value in self.metadata:
            assert key == "grpc-status-details-bin"
            failed = provider_pb2.ErrorResourceInitFailed()
            assert status_pb2.Status.FromString(value).details[0].Unpack(failed)
        raise Aborted(code, message, failed)


@dataclass
class Lines:
    """What the engine would display."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def status(self, urn: str, message: str) -> None:
        assert urn
        self.said.append(message)

    def warn(self, urn: str, message: str) -> None:
        assert urn
        self.warned.append(message)


class Engine:
    """Sends the provider what Pulumi's engine would send. Properties go in and out as plain trees."""

    def __init__(self, **settings: Any) -> None:
        self.lines = Lines()
        self.provider = KubernetesProvider(self.lines)
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        self.call("Configure", provider_pb2.ConfigureRequest(args=encode(settings)))
        if self.provider.session.access is not None:
            objects = self.provider.session.objects
            objects.client.patience = Patience(1, 2, retry_seconds=0.3, first_pause_seconds=0.01)
            objects.waiter.pace = Pace(quick=0.01, calm=0.01, pods=0.0)
            objects.waiter.endurance = Endurance(image=0.1, configuration=0.1, crashes=0.1, scheduling=0.1)
            objects.definition_wait_seconds = objects.settle_seconds = 0.2

    def be_patient(self) -> None:
        """For tests in which the waiting ends well: the machine may be slow."""
        objects = self.provider.session.objects
        objects.client.patience = Patience(2, 5, retry_seconds=10.0, first_pause_seconds=0.01)
        objects.definition_wait_seconds = objects.settle_seconds = 10.0

    def call(self, method: str, request: Any) -> Any:
        return getattr(self.provider, method)(request, Context())

    @staticmethod
    def names(token: str, name: str = "thing") -> dict[str, Any]:
        return {"type": token, "name": name, "urn": f"urn:pulumi:local::penstock::{token}::{name}"}

    def check(self, token: str, news: Any, olds: Any = None, name: str = "thing", **more: Any) -> dict[str, Any]:
        request = provider_pb2.CheckRequest(
            **self.names(token, name), news=encode(news), olds=encode(olds or {}), **more
        )
        response = self.call("Check", request)
        assert not response.failures, [(found.property, found.reason) for found in response.failures]
        return decode(response.inputs)

    def failures(self, token: str, news: Any, **more: Any) -> list[tuple[str, str]]:
        request = provider_pb2.CheckRequest(**self.names(token), news=encode(news), **more)
        return [(found.property, found.reason) for found in self.call("Check", request).failures]

    def diff(self, token: str, old: Any, new: Any, outputs: Any = None) -> Any:
        request = provider_pb2.DiffRequest(
            **self.names(token), old_inputs=encode(old), news=encode(new), olds=encode(outputs or old)
        )
        return self.call("Diff", request)

    def create(self, token: str, inputs: Any, *, preview: bool = False, timeout: float = 0) -> Any:
        request = provider_pb2.CreateRequest(
            **self.names(token), properties=encode(inputs), preview=preview, timeout=timeout
        )
        response = self.call("Create", request)
        return SimpleNamespace(id=response.id, outputs=decode(response.properties))

    def update(self, token: str, identifier: str, news: Any, *, preview: bool = False, timeout: float = 0) -> Any:
        request = provider_pb2.UpdateRequest(
            **self.names(token), id=identifier, news=encode(news), preview=preview, timeout=timeout
        )
        return decode(self.call("Update", request).properties)

    def read(self, token: str, identifier: str, inputs: Any = None) -> Any:
        request = provider_pb2.ReadRequest(**self.names(token), id=identifier, inputs=encode(inputs or {}))
        response = self.call("Read", request)
        return SimpleNamespace(id=response.id, inputs=decode(response.inputs), outputs=decode(response.properties))

    def delete(self, token: str, identifier: str, inputs: Any = None, timeout: float = 0) -> None:
        request = provider_pb2.DeleteRequest(
            **self.names(token), id=identifier, old_inputs=encode(inputs or {}), timeout=timeout
        )
        self.call("Delete", request)


@pytest.fixture
def engine(cluster: FakeCluster) -> Engine:
    """A provider configured for the fake cluster, with short waits."""
    return Engine(kubeconfig=cluster.kubeconfig())


@pytest.fixture
def unconfigured() -> Engine:
    return Engine()


@pytest.fixture
def aborted() -> type[Aborted]:
    return Aborted


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    def wait(ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not ready():
            assert time.monotonic() < deadline, "it did not happen within 5 s"
            time.sleep(0.005)

    return wait
