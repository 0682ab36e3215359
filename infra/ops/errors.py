"""What a command says when it cannot go on, and the exit codes that scripts rely on."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Documented in `penstock --help`: public API."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    INTERRUPTED = 130


class PenstockError(Exception):
    """One sentence with the cause, and one with the next step."""

    exit_code = ExitCode.FAILURE

    def __init__(self, cause: str, next_step: str = "") -> None:
        super().__init__(" ".join(part for part in (cause, next_step) if part))
        self.cause = cause
        self.next_step = next_step


class UsageError(PenstockError):
    """An argument that cannot be right, whatever the stack's state."""

    exit_code = ExitCode.USAGE


class NotRunningError(PenstockError):
    """The platform, or the stack on it, is not there."""

    exit_code = ExitCode.NOT_RUNNING


class RefusedError(PenstockError):
    """A check, a preview or the person at the prompt said no. Nothing was changed."""

    exit_code = ExitCode.REFUSED
