"""The real vLLM on this machine's CPU, in place of the simulated engine: installed on demand, with a tiny random model.

`python -m infra.local.vllm FOLDER serve MODEL FLAG...` takes the place of the `vllm` command in engine pods. The CPU
build serves one model, `tiny`: 1.6 MB of random weights that answer with random text, by the real scheduler, tokenizer
and HTTP server.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.local.toolchain.environments import InstallError, locked_environment

MODEL_SECONDS = 300
MAKER = Path(__file__).with_name("tiny_model.py")
SERVER = "vllm.entrypoints.openai.api_server"
"""The CPU build's `vllm` script looks for a package of another name and fails."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_RPC_BASE_PATH": ".",
}
"""Several engines share few cores: one thread each, none bound to a core. The sockets between an engine's processes are
named from its working directory: a socket's path may have 107 characters, and a pod's folder has nearly as many."""

KV_CACHE_MIB = 128
"""For each engine: 130,000 tokens of the tiny model. Eight with 1 GiB each, vLLM's least by variable, take 18 GB."""

ON_GPUS_ALONE = ("--gpu-memory-utilization", "--load-format", "--model-loader-extra-config", "--tensor-parallel-size")
"""Flags with a value that the CPU build refuses or that make no sense there."""


def install(say: Callable[[str], object]) -> Path:
    """The folder of the environment, with the model beside it: 6 GB, a minute or two. Raises InstallError."""
    folder = locked_environment("vllm", say)
    wanted = model(folder)
    if not wanted.exists():
        say("making the tiny model ...")
        wanted.parent.mkdir(exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=wanted.parent) as unfinished:
                made = Path(unfinished) / "model"
                subprocess.run([folder / "bin" / "python", MAKER, made], check=True, timeout=MODEL_SECONDS)
                made.rename(wanted)
        except (OSError, subprocess.SubprocessError) as problem:
            raise InstallError(f"the tiny model could not be made: {problem}") from problem
    return folder


def model(folder: Path) -> Path:
    """Named after what makes it: another script makes another model."""
    return folder / "models" / hashlib.sha256(MAKER.read_bytes()).hexdigest()[:12]


def command(folder: Path, words: Sequence[str]) -> list[str]:
    """The CPU build's argument vector for `vllm serve MODEL FLAG...`. Raises ValueError for another command."""
    if len(words) < 2 or words[0] != "serve":
        raise ValueError(f"vllm {' '.join(words[:2])}: only `vllm serve MODEL` runs here")
    flags: list[str] = []
    rest = iter(words[2:])
    for word in rest:
        if word in ON_GPUS_ALONE:
            next(rest, None)
        else:
            flags.append(word)
    # -P: nothing in the working directory is a module of its.
    return [
        str(folder / "bin" / "python"),
        "-P",
        "-m",
        SERVER,
        "--model",
        str(model(folder)),
        "--enforce-eager",
        "--kv-cache-memory-bytes",
        str(KV_CACHE_MIB * 2**20),
        *flags,
    ]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The pod's, without what belongs to our own Python."""
    return {name: value for name, value in given.items() if not name.startswith("PYTHONPATH")} | ENVIRONMENT


def main() -> None:
    vector = command(Path(sys.argv[1]).absolute(), sys.argv[2:])
    os.chdir(tempfile.gettempdir())  # a pod's own, where the sockets go
    os.execve(vector[0], vector, environment(os.environ))  # noqa: S606 - takes this process's place: signals reach it


if __name__ == "__main__":
    main()
