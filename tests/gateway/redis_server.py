"""A real Redis server for tests, on a port of its own, that can be killed, stopped, and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from infra.local.aws.planes.caches import configuration, redis_server


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class RedisServer:
    def __init__(self, token: str = "", port: int = 0) -> None:
        self.port = port or free_port()
        self.token = token
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        settings = Path(self._folder.name, "redis.conf")
        settings.write_text(configuration("127.0.0.1", self.port, self.token or None, "noeviction"))
        self._process = subprocess.Popen(
            [str(redis_server()), str(settings)], cwd=self._folder.name, stdout=subprocess.DEVNULL
        )
        with self.client() as client:
            for _ in range(500):
                try:
                    client.ping()
                except redis.ConnectionError:
                    time.sleep(0.01)
                else:
                    return self
        raise AssertionError("the Redis server did not start")

    def client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.token or None, decode_responses=False)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """The server accepts connections (the kernel does) and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.thaw()
            self.kill()
        self._folder.cleanup()
