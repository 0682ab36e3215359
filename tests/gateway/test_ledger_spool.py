"""Rows as lines, and the spool that keeps them on the disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.ledger.row import COLUMNS, Row, encode, mean_itl_ms, read_feature
from app.gateway.ledger.spool import Spool, SpoolError
from tests.gateway.real_postgres import folder_of

ROOT = Path(__file__).parents[2]


def make_row(number: int = 1, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "id": f"{number:032x}", "ended": 1795247999.25, "request_id": f"req-{number}", "tenant": "acme",
        "key_id": "first", "feature": "search", "model": "tiny", "colour": "blue", "zone": "eu-1a",
        "engine": "engine-1", "route": "chat", "status": 200, "outcome": "ok", "stream": True, "input_tokens": 17,
        "output_tokens": 8, "cached_tokens": 4, "estimated": False, "ttft_ms": 12.5, "itl_ms": 3.25,
        "duration_ms": 40.0, "tries": 1, "resumed": 0, "cost_usd": 0.000033,
    }  # fmt: skip
    return Row(**(fields | changes))


def test_a_line_has_every_column_in_order():
    assert [name for name, _ in COLUMNS] == list(Row.__struct_fields__)
    assert encode(make_row(zone=None, ttft_ms=None)).decode().rstrip("\n").split("\t") == [
        "00000000000000000000000000000001", "1795247999.250000", "req-1", "acme", "first", "search", "tiny", "blue",
        r"\N", "engine-1", "chat", "200", "ok", "t", "17", "8", "4", "f", r"\N", "3.250", "40.000", "1", "0",
        "0.0000330000", r"\N", r"\N", r"\N", r"\N",
    ]  # fmt: skip


@given(st.text(max_size=300), st.integers(), st.floats(allow_nan=False, allow_infinity=False, max_value=1e6))
def test_no_text_or_number_can_break_a_line(text: str, number: int, cost: float):
    line = encode(make_row(outcome=text, engine=text, request_id=text, input_tokens=number, cost_usd=cost))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    fields = line.decode("ascii").rstrip("\n").split("\t")
    assert len(fields) == len(COLUMNS)
    assert not any("\\" in field for field in fields[:-4])
    assert fields[-1] == r"\N"
    assert 0 <= int(fields[14]) <= 2**53


@pytest.mark.parametrize("tag", [b"search", b"a", b"team/search:v2", b"x" * 64])
def test_a_feature_tag_is_taken(tag: bytes):
    assert read_feature(tag) == tag.decode()


@pytest.mark.parametrize("tag", [b"", b"x" * 65, b"-a", b"a b", b"a\tb", "ä".encode(), b"a\\n", b"a\n"])
def test_a_feature_tag_that_breaks_the_rule_is_none(tag: bytes):
    assert read_feature(tag) is None


def test_the_mean_time_between_tokens_needs_two_tokens():
    assert mean_itl_ms(0.7, 8) == pytest.approx(100.0)
    assert mean_itl_ms(0.7, 1) is None


def test_what_is_appended_is_read_in_order_and_removed_when_it_is_stored(tmp_path: Path):
    spool = Spool(tmp_path / "spool", 10_000)
    for number in range(3):
        spool.append(b"row %d\n" % number)
    spool.seal()
    assert [segment.read() for segment in spool.sealed] == [b"row 0\nrow 1\nrow 2\n"]
    assert (spool.rows, spool.size) == (3, 18)
    spool.drop(spool.sealed[0])
    assert (spool.rows, spool.size) == (0, 0)
    assert folder_of(tmp_path / "spool") == []


def test_a_long_outage_makes_segments_of_a_bounded_size(tmp_path: Path):
    spool = Spool(tmp_path, 10_000, segment_bytes=100)
    for _ in range(30):
        spool.append(b"123456789\n")
    assert [segment.size for segment in spool.sealed] == [100, 100, 100]


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(tmp_path: Path):
    spool = Spool(tmp_path, 25)
    spool.append(b"123456789\n")
    spool.append(b"123456789\n")
    with pytest.raises(SpoolError, match="allowed are 25") as refused:
        spool.append(b"123456789\n")
    assert refused.value.reason == "full"
    spool.seal()
    assert spool.sealed[0].read() == b"123456789\n" * 2
    spool.drop(spool.sealed[0])
    spool.append(b"123456789\n")


def test_a_write_that_the_disk_cuts_short_leaves_no_part_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    spool = Spool(tmp_path, 10_000, clock=lambda: now[0])
    spool.append(b"first\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(SpoolError) as refused:
        spool.append(b"second\n")
    assert refused.value.reason == "disk"
    monkeypatch.undo()
    with pytest.raises(SpoolError, match="a moment ago"):
        spool.append(b"third\n")
    now[0] = 1.5
    spool.append(b"fourth\n")
    spool.seal()
    assert b"".join(segment.read() for segment in spool.sealed) == b"first\nfourth\n"


def test_a_disk_that_refuses_at_once_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    spool = Spool(tmp_path, 10_000)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpoolError, match="No space left"):
        spool.append(b"first\n")
    monkeypatch.undo()
    assert folder_of(tmp_path) == []
    assert spool.size == 0


WRITER = """
import os, sys
from pathlib import Path
from app.gateway.ledger.spool import Spool
spool = Spool(Path(sys.argv[1]), 10_000)
spool.append(b"first\\n"); spool.append(b"second\\n")
os.write(spool.current.descriptor, b"tor")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_dead_process_leaves_its_whole_rows_to_the_next_and_a_living_one_nothing(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        spool = Spool(tmp_path, 10_000)
        assert spool.adopt() == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert spool.adopt() == 1
    assert spool.adopt() == 0
    assert spool.sealed[0].read() == b"first\nsecond\n"
    other = Spool(tmp_path, 10_000)
    assert other.adopt() == 0
    spool.close()
    assert other.adopt() == 1
    assert other.size == len(b"first\nsecond\ntor")
    other.drop(other.sealed[0])
    assert folder_of(tmp_path) == []


def test_segments_that_wait_are_taken_over_oldest_first(tmp_path: Path):
    for name, text in (("0002-a-1.rows", b"b\n"), ("0001-z-1.rows", b"a\n"), ("0003-a-1.rows", b"")):
        (tmp_path / name).write_bytes(text)
    spool = Spool(tmp_path, 10_000)
    assert spool.adopt() == 2
    assert [segment.read() for segment in spool.sealed] == [b"a\n", b"b\n"]
    assert len(folder_of(tmp_path)) == 2


def test_a_large_segment_is_read_in_parts_of_whole_lines(tmp_path: Path):
    spool = Spool(tmp_path, 10_000_000)
    lines = [b"%d %s\n" % (number, b"x" * (number % 50)) for number in range(2000)]
    for line in lines:
        spool.append(line)
    spool.seal()
    parts = list(spool.sealed[0].parts(1000))
    assert b"".join(parts) == b"".join(lines)
    assert max(map(len, parts)) <= 1000
    assert all(part.endswith(b"\n") for part in parts)
