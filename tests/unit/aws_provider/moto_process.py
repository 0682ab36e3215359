"""Serves the embedded AWS's APIs without their data planes; prints its port. Run as a script, from the checkout."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any


def main() -> None:
    os.environ.update(
        {
            "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
            "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
            "MOTO_ACM_VALIDATION_WAIT": "0",
        }
    )
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from infra.local.aws.front import Front
    from infra.local.aws.moto.extensions import Extensions

    class Quiet(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    extensions = Extensions()

    def create_app(service: Any) -> Any:
        extensions.install(service)
        return create_backend_app(service)

    logging.disable()
    front = Front(DomainDispatcherApplication(create_app), {}, logging.getLogger("requests"))
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # ends with the tests, however they end


if __name__ == "__main__":
    sys.exit(main())
