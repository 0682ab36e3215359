"""Rows on the local disk until the database has them: append-only segment files in one folder.

A row is written by one write() before the reply's last byte is handed out. From then on it is in the kernel's page
cache, so it survives the end of the process in whatever way; only the loss of the node, or of the pod with its volume,
takes what the database does not have yet. There is no fsync: the volume goes with the pod, so it would buy nothing.

Each segment is locked (flock) by the process that writes it. A segment that can be locked belongs to a dead process,
and is taken over. Process ids would not tell: in a container each process may have the same one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".rows"
UNFINISHED = ".new"
MODE = 0o600
PART_BYTES = 256 * 1024
"""Stored at once, some 700 rows: whole segments, and the driver's copies of them, would make memory grow by 20 MB."""
REST_SECONDS = 1.0
"""After a failed write the disk is left alone for so long: its errors cost time on the path of requests."""


@dataclass(eq=False, slots=True)
class Segment:
    path: Path
    descriptor: int
    begun: float
    """Seconds since 1970."""
    size: int = 0
    rows: int = 0

    def parts(self, most: int = PART_BYTES) -> Iterator[bytes]:
        """Whole lines only: a line that the end of the process tore never counted. Raises OSError."""
        at = 0
        while at < self.size:
            data = os.pread(self.descriptor, min(most, self.size - at), at)
            end = data.rfind(b"\n") + 1
            if not end:
                return
            yield data[:end]
            at += end

    def read(self) -> bytes:
        """All of it. Raises OSError."""
        return b"".join(self.parts())


class SpoolError(Exception):
    """A row could not be spooled. `reason` is "full" (the bound is reached) or "disk" (the file system refused)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Spool:
    """`max_bytes` bounds the segments of this process and those that it took over."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        *,
        segment_bytes: int = 4 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes the folder where it is missing. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.size = 0
        """Bytes in all segments."""
        self.rows = 0
        """Rows in all segments but those taken over, whose rows are counted when they are read."""
        self.sealed: deque[Segment] = deque()
        self.current: Segment | None = None
        self._name = os.urandom(8).hex()
        self._number = 0
        self._clock = clock
        self._rest_until = 0.0
        self._unreadable: set[Path] = set()

    def append(self, line: bytes) -> None:
        """Keeps one line. Raises SpoolError; then the spool is as it was before."""
        if self.size + len(line) > self.max_bytes:
            raise SpoolError("full", f"the spool holds {self.size} bytes; allowed are {self.max_bytes}")
        if self._rest_until:
            if self._clock() < self._rest_until:
                raise SpoolError("disk", "the disk failed a moment ago")
            self._rest_until = 0.0
        try:
            segment = self.current or self._open()
            self._write(segment, line)
        except OSError as error:
            self._rest_until = self._clock() + REST_SECONDS
            raise SpoolError("disk", f"{self.folder}: {error.strerror or error}") from error
        segment.size += len(line)
        segment.rows += 1
        self.size += len(line)
        self.rows += 1
        if segment.size >= self.segment_bytes:
            self.seal()

    def _open(self) -> Segment:
        self._number += 1
        path = self.folder / f"{int(time.time() * 1e3):013d}-{self._name}-{self._number:08d}{SUFFIX}"
        fresh = path.with_suffix(UNFINISHED)
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, MODE)
        try:
            # Locked before it has its name: nobody takes it for a dead process' segment.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(path)
        except OSError:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        self.current = Segment(path, descriptor, time.time())
        return self.current

    def _write(self, segment: Segment, line: bytes) -> None:
        try:
            written = os.write(segment.descriptor, line)
        except OSError:
            if not segment.size:  # nothing was ever written: an empty file has no use
                self.current = None
                self._remove(segment)
            raise
        if written == len(line):
            return
        try:
            os.ftruncate(segment.descriptor, segment.size)  # a part of a row must not stand before the next one
        except OSError:
            self.seal()  # the part stays at the end, where reading leaves it out
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def seal(self) -> None:
        """Ends the segment under way, so that it can be stored and removed."""
        if self.current is not None:
            self.sealed.append(self.current)
            self.current = None

    def drop(self, segment: Segment) -> None:
        """Removes a sealed segment: the database has its rows. Raises OSError where the file stays."""
        self.sealed.remove(segment)
        self.size -= segment.size
        self.rows -= segment.rows
        self._remove(segment)

    def set_aside(self, segment: Segment) -> None:
        """Lets go of a sealed segment that cannot be read; its file stays for whoever looks after the disk."""
        self.sealed.remove(segment)
        self.size -= segment.size
        self.rows -= segment.rows
        self._unreadable.add(segment.path)
        os.close(segment.descriptor)

    @staticmethod
    def _remove(segment: Segment) -> None:
        try:
            segment.path.unlink(missing_ok=True)
        finally:
            os.close(segment.descriptor)

    def adopt(self) -> int:
        """Takes over the segments of dead processes, oldest first; returns how many. Raises OSError."""
        own = {segment.path for segment in (*self.sealed, *([self.current] if self.current else []))}
        found = 0
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path in own or path in self._unreadable:
                continue
            segment = self._lock(path)
            if segment is None:
                continue
            if not segment.size:
                self._remove(segment)
                continue
            self.sealed.append(segment)
            self.size += segment.size
            found += 1
        return found

    @staticmethod
    def _lock(path: Path) -> Segment | None:
        """None where its process lives, or where it is gone meanwhile."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        status = os.fstat(descriptor)
        if not status.st_nlink:  # another process stored and removed it between the two calls
            os.close(descriptor)
            return None
        return Segment(path, descriptor, status.st_mtime, status.st_size)

    def oldest(self) -> float | None:
        """When the oldest segment was begun, in seconds since 1970; None where nothing waits."""
        waiting = self.sealed[0] if self.sealed else self.current
        return None if waiting is None else waiting.begun

    def close(self) -> None:
        """Lets go of the files; what they hold waits for the next process."""
        self.seal()
        while self.sealed:
            os.close(self.sealed.popleft().descriptor)
