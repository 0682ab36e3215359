"""Continuous batching as vLLM's scheduler does it: chunked prefill, decode, preemption, first come first served. Pure.

The caller asks for a step (`plan`), waits as long as the step takes, and has it done (`complete`). Time is whatever the
caller passes; nothing here reads a clock or knows of text: a sequence draws its next token from a function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.engine.kv import BLOCK, BlockPool, chain

END = 1
"""The id of the end-of-sequence token."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One sequence: the prompt's tokens, and a function that draws the next token of the answer."""

    tokens: list[int]
    draw: Callable[[], int]
    limit: int
    """Most tokens of the answer, at least 1."""
    arrived: float = 0.0
    salt: int = 0
    owner: object = None
    """The caller's own: who gets the tokens."""
    asked: int = 1
    """Answers that the request wanted to the same prompt."""

    prompt: int = field(init=False)
    computed: int = 0
    """Tokens whose keys and values are in the cache."""
    hashes: list[int] = field(default_factory=list)
    private: int = 0
    chained: list[int] = field(default_factory=list)
    generated: int = 0
    cached: int = 0
    """Prompt tokens that the prefix cache spared."""
    preemptions: int = 0
    scheduled: float = -1.0
    first: float = -1.0
    last: float = -1.0
    finished: str | None = None

    def __post_init__(self) -> None:
        self.prompt = len(self.tokens)


@dataclass(frozen=True, slots=True)
class Rates:
    """How long work takes. Rates in tokens/s; `knee` in sequences."""

    prefill: float = 8000.0
    decode: float = 80.0
    knee: int = 32
    slow_factor: float = 1.0

    def seconds(self, prefill_tokens: int, sequences: int) -> float:
        """Duration of one step: every decoding sequence gets one token, beyond the knee they share the rate."""
        duration = prefill_tokens / self.prefill
        if sequences:
            duration += max(1.0, sequences / self.knee) / self.decode
        return duration * self.slow_factor


@dataclass(slots=True)
class Step:
    """Work of one step: (sequence, tokens to compute) pairs, and the seconds that it takes."""

    work: list[tuple[Sequence, int]]
    prefill_tokens: int
    seconds: float


@dataclass(slots=True)
class Totals:
    """Counts since the start, in tokens unless named otherwise."""

    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0
    prompt: int = 0
    prompt_cached: int = 0
    generated: int = 0


class Scheduler:
    """Raises ValueError where one request of `max_model_len` tokens would not fit into the cache."""

    def __init__(
        self,
        pool: BlockPool,
        rates: Rates,
        *,
        max_model_len: int,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        chunked_prefill: bool = True,
    ) -> None:
        if pool.capacity * BLOCK < max_model_len:
            raise ValueError(
                f"the KV cache holds {pool.capacity * BLOCK} tokens, fewer than max_model_len={max_model_len}: "
                "decrease --max-model-len or increase PENSTOCK_SIM_KV_CACHE_TOKENS"
            )
        if not chunked_prefill and max_num_batched_tokens < max_model_len:
            raise ValueError(
                f"max_num_batched_tokens={max_num_batched_tokens} is smaller than max_model_len={max_model_len}, "
                "which needs chunked prefill"
            )
        self.pool = pool
        self.rates = rates
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.chunked_prefill = chunked_prefill
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.totals = Totals()

    @property
    def prefill_backlog(self) -> int:
        """Prompt tokens of all sequences that have no token of their answer yet."""
        pending = sum(s.prompt for s in self.waiting if s.generated == 0)
        return pending + sum(s.prompt for s in self.running if s.generated == 0)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence, reason: str = "abort") -> None:
        """Ends a sequence from outside; a step under way brings it no more tokens."""
        if sequence.finished is None:
            self._finish(sequence, reason)

    def plan(self, now: float) -> Step | None:
        """The next step, or None when there is nothing to do. `now` in seconds of the caller's clock."""
        budget = self.max_num_batched_tokens
        work: list[tuple[Sequence, int]] = []
        decoding = prefilling = 0
        preempted = False
        index = 0
        running, pool = self.running, self.pool
        while index < len(running) and budget > 0:
            sequence = running[index]
            count = min(len(sequence.tokens) - sequence.computed, budget)
            held = len(sequence.hashes) + sequence.private
            wanted = (sequence.computed + count + BLOCK - 1) // BLOCK - held
            if wanted > 0 and not pool.allocate(wanted):
                preempted = True
                victim = running.pop()
                self._preempt(victim)
                continue  # the same sequence tries again, unless it was the victim
            if wanted > 0:
                sequence.private += wanted
            index += 1
            budget -= count
            work.append((sequence, count))
            if count == 1 and sequence.generated:
                decoding += 1
            else:
                prefilling += count
        while self.waiting and budget > 0 and not preempted and len(running) < self.max_num_seqs:
            count = self._admit(self.waiting[0], budget, now)
            if count == 0:
                break
            sequence = self.waiting.popleft()
            running.append(sequence)
            budget -= count
            prefilling += count
            work.append((sequence, count))
        if not work:
            return None
        return Step(work, prefilling, self.rates.seconds(prefilling, decoding))

    def complete(self, step: Step, now: float) -> list[tuple[Sequence, int, str | None]]:
        """Does the step. Returns (sequence, token, why it ended or None) in the order of the batch."""
        events: list[tuple[Sequence, int, str | None]] = []
        pool, totals = self.pool, self.totals
        for sequence, count in step.work:
            if sequence.finished is not None:
                continue
            computed = sequence.computed = sequence.computed + count
            full = computed // BLOCK
            if full > len(sequence.hashes):
                sequence.chained = chain(sequence.tokens, sequence.salt, sequence.chained)
                for value in sequence.chained[len(sequence.hashes) : full]:
                    pool.seal(value)
                    sequence.private -= 1
                    sequence.hashes.append(value)
            if computed < len(sequence.tokens):
                continue
            token = sequence.draw()
            if sequence.generated == 0:
                totals.prompt += sequence.prompt
                totals.prompt_cached += sequence.cached
            sequence.tokens.append(token)
            sequence.generated += 1
            totals.generated += 1
            reason = None
            if token == END:
                reason = "stop"
            elif sequence.generated >= sequence.limit:
                reason = "length"
            events.append((sequence, token, reason))
            if reason is not None:
                self._finish(sequence, reason)
        return events

    def _admit(self, sequence: Sequence, budget: int, now: float) -> int:
        """Takes cached and empty blocks for the head of the queue. Tokens to compute now; 0 where it must wait."""
        tokens = len(sequence.tokens)
        sequence.chained = chain(sequence.tokens, sequence.salt, sequence.chained)
        # At least one token must be computed, or there would be nothing to draw the next one from.
        hits = self.pool.leading_hits(sequence.chained, (tokens - 1) // BLOCK)
        count = min(tokens - hits * BLOCK, budget)
        if not self.chunked_prefill and count < tokens - hits * BLOCK:
            return 0
        cached = sequence.chained[:hits]
        self.pool.pin(cached)
        wanted = (hits * BLOCK + count + BLOCK - 1) // BLOCK - hits
        if not self.pool.allocate(wanted):
            self.pool.release(cached, 0)
            return 0
        sequence.hashes = cached
        sequence.private = wanted
        sequence.computed = hits * BLOCK
        if sequence.scheduled < 0:
            sequence.scheduled = now
            sequence.cached = hits * BLOCK
            if self.pool.caching:
                self.totals.prefix_queries += tokens
                self.totals.prefix_hits += hits * BLOCK
        return count

    def _preempt(self, sequence: Sequence) -> None:
        self._free(sequence)
        sequence.preemptions += 1
        self.totals.preemptions += 1
        self.waiting.appendleft(sequence)

    def _finish(self, sequence: Sequence, reason: str) -> None:
        sequence.finished = reason
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self._free(sequence)

    def _free(self, sequence: Sequence) -> None:
        self.pool.release(sequence.hashes, sequence.private)
        sequence.hashes = []
        sequence.private = 0
        sequence.computed = 0
