"""Downloads a tool's official release: a few seconds to connect, then checked against its published SHA-256 sums."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.toolchain.tools import Binary, Tool

if TYPE_CHECKING:
    from infra.ops.progress import Progress

CONNECT_SECONDS = 4.0
_ARCHITECTURES = {"x86_64": ("amd64", "x64"), "aarch64": ("arm64", "arm64")}


def download(tool: Tool, target: Path, progress: Progress) -> str:
    """Puts the tool's files into the folder `target`. Returns "" or the reason why it could not, for a person."""
    if not all(binary.release for binary in tool.binaries):
        return "none is published as a program"
    architectures = _ARCHITECTURES.get(platform.machine())
    if architectures is None:
        return f"no release for {platform.machine()}"
    values = {
        "version": tool.version,
        "number": tool.version.removeprefix("v"),
        "arch": architectures[0],
        "pulumi_arch": architectures[1],
    }
    try:
        for binary in tool.binaries:
            url = binary.release.format(**values)
            expected = _checksum(binary.checksums.format(**values), url.rsplit("/", 1)[1])
            with progress.step(f"{binary.name} {tool.version}: downloading the official release"):
                _fetch(url, expected, binary, target)
    except (OSError, ValueError, tarfile.TarError) as error:
        shutil.rmtree(target)
        target.mkdir()
        return str(getattr(error, "reason", error))
    return ""


def _checksum(url: str, name: str) -> str:
    """The sum of `name` in a list of `<sum>  <name>` lines, or the only sum there is. Raises ValueError without one."""
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as reply:  # noqa: S310 - https, from the table
        lines = [line.split() for line in reply.read(1 << 20).decode().splitlines() if line.strip()]
    for line in lines:
        if len(line) == 1 and len(lines) == 1:
            return line[0]
        if len(line) >= 2 and line[-1].lstrip("*") == name:
            return line[0]
    raise ValueError(f"the release's checksums do not name {name}")


def _fetch(url: str, expected: str, binary: Binary, target: Path) -> None:
    partial = target / f"{binary.name}.partial"
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as reply, partial.open("wb") as file:  # noqa: S310
        while block := reply.read(1 << 20):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != expected:
        raise ValueError(f"{url.rsplit('/', 1)[1]} does not have the published checksum")
    if url.endswith(".tar.gz"):
        with tarfile.open(partial) as archive:
            for member in archive.getmembers():
                if member.isfile() and member.mode & 0o100:
                    member.name = Path(member.name).name  # no folders: nothing can leave `target`
                    archive.extract(member, target, filter="data")
        partial.unlink()
    else:
        partial.chmod(0o755)
        partial.rename(target / binary.name)
    if not (target / binary.name).exists():
        raise ValueError(f"{url.rsplit('/', 1)[1]} holds no {binary.name}")
