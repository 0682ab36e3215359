"""The header of a safetensors file: what it holds, read without loading it, and checked so that no byte is unaccounted.

Format (huggingface/safetensors, README): 8 bytes little-endian length N, N bytes of JSON, then the tensors' bytes. The
JSON maps a name to dtype, shape and data_offsets; the offsets leave no holes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64,
}  # fmt: skip


class HeaderError(ValueError):
    """The file is no whole safetensors file. The message says why, without the file's name."""


@dataclass(frozen=True)
class Header:
    tensors: frozenset[str]
    values: Mapping[str, int]
    """How many numbers there are of each dtype."""


def read_header(path: Path) -> Header:
    """Raises HeaderError, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(LENGTH_BYTES)
        if len(first) < LENGTH_BYTES:
            raise HeaderError("it is shorter than a header's length")
        length = int.from_bytes(first, "little")
        if length > min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
            raise HeaderError("its header is longer than the file, or than the format allows")
        text = file.read(length)
    return parse(text, size - LENGTH_BYTES - length)


def parse(text: bytes, data_bytes: int) -> Header:
    """`data_bytes`: what follows the header. Raises HeaderError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise HeaderError("its header is not JSON") from None
    if not isinstance(content, dict):
        raise HeaderError("its header is no mapping")
    spans, values = [], dict[str, int]()
    for name, tensor in content.items():
        if name == "__metadata__":
            continue
        begin, end, dtype, count = _tensor(name, tensor)
        if (end - begin) * 8 != count * BITS[dtype]:
            raise HeaderError(f"the tensor {name[:80]!r} does not have the bytes that its shape needs")
        spans.append((begin, end))
        values[dtype] = values.get(dtype, 0) + count
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise HeaderError("its tensors overlap or leave holes")
        at = end
    if at != data_bytes:
        raise HeaderError(f"its tensors have {at} bytes and the file {data_bytes}: it is cut short or has more")
    return Header(frozenset(name for name in content if name != "__metadata__"), values)


def _tensor(name: str, tensor: Any) -> tuple[int, int, str, int]:
    """Begin, end, dtype and how many numbers."""
    try:
        dtype, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        whole = all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        raise HeaderError(f"the tensor {name[:80]!r} has no dtype, shape and data_offsets") from None
    if not whole or begin > end:
        raise HeaderError(f"the tensor {name[:80]!r} has a shape or offsets that cannot be")
    if dtype not in BITS:
        raise HeaderError(f"the tensor {name[:80]!r} has an unknown dtype {str(dtype)[:20]!r}")
    return begin, end, dtype, math.prod(shape)
