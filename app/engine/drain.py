"""The process: loads, serves, and on SIGTERM drains as vLLM 0.32 does.

During the drain the port stays open, `/health` and `/v1/models` stay 200, and every new generation gets a 500: that is
what a real engine does, and why a pod must leave its endpoints before it is told to stop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket

import uvloop

from app.engine import replies
from app.engine.flags import EngineFlags
from app.engine.protocol import Connection
from app.engine.routes import dispatch
from app.engine.server import EngineServer
from app.engine.settings import SimulatorSettings

BACKLOG = 2048
FLUSH_SECONDS = 0.5
"""How long the last replies may take to leave the sockets."""


def run(flags: EngineFlags, settings: SimulatorSettings) -> int:
    """Serves until a signal. Returns the exit status. Raises OSError where the address cannot be bound."""
    listener = bind(flags.host, flags.port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(flags, settings, listener))


def bind(host: str, port: int) -> socket.socket:
    """Takes the port without listening: connections are refused until the engine is loaded, as with vLLM."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot bind {host}:{port}: {error.strerror}") from None
    return listener


async def serve(flags: EngineFlags, settings: SimulatorSettings, listener: socket.socket) -> int:
    """Loads, then serves on the bound socket until SIGTERM or SIGINT, then drains."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = 0

    def signalled() -> None:
        nonlocal signals
        signals += 1
        stop.set()
        if signals > 1:
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    host, port = listener.getsockname()[:2]
    _say(f"vLLM API server version {replies.VERSION}, simulated by Penstock: no model is loaded")
    _say(f"model {flags.model} as {', '.join(flags.names)}, max_model_len={flags.max_model_len}")
    engine = EngineServer(flags, settings, loop, dispatch)
    try:
        await asyncio.wait_for(stop.wait(), settings.load_seconds)
    except TimeoutError:
        pass
    else:
        listener.close()
        return 0
    # What exists now lives as long as the process; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    server = await loop.create_server(lambda: Connection(engine, loop), sock=listener, backlog=BACKLOG)
    if flags.sse_keep_alive_interval:
        engine.keep_alive()
    _say(f"Starting vLLM server on http://{host}:{port}")
    _say("Application startup complete.")
    await stop.wait()
    await drain(engine, flags.shutdown_timeout)
    server.close()
    await _flush(engine)
    await asyncio.sleep(settings.teardown_seconds)
    _say("Finished server process")
    return 0


async def drain(engine: EngineServer, timeout_seconds: float) -> None:
    """Refuses new generations and waits for those under way; what is left after the time-out ends with an error."""
    engine.draining = True
    _say(f"Shutting down: {len(engine.jobs)} requests under way, shutdown timeout {timeout_seconds:g} s")
    if engine.jobs and timeout_seconds > 0:
        idle = asyncio.Event()
        engine.on_idle = idle.set
        try:
            await asyncio.wait_for(idle.wait(), timeout_seconds)
        except TimeoutError:
            _say(f"{len(engine.jobs)} requests are still under way and are aborted")
    engine.fail_all(replies.engine_dead())


async def _flush(engine: EngineServer) -> None:
    """Closes the connections once their last bytes are out."""
    for connection in list(engine.connections):
        connection.close()
    await asyncio.sleep(0)
    if engine.connections:
        await asyncio.sleep(FLUSH_SECONDS)
    for connection in list(engine.connections):
        connection.abort()


def _say(line: str) -> None:
    print(f"INFO:     {line}", flush=True)
