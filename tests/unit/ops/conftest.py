import threading
from collections.abc import Iterator

import pytest

from tests.unit.ops.fake_gateway import FakeGateway, Handler, Server


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    server = Server(("127.0.0.1", 0), Handler)
    server.gateway = FakeGateway(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.gateway
    server.shutdown()
    server.server_close()
    thread.join(2)
