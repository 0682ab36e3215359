"""Which object has which loopback address."""

from __future__ import annotations

import errno
import socket
import threading

from infra.local.layout import Layout


class AddressInUseError(RuntimeError):
    """Another process listens there, or no address is left. The message says which."""


class Addresses:
    """Hands out the addresses of one area of the layout, the lowest free one first, and takes them back."""

    def __init__(self, layout: Layout, area: int) -> None:
        self._layout, self._area = layout, area
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, owner: str) -> str:
        """The owner's address, the same until it is released. Raises AddressInUseError when none is left."""
        with self._lock:
            if owner not in self._numbers:
                taken = set(self._numbers.values())
                free = next((number for number in range(1, 255) if number not in taken), None)
                if free is None:
                    raise AddressInUseError(f"all 254 addresses of area {self._area} are taken")
                self._numbers[owner] = free
            return self._layout.address(self._area, self._numbers[owner])

    def release(self, owner: str) -> None:
        with self._lock:
            self._numbers.pop(owner, None)


def check_free(address: str, port: int) -> None:
    """Raises AddressInUseError when something listens at the address and port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            reason = "in use by another process" if error.errno == errno.EADDRINUSE else str(error)
            raise AddressInUseError(f"port {port} of {address} is {reason}") from error


def accepts(address: str, port: int) -> bool:
    """Whether a TCP connection can be made now."""
    try:
        socket.create_connection((address, port), timeout=0.5).close()
    except OSError:
        return False
    return True
