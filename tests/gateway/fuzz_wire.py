"""The gateway's server protocol without sockets: bytes in, bytes out, and what it would have sent to an engine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, cast

from app.gateway.choose import Sighting
from app.gateway.client import Sink
from app.gateway.pages import Pages
from app.gateway.protocol import Connection, make_config
from app.gateway.service import Service
from tests.gateway.harness import KEY, KeptLog, key_file
from tests.gateway.harness import make_config as gateway_config


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.closed = self.ended = False

    def write(self, data: Any) -> None:
        assert not self.ended, "written after the end of the output"
        if not self.closed:
            self.out += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default


class Upstream:
    """Stands for a connection to an engine."""

    def __init__(self) -> None:
        self.transport = Transport()

    def abort(self) -> None: ...


@dataclass
class Engines:
    """Takes the client's place: keeps what is sent, and answers each request in the next turn of the loop."""

    loop: asyncio.AbstractEventLoop
    bodies: list[bytes] = field(default_factory=list)

    def send(self, engine: Any, sink: Sink, head: bytes, body: bytes, *, fresh: bool = False) -> None:
        assert b"content-length: %d\r\n" % len(body) in head
        self.bodies.append(body)
        self.loop.call_soon(self._answer, sink, json.dumps({"number": len(self.bodies)}).encode())

    def _answer(self, sink: Sink, body: bytes) -> None:
        sink.upstream_connected(cast("Any", Upstream()))
        sink.upstream_head(200, [(b"content-type", b"application/json")])
        sink.upstream_data(body)
        sink.upstream_end()

    def cancel_connect(self, sink: Sink) -> None: ...

    def expire(self, now: float) -> None: ...

    def drop(self, engine: Any) -> None: ...

    def close(self) -> None: ...


@dataclass
class Outcome:
    replies: list[tuple[int, bytes]]
    bodies: list[bytes]
    closed: bool
    """True when the gateway takes nothing more on this connection."""
    left: int
    """Requests still in the gateway after the client has gone."""


class Gateway:
    """One service for many connections: each example gets a connection of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        config = gateway_config(max_body_bytes=100_000)
        self.service = Service(config, key_file(test=KEY), KeptLog(), loop=self.loop)
        self.service.update_engines("tiny", [Sighting("a", "a", "127.0.0.1", 1, "", True, False)])
        self._config = make_config(Pages(self.service))

    def close(self) -> None:
        self.service.stop()
        self.loop.close()

    def run(self, pieces: list[bytes]) -> Outcome:
        """Raises whatever the protocol raises. Pieces arrive one by one, with a turn of the loop between them."""
        return self.loop.run_until_complete(self._run(pieces))

    async def _run(self, pieces: list[bytes]) -> Outcome:
        engines = Engines(self.loop)
        self.service.client = cast("Any", engines)
        connection, transport = Connection(self.service, self._config), Transport()
        connection.connection_made(transport)
        for piece in pieces:
            if not transport.closed:
                connection.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(400):
            await asyncio.sleep(0)
        closed = transport.closed or transport.ended or bool(connection._lingers_until)
        connection.connection_lost(None)
        await asyncio.sleep(0)
        assert not self.errors, self.errors
        return Outcome(read_replies(bytes(transport.out)), engines.bodies, closed, len(self.service.exchanges))


def read_replies(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each reply; fails where the bytes are not replies from end to end."""
    replies = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        assert blank, f"not the head of a reply: {data[:100]!r}"
        first, *lines = head.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        status = int(first[9:12])
        fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        assert len(fields) == len(lines), f"a header twice: {lines}"
        if status == 100:
            data = rest
            continue
        length = int(fields[b"content-length"])
        assert len(rest) >= length, "a reply is cut"
        replies.append((status, rest[:length]))
        data = rest[length:]
    return replies
