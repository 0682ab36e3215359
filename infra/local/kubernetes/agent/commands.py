"""What can run without images: the first word of a container's command decides. Pure but for the look-up of a tool."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAMS: Mapping[str, Sequence[str]] = {
    "python": (sys.executable,),
    "python3": (sys.executable,),
    "vllm": (sys.executable, "-m", "app.engine"),
}
"""First word of a container's command -> what stands in for it."""

Programs = Mapping[str, Sequence[str]]


REAL_VLLM = "infra.local.vllm"


def programs(vllm: Path | None) -> Programs:
    """With the folder of a real vLLM, that one runs in place of the simulated engine."""
    real = {} if vllm is None else {"vllm": (sys.executable, "-m", REAL_VLLM, str(vllm))}
    return {**PROGRAMS, **real}


def is_heavy(words: Sequence[str]) -> bool:
    """Whether a command takes a minute of CPU to start."""
    return REAL_VLLM in words[:3]


TOOLS = frozenset({"cat", "echo", "false", "sh", "sleep", "test", "true"})
"""What hooks and exec probes may call besides: found on the system's default path."""


class UnknownProgramError(ValueError):
    """A command that nothing here stands in for."""


def command_line(container: Mapping, offered: Programs = PROGRAMS, *, tools: bool = False) -> list[str]:
    """The process's argument vector before expansion. Raises UnknownProgramError, saying what can run."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if not words:
        raise UnknownProgramError(
            f"image {container.get('image')!r} is not pulled here and the container names no command; "
            f"set command to one of: {', '.join(sorted(PROGRAMS))}"
        )
    return resolve(words, offered, tools=tools)


def resolve(words: Sequence[str], offered: Programs = PROGRAMS, *, tools: bool = False) -> list[str]:
    """Replaces the first word by what stands in for it."""
    first, rest = words[0], list(words[1:])
    name = first.rpartition("/")[2]
    if name in offered:
        return [*offered[name], *rest]
    if tools and name in TOOLS and (found := shutil.which(name, path=os.defpath)):
        return [found, *rest]
    allowed = sorted({*offered, *(TOOLS if tools else ())})
    raise UnknownProgramError(
        f"no program {first!r} on the local target; a command may begin with: {', '.join(allowed)}"
    )
