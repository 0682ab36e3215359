"""Cross-origin requests from browsers: closed unless an origin is named in the settings, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

EXPOSED = (
    b"x-request-id, x-penstock-colour, x-penstock-model, x-penstock-route, x-penstock-fallback, x-penstock-cache, age, "
    b"retry-after"
)
ALLOWED_HEADERS = (
    b"authorization, content-type, x-request-id, x-penstock-cache, x-penstock-task, x-penstock-max-cost-usd, "
    b"x-penstock-fallback, traceparent, tracestate"
)
ALLOWED_METHODS = b"GET, HEAD, POST"
PREFLIGHT_SECONDS = 600
"""How long a browser may keep the answer to its question; Chromium keeps none longer than two hours."""


class Origins:
    """The origins that may call from a browser, each with the header lines of its replies."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._lines: Mapping[bytes, bytes] = {
            origin.encode(): b"access-control-allow-origin: %b\r\naccess-control-expose-headers: %b\r\nvary: origin\r\n"
            % (origin.encode(), EXPOSED)
            for origin in origins
        }

    def __bool__(self) -> bool:
        return bool(self._lines)

    def reply_lines(self, origin: bytes) -> bytes:
        """Header lines for a reply to `origin`; empty where it may not read replies."""
        return self._lines.get(origin, b"")

    def reply_headers(self, origin: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
        """The same as pairs."""
        lines = self._lines.get(origin or b"", b"").split(b"\r\n")[:-1]
        return tuple((name, value) for name, _, value in (line.partition(b": ") for line in lines))

    def preflight(self, origin: bytes | None) -> tuple[tuple[bytes, bytes], ...] | None:
        """Headers of the answer to a browser's question before its request; None where the origin is not allowed."""
        headers = self.reply_headers(origin)
        if not headers:
            return None
        return (
            *headers,
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        )
