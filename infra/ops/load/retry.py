"""When OpenAI's clients send a request again, and after which pause. Pure.

As in openai-python (`_base_client.py`), which a test compares: the server may say by `x-should-retry` whether, and by
`retry-after-ms` or `retry-after` when; otherwise it is statuses that may pass, and pauses that double up to a bound,
each by chance up to a quarter shorter. Dates in `retry-after` are not read here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 8.0
JITTER = 0.25
"""Of a pause, by which chance may shorten it."""
LONGEST_TOLD_SECONDS = 120.0
"""Whoever is told to wait longer gives up."""
USUAL_RETRIES = 2
"""Of a client that was told nothing else (`max_retries`)."""


def worth_it(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer of this status is asked for again."""
    if (_told(headers) or 0) > LONGEST_TOLD_SECONDS:
        return False
    said = headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return status in (408, 409, 429) or status >= 500


def pause(tried: int, headers: Mapping[str, str], chance: float) -> float:
    """Seconds before the retry that follows `tried` earlier ones; `chance` from 0 to 1 is how much jitter shortens."""
    told = _told(headers)
    if told is not None and 0 < told <= LONGEST_TOLD_SECONDS:
        return told
    return min(FIRST_SECONDS * 2**tried, LONGEST_SECONDS) * (1 - JITTER * chance)


def retries_for(outage_seconds: float) -> int:
    """The fewest retries the last of which comes after an outage of so many seconds, whatever chance does.

    >>> retries_for(0.3), retries_for(15)
    (1, 6)
    """
    retries, latest = 0, 0.0
    while latest < outage_seconds:
        latest += pause(retries, {}, 1.0)
        retries += 1
    return retries


def _told(headers: Mapping[str, str]) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"), 1000)
    return _number(headers.get("retry-after"), 1) if milliseconds is None else milliseconds


def _number(text: str | None, unit: float) -> float | None:
    try:
        value = float(text or "") / unit
    except ValueError:
        return None
    return value if math.isfinite(value) else None
