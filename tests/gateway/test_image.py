"""What the gateway's image holds."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

from app.gateway.image import PACKAGES, select

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    "asyncpg",
    "botocore",
    "uvicorn",
    "uvloop",
    "hiredis",
    "httptools",
    "joserfc",
    "msgspec",
    "aiohttp",
    "google-re2",
    "opentelemetry-proto",
    "prometheus-client",
    "pydantic",
    "pypdf",
    "selectolax",
}


def needs(name: str) -> set[str]:
    """Names of what a distribution needs here, extras aside."""
    found = set()
    for line in importlib.metadata.requires(name) or []:
        if "extra ==" in line or "win32" in line:
            continue
        found.add(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().replace("_", "-"))
    return found


def test_the_image_holds_what_the_gateway_needs_and_nothing_else():
    closure, todo = set(), set(TOP_LEVEL)
    while todo:
        name = todo.pop()
        closure.add(name)
        try:
            todo |= needs(name) - closure
        except importlib.metadata.PackageNotFoundError:
            closure.discard(name)  # for another version of Python
    assert closure <= PACKAGES
    assert closure | {"typing-extensions"} >= PACKAGES


def test_every_package_of_the_image_is_locked_by_hash():
    entries = re.split(r"\n(?=\S)", select((ROOT / "requirements.lock").read_text()).strip())
    assert len(entries) == len(PACKAGES)
    assert all("--hash=sha256:" in entry and "==" in entry.split()[0] for entry in entries)


def test_the_gateway_imports_nothing_that_its_image_lacks():
    heavy = ("asyncpg", "joserfc", "boto3", "pulumi", "grpc", "yaml", "moto", "infra", "components", "app.engine")
    code = f"import sys, app.gateway.__main__, app.gateway.watch; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_image_is_based_on_a_digest_and_does_not_run_as_root():
    text = (ROOT / "app" / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert re.search(r"^ARG BASE$", text, re.MULTILINE), "a default would be a tag that may change"
    users = re.findall(r"^USER (\d+)", text, re.MULTILINE)
    assert users
    assert int(users[-1]) > 0
