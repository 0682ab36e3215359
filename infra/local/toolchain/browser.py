"""A browser for tests: one on PATH, else Debian's headless chromium in the user's cache, without root.

apt fetches the index into a folder of ours and checks its signature with the system's keyring, and each package against
the index; dpkg-deb unpacks them. Nothing is installed, no script of a package runs. Only packages that the machine
lacks are taken. Measured with an empty cache on two busy cores: 38 s, 110 MB fetched, 300 MB on the disk.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.toolchain.find import ToolchainError, cache_folder, only_one

if TYPE_CHECKING:
    from infra.ops.progress import Progress

ON_PATH = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core", "fontconfig-config")
PROGRAM = Path("usr", "lib", "chromium", "chromium-headless-shell")
FOLDER = "chromium"
INDEX_SECONDS, FETCH_SECONDS, UNPACK_SECONDS = 120, 300, 120
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Browser:
    program: Path
    environment: Mapping[str, str]
    """Beside the process's own."""


def browser(progress: Progress, cache: Path | None = None) -> Browser:
    """Finds or fetches a chromium. Raises ToolchainError, one sentence with the next step."""
    for name in ON_PATH:
        if found := shutil.which(name):
            return Browser(Path(found), {})
    cache = (cache or cache_folder()) / "browser"  # a lock of its own: the platform's tools may be built meanwhile
    home = cache / FOLDER
    if not (home / PROGRAM).exists():
        with only_one(cache, progress):
            if not (home / PROGRAM).exists():
                with progress.step("chromium: fetching Debian's packages", 25):
                    _fetch(home)
    return Browser(home / PROGRAM, _environment(home))


def _fetch(home: Path) -> None:
    """Renames the folder into place when it is whole."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ToolchainError("the browser tests need chromium: this system is no Debian, so put one on PATH")
    fresh = home.with_name(f"{home.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    apt = fresh / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    options = {
        "Dir::State::lists": str(apt / "lists"),
        "Dir::Cache": str(apt / "cache"),
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": getpass.getuser(),
        "Acquire::Languages": "none",
    }
    command = ["apt-get", "-q", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    _run([*command, "update"], INDEX_SECONDS, "the index of Debian's packages")
    wanted = ["install", "--yes", "--download-only", "--no-install-recommends", "--reinstall", *PACKAGES]
    _run([*command, *wanted], FETCH_SECONDS, "chromium and its libraries")
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(fresh)], UNPACK_SECONDS, package.name)
    shutil.rmtree(apt)
    if not (fresh / PROGRAM).exists():
        raise ToolchainError(f"Debian's packages {', '.join(PACKAGES)} have no {PROGRAM}; put a chromium on PATH")
    (fresh / "fonts.conf").write_text(FONTS.format(fonts=home / "usr" / "share" / "fonts", cache=home / "fonts.cache"))
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)


def _run(command: list[str], seconds: int, what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"{what}: not there after {seconds} s; try again, or put a chromium on PATH") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise ToolchainError(f"{what} could not be had ({said}); put a chromium on PATH")


def _environment(home: Path) -> dict[str, str]:
    """Libraries and fonts of the folder; the system's come behind them."""
    folders = sorted({str(found.parent) for found in (home / "usr" / "lib").rglob("*.so*")})
    rest = os.environ.get("LD_LIBRARY_PATH")
    return {
        "LD_LIBRARY_PATH": os.pathsep.join([*folders, *([rest] if rest else [])]),
        "FONTCONFIG_FILE": str(home / "fonts.conf"),
    }
