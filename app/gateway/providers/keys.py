"""A provider's key, read from the file that a Secret is mounted as. A rotated key is taken up within a second."""

from __future__ import annotations

from pathlib import Path

from app.gateway.strict import Name

SECONDS = 1.0
MOST_BYTES = 16 * 1024


class NoKey(Exception):  # noqa: N818 - what is missing is said, it is no fault of the program
    """The key cannot be had. The message never holds a part of it."""


class KeyFile:
    def __init__(self, provider: Name, path: Path) -> None:
        self._provider = provider
        self._path = path
        self._read_at = -SECONDS
        self._seen: tuple[int, int, int] | None = None
        self._text = ""
        self._reason = ""

    def text(self, now: float) -> str:
        """The file's content without white space around it. Raises NoKey."""
        if now - self._read_at >= SECONDS:
            self._read_at = now
            self._look()
        if self._reason:
            raise NoKey(self._reason)
        return self._text

    def refused(self) -> None:
        """The provider did not take it. A new file is seen anyhow."""

    def _look(self) -> None:
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version == self._seen:
                return
            content = self._path.read_bytes()[: MOST_BYTES + 1]
        except OSError as error:
            self._seen = None
            if not self._text:  # a key that was read stays in use while its file is away
                self._reason = f"the key file of provider `{self._provider}` cannot be read: {error.strerror}"
            return
        self._seen = version
        try:
            text = content.decode("ascii").strip()
        except UnicodeDecodeError:
            text = ""
        if not text or len(content) > MOST_BYTES or not (text.startswith("{") or text.isprintable()):
            self._reason = f"the key file of provider `{self._provider}` is empty or holds no key"
            return
        self._text, self._reason = text, ""
