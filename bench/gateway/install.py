"""Where the compared gateways come from: into the user's cache folder; neither the repository nor its lock has them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import kernel
from bench.gateway.compiled import Missing

INSTALL_SECONDS = 600
VERSION_SECONDS = 60
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # servers lie here; a user's PATH may leave it out


@dataclass(frozen=True)
class Installed:
    program: Path
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Debian:
    """A server of the system, else Debian's package and the libraries it needs, unpacked without root."""

    program: str
    packages: tuple[str, ...]
    version_argument: str

    def install(self, cache: Path) -> Installed:
        path = os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_FOLDERS))
        found = shutil.which(self.program, path=path)
        if found:
            return Installed(Path(found), _version([found, self.version_argument], {}))
        tree = cache / "debian"
        program = tree / "usr/sbin" / self.program
        if not program.exists():
            self._unpack(tree, path)
        libraries = os.pathsep.join(str(folder) for folder in tree.glob("usr/lib/*-linux-gnu"))
        environment = {"LD_LIBRARY_PATH": libraries}
        return Installed(program, _version([str(program), self.version_argument], environment), environment)

    def _unpack(self, tree: Path, path: str) -> None:
        if not shutil.which("apt-get", path=path) or not shutil.which("dpkg-deb", path=path):
            raise Missing(f"{self.program} is not on PATH, and there is no apt-get to fetch Debian's package with")
        folder = tree.parent / "packages" / self.program
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", "-qq", *self.packages], f"apt-get has no package {self.packages[0]}", folder)
        for package in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(tree)], f"{package.name} cannot be unpacked")


@dataclass(frozen=True)
class Wheels:
    """Packages of the package index in a virtual environment of their own. `folder`: a source tree instead."""

    name: str
    requirements: tuple[str, ...]
    program: str
    distribution: str
    python: tuple[int, int] = (3, 11)
    """The lowest minor version that the packages take."""

    def install(self, cache: Path) -> Installed:
        return self.install_from(self.requirements, cache)

    def install_from(self, requirements: tuple[str, ...], cache: Path, **environment: str) -> Installed:
        home = cache / "environments" / self.name
        ready, program = home / ".ready", home / "bin" / self.program
        wanted = "\n".join(requirements)
        if not ready.exists() or ready.read_text() != wanted or not program.exists():
            shutil.rmtree(home, ignore_errors=True)
            home.parent.mkdir(parents=True, exist_ok=True)
            uv, interpreter = _uv(), _interpreter(self.python)
            _run([uv, "venv", "--quiet", "--python", interpreter, str(home)], "uv cannot make an environment")
            install = [
                uv,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                str(home / "bin/python"),
                *requirements,
            ]
            _run(install, f"{self.name} cannot be installed", environment=environment)
            ready.write_text(wanted)
        found = next(home.glob(f"lib/python3*/site-packages/{self.distribution.replace('-', '_')}-*.dist-info"), None)
        return Installed(program, found.name.removesuffix(".dist-info").rpartition("-")[2] if found else "unknown")


@dataclass(frozen=True)
class Checkout:
    """A Python project that no package index has: its source tree must be on this machine."""

    wheels: Wheels
    variable: str
    """Environment variable that names the source tree; without it `sources/<name>` in the cache folder is taken."""

    def install(self, cache: Path) -> Installed:
        source = Path(os.environ.get(self.variable) or cache / "sources" / self.wheels.name)
        if not (source / "pyproject.toml").exists():
            raise Missing(f"on no package index: set {self.variable} to a checkout of its source tree")
        # A source tree without git history has no version to build with, so that each is built as 0.0.
        installed = self.wheels.install_from((str(source),), cache, SETUPTOOLS_SCM_PRETEND_VERSION="0.0")
        return Installed(installed.program, _commit(source, "--tags"))


@dataclass(frozen=True)
class Beside:
    """A program of Penstock's own environment."""

    program: str
    version_argument: str = ""
    module: str = ""

    def install(self, cache: Path) -> Installed:
        del cache
        program = Path(sys.executable).with_name(self.program)
        if not program.exists():
            raise Missing(f"{self.program} is not in the environment; `make setup` installs it")
        if not self.version_argument:
            return Installed(program, _commit(Path(__file__).parent, "--exclude=*"))
        return Installed(program, _version([str(program), self.version_argument], {}))


@dataclass(frozen=True)
class Interpreter:
    """The Python that runs the own gateway, in the checkout.

    The image's is built with profile-guided optimisation. Where the environment's is not, the distribution's of the
    same version is taken, with the environment's packages.
    """

    def install(self, cache: Path) -> Installed:
        del cache
        version = _commit(Path(__file__).parent, "--exclude=*")
        program = python_of_gateway()
        if program == Path(sys.executable):
            return Installed(program, version)
        return Installed(program, version, {"PYTHONPATH": sysconfig.get_path("platlib")})


def python_of_gateway() -> Path:
    """See Interpreter."""
    own = Path(sys.executable)
    if kernel.optimised_python():
        return own
    system = Path(f"/usr/bin/python3.{sys.version_info.minor}")
    return system if kernel.distributed(system) else own


Source = Debian | Wheels | Checkout | Beside | Interpreter


def version_in(text: str) -> str:
    """The first number with dots in a program's own words, with what follows it up to a blank: `1.22.1`."""
    match = re.search(r"(?<![\w.])v?(\d+\.\d+(?:\.\d+)*)", text.replace("/", " "))
    return match.group(1) if match else "unknown"


def _version(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=VERSION_SECONDS,
        env=os.environ | dict(environment),
    )
    return version_in(done.stdout + done.stderr)


def _commit(source: Path, option: str) -> str:
    """The commit of a source tree in git's words, or `unknown` where git cannot say."""
    command = ["git", "-C", str(source), "describe", "--always", option]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=VERSION_SECONDS)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        raise Missing("uv is neither in the environment nor on PATH; `make setup` installs it")
    return uv


def _interpreter(lowest: tuple[int, int]) -> str:
    """A Python of at least `lowest`: the one that runs this, else one on PATH or of pyenv. Raises Missing."""
    if sys.version_info[:2] >= lowest:
        return sys.executable
    for minor in range(lowest[1], lowest[1] + 4):
        name = f"python3.{minor}"
        candidates = [
            shutil.which(name),
            *map(str, sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))),
        ]
        for candidate in candidates:
            if candidate and _is_python(candidate):
                return candidate
    raise Missing(f"needs Python {lowest[0]}.{lowest[1]} or later, which is not on PATH")


def _is_python(program: str) -> bool:
    """False for a shim whose version is not there."""
    done = subprocess.run([program, "-c", ""], capture_output=True, check=False, timeout=VERSION_SECONDS)
    return done.returncode == 0


def _run(
    command: list[str], failed: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Raises Missing with the last words of the command where it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{failed}: no end after {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise Missing(f"{failed}: {last_words(done.stderr or done.stdout)}")


def last_words(text: str) -> str:
    """The last line that says something, without addresses: pages that are written from it name no host."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"\S*(?:https?://|/)\S+", "...", lines[-1])[:200] if lines else "it said nothing"
