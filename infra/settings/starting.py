"""How long an engine takes to start, and what follows from it. Pure.

A start is a process that comes up, compiles and captures its graphs, and weights that are read. The first part is
measured or set, the second follows from size and bandwidth.
"""

from __future__ import annotations

import math

STREAMED_GIB_PER_SECOND = 0.5
"""From S3 to the GPU: the slow end of Run:ai's benchmark, an 8B model (15 GB) in 28 s with 4 readers, 5 s with 32."""
VOLUME_GIB_PER_SECOND = 0.12
"""From the node's volume: gp3 gives 125 MiB/s unless more is paid for."""
PROCESS_SECONDS = 90
"""vLLM 0.32 with a tiny model was ready 46 to 90 s after its start, on two cores."""
ROOM = 2
"""A limit is so many times what is expected: a probe that ends a start too early makes it begin anew for ever."""
SHORTEST_COOLDOWN_SECONDS = 300
SHORTEST_STABILISATION_SECONDS = 300
LONGEST_STABILISATION_SECONDS = 3600
"""The longest that Kubernetes' autoscaler takes."""


def read_seconds(weights_gib: float, *, streamed: bool) -> int:
    """To read the weights once, in seconds, rounded up."""
    return math.ceil(weights_gib / (STREAMED_GIB_PER_SECOND if streamed else VOLUME_GIB_PER_SECOND))


def expected_seconds(weights_gib: float, *, streamed: bool) -> int:
    """From a container's start to its first answer. The image's pull and a new node come before it."""
    return PROCESS_SECONDS + read_seconds(weights_gib, streamed=streamed)


def limit_seconds(process_seconds: int, weights_gib: float, *, streamed: bool) -> int:
    """What the startup probe allows: `process_seconds` (probes.engineStartupSeconds), and the weights with room."""
    return process_seconds + ROOM * read_seconds(weights_gib, streamed=streamed)


def cooldown_seconds(start_seconds: int) -> int:
    """Idle time before the last engine goes. Waiting three starts keeps a start below a third of the time between."""
    return max(SHORTEST_COOLDOWN_SECONDS, 3 * start_seconds)


def stabilisation_seconds(start_seconds: int) -> int:
    """How far back demand is looked at before engines go: one taken away too early costs a whole start to get back."""
    return min(max(SHORTEST_STABILISATION_SECONDS, 2 * start_seconds), LONGEST_STABILISATION_SECONDS)
