"""PDF and HTML are read in a process of their own, which hostile ones cannot take beyond its bounds."""

from __future__ import annotations

import io
import time
import zlib

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from app.gateway.errors import Refused
from app.retrieval.config import RetrievalConfig
from app.retrieval.extract import Extractor


def extractor(**changes: object) -> Extractor:
    return Extractor(RetrievalConfig.model_validate({"model": "tiny"} | changes))


def make_pdf(*pages: str, password: str = "") -> bytes:
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    found = io.BytesIO()
    writer.write(found)
    return found.getvalue()


async def problem(one: Extractor, data: bytes, media_type: str = "application/pdf") -> str:
    with pytest.raises(Refused) as caught:
        await one.text(data, media_type)
    assert caught.value.problem.status == 422
    return caught.value.problem.message


async def test_the_pages_of_a_pdf_are_read():
    text = await extractor().text(make_pdf("First about bees", "Then about iron"), "application/pdf")
    assert [page.strip() for page in text.split("\f")] == ["First about bees", "Then about iron"]


async def test_html_becomes_text_with_headings_and_without_scripts():
    page = (
        b"<html><head><title>no</title><style>p{}</style></head><body><h1>Bees</h1><script>alert(1)</script>"
        b"<p>One <b>queen</b> rules.<p>Workers&nbsp;dance.<h2>Wax</h2><ul><li>It melts</li></ul></body></html>"
    )
    text = await extractor().text(page, "text/html")
    assert [line.strip() for line in text.splitlines() if line.strip()] == [
        "# Bees", "One queen rules.", "Workers dance.", "## Wax", "It melts",
    ]  # fmt: skip


async def test_deeply_nested_html_is_read_or_cut_off():
    text = await extractor().text(b"<div>" * 4000 + b"inside" + b"</div>" * 4000, "text/html")
    assert text.strip() == "inside"
    # The parser looks through all open elements at each one: the time, not the stack, is what ends.
    assert "took longer" in await problem(extractor(extract_seconds=1), b"<div>" * 500_000, "text/html")


async def test_a_damaged_or_locked_pdf_is_told():
    assert "damaged" in await problem(extractor(), b"%PDF-1.7 nothing more")
    assert "password" in await problem(extractor(), make_pdf("secret", password="x"))
    assert "holds no text" in await problem(extractor(), make_pdf(""))


async def test_a_pdf_that_unpacks_to_much_is_cut_off():
    bomb = zlib.compress(b"BT (x) Tj ET " * 10_000_000, 1)
    writer = PdfWriter()
    page = writer.add_blank_page(10, 10)
    stream = DecodedStreamObject()
    stream._data = bomb
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    page[NameObject("/Contents")] = writer._add_object(stream)
    found = io.BytesIO()
    writer.write(found)
    begun = time.monotonic()
    message = await problem(extractor(extract_seconds=3, extract_memory_mib=256), found.getvalue())
    assert message.startswith("The document cannot be used: ")
    assert time.monotonic() - begun < 15


async def test_more_text_than_allowed_is_told():
    page = b"<p>" + b"word " * 1000 + b"</p>"
    assert "more than 1000 characters" in await problem(extractor(max_text_characters=1000), page, "text/html")
    assert "more than 1000 characters" in await problem(extractor(max_text_characters=1000), page, "text/plain")


async def test_reading_ends_in_time():
    one = extractor(extract_seconds=0.01)
    assert "longer than 0.01 s" in await problem(one, make_pdf("slow"))


async def test_the_reader_gets_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("PENSTOCK_DATABASE_PASSWORD", "secret")
    seen = {}
    import asyncio

    real = asyncio.create_subprocess_exec

    async def watched(*arguments, **options):
        seen.update(options)
        return await real(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    await extractor().text(b"<p>x</p>", "text/html")
    assert seen["env"] == {}
