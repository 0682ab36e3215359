"""Prints the part of `requirements.lock` (read from stdin) that the gateway's image installs, hashes included.

The image is built from the one lock file of the repository, and holds no package that the gateway does not import.
"""

from __future__ import annotations

import re
import sys

PACKAGES = frozenset(
    {
        "aiohappyeyeballs", "aiohttp", "aiosignal", "annotated-types", "asyncpg", "attrs", "botocore", "cffi", "click",
        "cryptography", "frozenlist", "google-re2", "h11", "hiredis", "httptools", "idna", "jmespath", "joserfc",
        "msgspec", "multidict", "opentelemetry-proto", "prometheus-client", "propcache", "protobuf", "pycparser",
        "pydantic", "pydantic-core", "pypdf", "python-dateutil", "selectolax", "six", "typing-extensions",
        "typing-inspection", "urllib3", "uvicorn", "uvloop", "yarl",
    }
)  # fmt: skip
"""What the gateway imports, and what that needs."""


def select(lock: str) -> str:
    """The lock's entries of PACKAGES, unchanged. Raises ValueError where one is not locked."""
    entries = re.findall(r"^[A-Za-z0-9][^\n]*(?:\n[ \t][^\n]*)*", lock, re.MULTILINE)
    named = {re.split(r"[=\[ ;]", entry, maxsplit=1)[0].lower(): entry for entry in entries}
    missing = sorted(PACKAGES - named.keys())
    if missing:
        raise ValueError(f"requirements.lock has no entry for {', '.join(missing)}")
    return "".join(f"{named[name]}\n" for name in sorted(PACKAGES))


if __name__ == "__main__":
    sys.stdout.write(select(sys.stdin.read()))
