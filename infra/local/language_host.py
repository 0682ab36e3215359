"""A Pulumi language host for Python: `python -m infra.local.language_host ENGINE_ADDRESS`.

The official one is a Go program that comes with Pulumi's release, and not with a `pulumi` that was built from its
module. This one runs programs, policy packs and component packages with the interpreter that runs it. The engine finds
it on PATH as `pulumi-language-python`, and beside it `pulumi-language-python-exec`, the script that runs a program.

It must end at once on SIGINT: the engine otherwise waits ten seconds at the end of each command.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found] - made at import
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

EXECUTOR = "pulumi-language-python-exec"
EXECUTOR_VARIABLE = "PENSTOCK_LANGUAGE_EXECUTOR"
"""Path of the executor, where it is not on PATH."""

ERROR_WAS_SHOWN = 32
"""Exit status of the executor after an error that the engine has already shown."""

WORKERS = 16
PARENT_SECONDS = 1.0
"""How soon the host notices that its engine has gone."""


class Children:
    """The programs and plug-ins that run now. They end with the host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[Any]] = set()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        with self._lock:
            self._running.add(child)
        return child

    def ended(self, child: subprocess.Popen[Any]) -> None:
        with self._lock:
            self._running.discard(child)

    def kill(self) -> None:
        """For a signal handler: takes no lock, since the interrupted thread may hold it."""
        for child in list(self._running):
            child.kill()


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The part of `pulumirpc.LanguageRuntime` that previews, updates, policy packs and packages call."""

    def __init__(self, engine_address: str, executor: str, children: Children) -> None:
        self._engine_address = engine_address
        self._executor = executor
        self._children = children

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC names
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi"))

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: N802
        """None: the plug-ins are installed by name and version, never looked for in packages."""
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.GetRequiredPluginsResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.GetProgramDependenciesResponse()

    def About(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        return iter(())

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.RuntimeOptionsResponse()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Runs a program to its end."""
        environment = os.environ | {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        child = self._children.start(
            program_command(request, self._engine_address, self._executor),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        context.add_callback(child.kill)
        output, _ = child.communicate()
        self._children.ended(child)
        if child.returncode == ERROR_WAS_SHOWN:
            return language_pb2.RunResponse(bail=True)
        if child.returncode:
            return language_pb2.RunResponse(error=f"the program ended with status {child.returncode}\n{output}")
        sys.stdout.write(output)  # the engine shows it as information; the port went out long before
        sys.stdout.flush()
        return language_pb2.RunResponse()

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Runs a policy pack (kind `analyzer`) or a component package and passes its output on as it comes."""
        child = self._children.start(
            plugin_command(request),
            cwd=request.pwd or None,
            env=os.environ | variables(request.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(child.kill)
        for field, line in interleaved({"stdout": child.stdout, "stderr": child.stderr}):
            yield language_pb2.RunPluginResponse(**{field: line})  # ty: ignore[invalid-argument-type]
        status = child.wait()
        self._children.ended(child)
        yield language_pb2.RunPluginResponse(exitcode=status)


def program_command(request: Any, engine_address: str, executor: str) -> list[str]:
    """The executor's command line for a RunRequest."""
    info = request.info
    program = Path(info.program_directory)
    if info.entry_point not in ("", "."):
        program /= info.entry_point
    command = [sys.executable, "-u", executor, "--monitor", request.monitor_address, "--engine", engine_address]
    command += ["--project", request.project, "--stack", request.stack, "--organization", request.organization]
    command += ["--root_directory", info.root_directory, "--pwd", request.pwd]
    command += ["--parallel", str(max(request.parallel, 1))]
    command += ["--dry_run", "true"] if request.dryRun else []
    return [*command, str(program), *request.args]


def plugin_command(request: Any) -> list[str]:
    """The command line for a RunPluginRequest."""
    program = request.info.program_directory
    if request.kind == "analyzer":
        return [sys.executable, "-u", "-m", "pulumi.policy", *request.args, program]
    return [sys.executable, "-u", program, *request.args]


def variables(entries: Sequence[str]) -> dict[str, str]:
    """`["NAME=value", ...]` as a mapping."""
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def interleaved(streams: Mapping[str, IO[bytes] | None]) -> Iterator[tuple[str, bytes]]:
    """Lines of several pipes with the pipe's name, as they come, until all have ended."""
    lines: queue.Queue[tuple[str, bytes] | None] = queue.Queue(maxsize=1000)

    def read(name: str, stream: IO[bytes]) -> None:
        for line in stream:
            lines.put((name, line))
        lines.put(None)

    opened = [(name, stream) for name, stream in streams.items() if stream is not None]
    for name, stream in opened:
        threading.Thread(target=read, args=(name, stream), daemon=True).start()
    ended = 0
    while ended < len(opened):
        line = lines.get()
        if line is None:
            ended += 1
        else:
            yield line


def find_executor() -> str:
    """Raises FileNotFoundError where there is none."""
    found = os.environ.get(EXECUTOR_VARIABLE) or shutil.which(EXECUTOR)
    if not found:
        raise FileNotFoundError(f"{EXECUTOR} is not on PATH, and {EXECUTOR_VARIABLE} does not name it")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = [one for one in (sys.argv[1:] if arguments is None else arguments) if not one.startswith("-")]
    engine = os.getppid()  # before it can know the port, and so before it can be done with this process
    children = Children()

    def end(*_: object) -> None:
        children.kill()
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        executor = find_executor()
    except FileNotFoundError as error:
        sys.exit(str(error))
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS))
    host = LanguageHost(given[-1] if given else "", executor, children)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while os.getppid() == engine:  # one that was killed sends no signal
        server.wait_for_termination(PARENT_SECONDS)
    end()


if __name__ == "__main__":
    main()
