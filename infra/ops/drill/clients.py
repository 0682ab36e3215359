"""What clients see of a drill on AWS: load from this machine while the experiment runs.

The load has a thread of its own, so that the experiment is watched, and stopped where it is interrupted, as without it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from infra.ops.drill.catalogue import PROMISED_SECONDS, Drill
from infra.ops.drill.figures import failed_after, gaps_over, outage
from infra.ops.drill.run import CLIENT_RETRIES, SETTLE_SECONDS, STREAM_TOKENS, Options, begin_stalls, plenty
from infra.ops.endpoint import Endpoint
from infra.ops.errors import PenstockError
from infra.ops.load.generator import MOST_REQUESTS, Load, Plan

LONGEST_SECONDS = 3600.0
POLL_SECONDS = 0.1
_T = TypeVar("_T")


class Clients:
    """Sends load while it is entered. Raises PenstockError where its streams do not open, or the load itself ends."""

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self._options = options
        plan = Plan(
            endpoint.models[0],
            rate=options.rate,
            streams=options.streams,
            seconds=min(LONGEST_SECONDS, MOST_REQUESTS / options.rate),
            stream_tokens=STREAM_TOKENS,
            timeout_seconds=30,
            retries=CLIENT_RETRIES,
            allow_remote=True,
        )
        self._load = Load(endpoint, plan)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._ended: BaseException | None = None
        self._stall_before, self._broke_at, self._mark = 0.0, 0.0, self._load.records.mark()

    def _send(self) -> None:
        try:
            self._loop.run_until_complete(self._load.run())
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            self._ended = error
        finally:
            self._loop.close()

    def _in_loop(self, work: Callable[[], _T]) -> _T:
        """There, where nothing else touches the records."""

        async def done() -> _T:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(timeout=SETTLE_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._load.open_streams < plenty(self._options.streams):
            if time.monotonic() > deadline or not self._thread.is_alive():
                self._end()
                said = f": {self._ended}" if self._ended else "."
                raise PenstockError(f"Streams do not open at the stack's gateway{said}", "See `penstock status`.")
            time.sleep(POLL_SECONDS)
        time.sleep(self._options.calm_seconds)
        self._in_loop(self._begin)
        return self

    def _begin(self) -> None:
        self._stall_before, self._load.late = begin_stalls(self._load), 0.0
        self._broke_at, self._mark = self._load.now, self._load.records.mark()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: the load has ended by itself
            self._loop.call_soon_threadsafe(self._load.stop)
        self._thread.join(SETTLE_SECONDS)

    def figures(self) -> dict[str, float | None]:
        """As a drill here has them, less what only the cluster tells. To be called once the load has ended."""
        records, stalls = self._load.records.since(self._mark), self._load.records.all_gaps()
        whole = records.figures()
        return {
            "requests": whole.requests,
            "retried": sum(one.retries > 0 for one in (*records.requests, *records.streams)),
            "failed": whole.failed_requests + whole.failed_streams - whole.cut_streams,
            "failed_late": failed_after(records, self._broke_at + PROMISED_SECONDS),
            "streams": whole.streams,
            "cut": whole.cut_streams,
            "worst_stall": round(stalls.largest, 3),
            "stalled_200ms": gaps_over(stalls, 0.2),
            "outage_seconds": round(outage(records, self._broke_at - 1.0), 3),
            "stall_before": round(self._stall_before, 3),
            "client_late": round(self._load.late, 3),
        }


def missed(drill: Drill, figures: Mapping[str, float | None]) -> Sequence[str]:
    """The aims that these figures miss. What is not measured from outside is not judged."""
    return [aim.words for aim in drill.aims if aim.figure in figures and aim.missed(figures)]
