"""`python -m infra.local.aws.provider [ENGINE]`: serves the provider to one Pulumi command; prints its port alone."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from infra.local.aws.provider.servicer import Servicer

MESSAGE_BYTES = 64 * 1024 * 1024
THREADS = 32
"""Pulumi's engine sends as many operations at a time as `--parallel` says, 16 by default."""


def main() -> None:
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(os.environ), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def _leave(number: int, frame: FrameType | None) -> None:
    # Pulumi ends plug-ins with a signal and waits for them: ending threads and connections in order would take seconds.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
