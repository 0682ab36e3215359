"""TLS to the database: `verify-full` takes the right name under the right root, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from app.gateway.database import connection
from app.gateway.database.connection import FAILURES, connect
from app.gateway.database.settings import Database
from infra.local.certificates import make_server_certificate

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""What a client begins with (PostgreSQL documentation, "SSL Session Encryption")."""


@dataclass
class TlsDatabase:
    """A database behind TLS, as RDS is: its certificate is for 127.0.0.1 alone."""

    database: Database
    authority: Path
    plain_refused: int = 0


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def encrypted(empty_database: Database, tmp_path: Path) -> AsyncIterator[TlsDatabase]:
    made = make_server_certificate(["database.test"], ["127.0.0.1"])
    for name, content in (("ca.pem", made.authority), ("server.pem", made.certificate), ("server.key", made.key)):
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    found = TlsDatabase(empty_database, tmp_path / "ca.pem")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                found.plain_refused += 1
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
            answers, behind = await asyncio.open_connection("127.0.0.1", empty_database.port)
            writers.append(behind)
            await asyncio.gather(_relay(reader, behind), _relay(answers, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client did not like the certificate: that is what is tested
        finally:
            for one in writers:
                one.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    found.database = replace(empty_database, port=server.sockets[0].getsockname()[1])
    yield found
    server.close()
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # the transports end in the next turn of the loop


async def signs_in(database: Database) -> bool:
    made = await connect(database)
    try:
        return await made.fetchval("SELECT true")
    finally:
        made.terminate()


async def test_a_server_with_the_right_name_and_root_is_taken(encrypted: TlsDatabase):
    assert await signs_in(replace(encrypted.database, tls="verify-full", ca_file=encrypted.authority))


async def test_a_server_under_another_root_is_refused(encrypted: TlsDatabase, tmp_path: Path):
    other = tmp_path / "other.pem"
    other.write_bytes(make_server_certificate(["database.test"], ["127.0.0.1"]).authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        await signs_in(replace(encrypted.database, tls="verify-full", ca_file=other))


async def test_a_server_is_not_taken_under_the_systems_roots(encrypted: TlsDatabase):
    with pytest.raises(ssl.SSLCertVerificationError):
        await signs_in(replace(encrypted.database, tls="verify-full"))


async def test_a_server_of_another_name_is_refused(encrypted: TlsDatabase):
    with pytest.raises(ssl.SSLCertVerificationError):
        await signs_in(replace(encrypted.database, host="localhost", tls="verify-full", ca_file=encrypted.authority))


async def test_require_speaks_tls_to_whoever_is_there(encrypted: TlsDatabase):
    assert await signs_in(replace(encrypted.database, tls="require"))


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_tls_gets_no_password(empty_database: Database, tmp_path: Path, mode: str):
    authority = tmp_path / "ca.pem"
    authority.write_bytes(make_server_certificate(["database.test"], ["127.0.0.1"]).authority)
    with pytest.raises((ConnectionError, asyncpg.InterfaceError)) as raised:
        await signs_in(replace(empty_database, tls=mode, ca_file=authority))
    assert isinstance(raised.value, FAILURES)


async def test_certificates_that_are_missing_are_a_failure_and_not_a_crash(encrypted: TlsDatabase, tmp_path: Path):
    with pytest.raises(FileNotFoundError) as raised:
        await signs_in(replace(encrypted.database, tls="verify-full", ca_file=tmp_path / "none.pem"))
    assert isinstance(raised.value, FAILURES)


async def test_certificates_are_read_once_and_anew_when_their_file_changes(encrypted: TlsDatabase, tmp_path: Path):
    roots = tmp_path / "roots.pem"
    roots.write_bytes(encrypted.authority.read_bytes())
    database = replace(encrypted.database, tls="verify-full", ca_file=roots)
    assert await signs_in(database)
    before = connection._trust.cache_info()
    assert await signs_in(database)
    assert connection._trust.cache_info().misses == before.misses, "no stream waits while certificates are read"
    roots.write_bytes(make_server_certificate(["database.test"], ["127.0.0.1"]).authority)
    os.utime(roots, ns=(1, 1))
    with pytest.raises(ssl.SSLCertVerificationError):
        await signs_in(database)
