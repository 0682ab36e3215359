"""Serves a Pulumi provider written in Python to one engine: prints its port alone, ends when told or left alone."""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, NoReturn

THREADS = 32
"""The engine sends as many operations at a time as `--parallel` says, 16 by default; some of them wait for long."""

MESSAGE_BYTES = 400 * 1024 * 1024
"""The engine's own bound for messages (pulumi/pulumi sdk/go/common/util/rpcutil)."""

PARENT_CHECK_SECONDS = 2.0


def serve(make: Callable[[], Any]) -> NoReturn:
    """Serves what `make` returns, a ResourceProviderServicer, until SIGINT, SIGTERM or the engine's end."""
    engine = os.getppid()  # before it can know the port, and so before it can be done with this process
    skip_package_code("pulumi", "pulumi.runtime")
    import grpc  # after the line above
    from pulumi.runtime.proto import provider_pb2_grpc

    server = grpc.server(
        ThreadPoolExecutor(THREADS),
        options=[("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(make(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    wait_for_the_end(engine)
    sys.stderr.flush()
    # Threads may be in the middle of a request that takes minutes: the engine does not wait for them.
    os._exit(0)


def skip_package_code(*names: str) -> None:
    """Makes packages importable without running their `__init__`.

    The gRPC stubs live in the Pulumi SDK, which takes 0.3 s and 25 MB to import and is not needed to serve.
    """
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or name in sys.modules:
            continue
        module = ModuleType(name)
        module.__path__ = list(found.submodule_search_locations or ())
        sys.modules[name] = module


def wait_for_the_end(engine: int) -> None:
    """Returns on SIGINT or SIGTERM, or when the engine, the parent process, is gone: killed, it sends none."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    while os.getppid() == engine:
        ready, _, _ = select.select([receiver], [], [], PARENT_CHECK_SECONDS)
        if ready:
            return
