"""Where an archive comes from and goes to: a file, or an object of S3 under a signed URL."""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from app.gateway.database.connection import DatabaseError

SECONDS = 60.0
"""Of silence."""
MOST_BYTES = 5 * 2**30
"""One PUT takes no more (Amazon S3 user guide, "Uploading objects")."""


def remote(place: str) -> bool:
    return urlsplit(place).scheme in ("http", "https")


CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,80})</Code>")
"""In the body of S3's errors (Amazon S3 API reference, "Error responses")."""
MOST_ERROR_BYTES = 4096


@contextlib.contextmanager
def _file_of(place: str) -> Generator[Path]:
    """`place` where that is a file; else one that goes again. Raises OSError."""
    if not remote(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="penstock-archive-") as folder:
        yield Path(folder) / "archive.zip"


@contextlib.contextmanager
def outgoing(place: str) -> Generator[Path]:
    """A file to write; at the end it is at `place`. Raises DatabaseError, OSError."""
    with _file_of(place) as path:
        yield path
        if not remote(place):
            return
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DatabaseError(f"the archive has {size} bytes, and one upload takes {MOST_BYTES}")
        with path.open("rb") as file:
            # Without a type urllib names that of a form, which S3 servers may read as one.
            headers = {"Content-Length": str(size), "Content-Type": "application/zip"}
            _send(urllib.request.Request(place, file, headers, method="PUT"), None)  # noqa: S310


@contextlib.contextmanager
def incoming(place: str) -> Generator[Path]:
    """A file to read. Raises DatabaseError, OSError."""
    with _file_of(place) as path:
        if remote(place):
            _send(urllib.request.Request(place), path)  # noqa: S310
        yield path


def _send(request: urllib.request.Request, into: Path | None) -> None:
    """The URL is signed: what is said of it leaves its query out."""
    where = urlsplit(request.full_url)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=ssl.create_default_context())]
    if (where.hostname or "").startswith("127."):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=SECONDS) as reply:
            if into is not None:
                with into.open("wb") as file:
                    shutil.copyfileobj(reply, file)
    except urllib.error.HTTPError as error:
        code = CODE.search(error.read(MOST_ERROR_BYTES))
        why = f" ({code[1].decode()})" if code else ""
        raise DatabaseError(
            f"{where.netloc}{where.path} answered {error.code}{why} to {request.get_method()}"
        ) from None
