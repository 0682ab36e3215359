"""An answer as it is kept in Redis: packed, with a checksum that also names its key. No I/O."""

from __future__ import annotations

import hashlib

import msgspec

MAGIC = b"PCA1"
CHECK_BYTES = 16


class CorruptError(Exception):
    """Not what was put there under this key."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One whole answer."""

    begun: float
    """When its request began, in seconds since 1970: a purge counts for all that began before."""
    made: float
    """When it was whole."""
    route: str
    reply: bytes
    """The JSON answer, as an engine gives it to a request that is not streamed."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    """Of the prompt, in the engine's own cache."""


_encoder = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.Decoder(Entry).decode


def _check(key: bytes, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=CHECK_BYTES, key=key).digest()


def pack(key: bytes, entry: Entry) -> bytes:
    """`key`: at most 64 bytes."""
    payload = _encoder.encode(entry)
    return MAGIC + _check(key, payload) + payload


def unpack(key: bytes, data: bytes) -> Entry:
    """Raises CorruptError for bytes that `pack` did not make for this very key."""
    start = len(MAGIC) + CHECK_BYTES
    payload = data[start:]
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : start] != _check(key, payload):
        raise CorruptError("the checksum does not fit")
    try:
        return _decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptError(str(error)) from None
