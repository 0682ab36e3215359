"""An archive goes to a signed URL and comes from it whole; what fails is told without the signature."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.gateway.database import carriage
from app.gateway.database.carriage import incoming, outgoing
from app.gateway.database.connection import DatabaseError

SIGNED = "/bucket/archive.zip?X-Amz-Signature=secret-of-the-url"


class Bucket(BaseHTTPRequestHandler):
    kept: bytes | None = None
    types: tuple[str | None, ...] = ()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_PUT(self) -> None:
        Bucket.types += (self.headers["content-type"],)
        Bucket.kept = self.rfile.read(int(self.headers["content-length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        if Bucket.kept is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, Bucket.kept)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def url() -> Iterator[str]:
    Bucket.kept, Bucket.types = None, ()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}{SIGNED}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_archive_goes_out_and_comes_in_as_it_was_and_leaves_no_file(url: str):
    with outgoing(url) as path:
        path.write_bytes(b"an archive")
    assert (Bucket.kept, Bucket.types, path.exists()) == (b"an archive", ("application/zip",), False)
    with incoming(url) as path:
        assert path.read_bytes() == b"an archive"
    assert not path.exists()


def test_a_file_of_this_machine_is_written_and_read_in_its_place(tmp_path: Path):
    place = tmp_path / "archive.zip"
    with outgoing(str(place)) as path:
        path.write_bytes(b"an archive")
    with incoming(str(place)) as path:
        assert (path, path.read_bytes()) == (place, b"an archive")
    assert place.exists(), "nobody but its owner removes it"


def test_what_the_bucket_refuses_is_told_without_the_urls_signature(url: str):
    refused = pytest.raises(DatabaseError, match=r"/bucket/archive\.zip answered 404 \(NoSuchKey\) to GET")
    with refused as told, incoming(url):
        raise AssertionError
    assert "secret-of-the-url" not in str(told.value)


def test_what_one_upload_does_not_take_is_not_sent(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(carriage, "MOST_BYTES", 5)
    refused = pytest.raises(DatabaseError, match="the archive has 10 bytes, and one upload takes 5")
    with refused, outgoing(url) as path:
        path.write_bytes(b"an archive")
    assert Bucket.kept is None
