"""The page's own files, read once, with a strong tag and a packed form of each. Nothing comes from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFETY: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"x-frame-options", b"DENY"),
)
"""With each answer under /console. Trusted types: even a mistake of ours cannot make markup of text."""


@dataclass(frozen=True)
class File:
    kind: bytes
    tag: bytes
    plain: bytes
    packed: bytes


def load(folder: Path = FOLDER) -> dict[str, File]:
    """By name. Raises OSError."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in KINDS:
            plain = path.read_bytes()
            tag = b'"%b"' % hashlib.sha256(plain).hexdigest()[:20].encode()
            found[path.name] = File(KINDS[path.suffix], tag, plain, gzip.compress(plain, 9, mtime=0))
    return found
