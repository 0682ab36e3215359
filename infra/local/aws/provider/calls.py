"""Records which calls a deployment makes: the operations of AWS's APIs, one `service:Operation` a line.

With PENSTOCK_AWS_CALLS=FILE in the environment of `pulumi` or `penstock`, the plug-in appends each of its calls to
FILE. The deployer's policy is compared with such a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

VARIABLE = "PENSTOCK_AWS_CALLS"

Recorder = Callable[[str], None]


def from_environment(environment: Mapping[str, str]) -> Recorder | None:
    """What appends to the file that the environment names; None where it names none."""
    name = environment.get(VARIABLE)
    return appending(Path(name)) if name else None


def appending(path: Path) -> Recorder:
    def record(operation: str) -> None:
        # Opened for each line: plug-ins of parallel commands write into one file.
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{operation}\n")

    return record


def attach(client: Any, record: Recorder) -> None:
    """Has a boto3 client report each call before it is sent, whether it succeeds or not; retries are not repeated."""

    def before_call(model: Any, **_: Any) -> None:
        record(f"{model.service_model.service_name}:{model.name}")

    client.meta.events.register("before-call", before_call)
