"""Mistakes of the gateway's own: what a client is told, and what the log says of them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from app.gateway.errors import Problem

if TYPE_CHECKING:
    from app.gateway.reply import Reply

FRAMES = 4
FAULT = Problem(
    500,
    "The gateway itself failed on this request. Send it again; should it fail again, tell the operator its request id.",
    "internal_error",
)


def tell_fault(exchange: Reply, error: BaseException) -> None:
    """Logs where a mistake is, without its message: that may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    exchange.service.log.event(
        "fault",
        request_id=exchange.request_id.decode("ascii"),
        error=type(error).__name__,
        where=[f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    )
