"""Server-sent events as an OpenAI-compatible gateway sends them: bytes in, the text of each `data:` event out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

DONE = "[DONE]"
MAX_LINE_BYTES = 4 * 1024 * 1024


class EventParser:
    """Feed it chunks of any size. Comment lines (`: ...`, sent to keep a stream alive) and empty lines are skipped.

    An event of several `data:` lines is not joined: none of the APIs here sends one.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Raises ValueError where a line grows beyond MAX_LINE_BYTES."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError(f"an event is longer than {MAX_LINE_BYTES} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")
