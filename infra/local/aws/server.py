"""The embedded AWS: `python -m infra.local.aws.server`, in the environment of one local platform.

One process serves the APIs of all services at `Layout.aws_url` (moto with extensions) and keeps the servers behind
their objects: PostgreSQL, Redis, Envoy. Its state is in memory; when it ends, everything that it started ends with it.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import select
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.local.aws.planes.addresses import AddressInUseError, check_free
from infra.local.aws.planes.postgres import remove_abandoned
from infra.local.layout import ACCOUNT, Layout
from infra.local.processes import Processes

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from infra.local.aws.front import Application, Environment, StartResponse

logger = logging.getLogger(__name__)

HEALTH_PATH = "/_penstock/health"
HEAL_SECONDS = 1.0
LOG_BYTES = 5_000_000  # of requests, twice (one file before)


def moto_settings(layout: Layout) -> dict[str, str]:
    """Environment variables that moto reads. Set before it is imported."""
    return {
        "MOTO_PORT": str(urlsplit(layout.aws_url).port),
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_ACM_VALIDATION_WAIT": "1",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    }


@dataclass
class EmbeddedAws:
    """The running server with its planes."""

    server: BaseWSGIServer
    planes: dict[str, Any]
    processes: Processes

    def serve(self) -> None:
        """Serves until `shut_down` is called from another thread."""
        self.server.serve_forever(poll_interval=0.2)

    def heal(self) -> None:
        """Has every plane start again what has ended by itself."""
        for name, plane in self.planes.items():
            try:
                plane.heal()
            except (AddressInUseError, OSError) as error:
                logger.error("the servers of %s cannot be started again: %s", name, error)

    def shut_down(self) -> None:
        self.server.shutdown()

    def close(self) -> None:
        """Ends the planes and every process that they started."""
        self.server.server_close()
        for plane in self.planes.values():
            plane.stop()
        self.processes.stop_all(grace_seconds=5)


def build(layout: Layout) -> EmbeddedAws:
    """Assembles the server and binds its address. Raises AddressInUseError where that is taken.

    moto's classes are extended for this platform: call it once in a process.
    """
    os.environ.update(moto_settings(layout))
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from infra.local.aws.authenticator import Authenticator
    from infra.local.aws.front import Front
    from infra.local.aws.moto.extensions import Extensions
    from infra.local.aws.planes.balancers import Balancers
    from infra.local.aws.planes.caches import Caches
    from infra.local.aws.planes.clusters import Clusters
    from infra.local.aws.planes.databases import Databases

    class QuietHandler(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """The front logs requests, with what they asked for."""

    host, port = str(urlsplit(layout.aws_url).hostname), int(urlsplit(layout.aws_url).port or 80)
    check_free(host, port)
    processes = Processes(layout.logs)
    planes: dict[str, Any] = {
        "rds": Databases(layout, processes),
        "elasticache": Caches(layout, processes),
        "eks": Clusters(layout),
        "elb": Balancers(layout, processes),
    }
    extensions, connected = Extensions(), set()

    def create_app(service: Any) -> Any:
        extensions.install(service)
        if service in planes and service not in connected:
            connected.add(service)
            planes[service].install()
        return create_backend_app(service)

    own: dict[str, Application] = {
        HEALTH_PATH: health,
        urlsplit(layout.authenticator_url).path: Authenticator(layout, lambda: load_account(create_app)),
    }
    front = Front(DomainDispatcherApplication(create_app), own, request_log(layout))
    server = make_server(host, port, front, threaded=True, request_handler=QuietHandler)
    return EmbeddedAws(server, planes, processes)


def load_account(create_app: Any) -> None:
    """Loads the services whose objects the authenticator reads, with their extensions."""
    for service in ("iam", "sts", "eks"):
        create_app(service)


def health(_environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"status": "ok", "account": ACCOUNT}).encode()]


def request_log(layout: Layout) -> logging.Logger:
    """The logger of requests: one line each (service, action, status, time) in a file of bounded size."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        layout.logs / "aws-requests.log", maxBytes=LOG_BYTES, backupCount=1, delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    requests = logging.getLogger("penstock.aws.requests")
    requests.setLevel(logging.INFO)
    requests.propagate = False
    for old in list(requests.handlers):
        requests.removeHandler(old)
        old.close()
    requests.addHandler(handler)
    return requests


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("botocore", "werkzeug", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    layout = Layout.from_environment()
    remove_abandoned()
    try:
        embedded = build(layout)
    except AddressInUseError as error:
        print(f"The embedded AWS cannot start: {error}", file=sys.stderr)
        return 1
    # A pipe and no event: setting an event in a handler may wait for a lock that the interrupted code holds.
    told, tell = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(tell, b"!"))
    serving = threading.Thread(target=embedded.serve, name="serve")
    serving.start()
    print(f"embedded AWS ready at {layout.aws_url}", flush=True)
    while not select.select([told], [], [], HEAL_SECONDS)[0]:
        embedded.heal()
    embedded.shut_down()
    serving.join(timeout=5)
    embedded.close()
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python would take 3 s to pull down moto's millions of objects (measured), and `make down` would wait for it.
    os._exit(status)
