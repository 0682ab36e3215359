"""Limits in plain Python, without I/O: what a gateway enforces alone while Redis is away.

It is also the reference that the Lua scripts are tested against: both must give the same verdicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from app.gateway.limits.policy import UNKNOWN_WAIT, Policy, Rule

DAY_SECONDS = 86_400
EPOCH = 1_735_689_600
"""Times are microseconds since 2025-01-01T00:00Z: small enough that a double keeps a thousandth of one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`refused_by` is the index of the rule with the longest `wait` (microseconds), -1 where none refuses.

    `left` holds, for each rule, what remains (requests, tokens, nano-dollars) and the microseconds until all of it is
    there again.
    """

    refused_by: int
    wait: int
    left: tuple[tuple[int, int], ...]

    @property
    def admitted(self) -> bool:
        return self.refused_by < 0


@dataclass(slots=True)
class _State:
    """One scope. A rate is kept as the time at which all of it is free again (GCRA's theoretical arrival time)."""

    free_at: dict[str, float] = field(default_factory=dict)
    spent: dict[str, tuple[int, int]] = field(default_factory=dict)
    """For `d` and `o`: the period (the day number of its first day) and the nano-dollars spent in it."""
    open: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    """Reservations by id: when it expires, tokens, nano-dollars."""
    tokens: int = 0
    nano: int = 0


def period(code: str, now: float) -> tuple[int, float]:
    """The period of `d` or `o` at `now`: the number of its first day since 1970, and the microseconds until its end."""
    seconds = EPOCH + now / 1e6
    today = int(seconds // DAY_SECONDS)
    if code == "d":
        first, following = today, today + 1
    else:
        shown = datetime.fromtimestamp(today * DAY_SECONDS, UTC).date()
        first = today - (shown.day - 1)
        following = first + (_next_month(shown) - shown.replace(day=1)).days
    return first, (following * DAY_SECONDS - EPOCH) * 1e6 - now


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _stored(value: float) -> float:
    return float(f"{value:.3f}")  # as the Lua script writes it


class Book:
    """The state of all scopes. `now` is given by the caller, in microseconds since EPOCH."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def admit(self, policy: Policy, now: float, lease: float, name: str, tokens: int, nano: int) -> Verdict:
        """Reserves `tokens` and `nano` under every limit, or nothing at all."""
        states = [self._state(scope.key, now) for scope in policy.scopes]
        refused_by, wait = -1, 0.0
        for index, rule in enumerate(policy.rules):
            needed = _wait(rule, states[rule.scope], now, tokens, nano)
            if needed > 0 and (refused_by < 0 or needed > wait):
                refused_by, wait = index, needed
        if refused_by < 0:
            for rule in policy.rules:
                if rule.code in "sm":
                    state = states[rule.scope]
                    state.free_at[rule.code] = _stored(max(state.free_at.get(rule.code, 0.0), now) + rule.interval)
            for number, state in enumerate(states):
                if _reserves(policy, number):
                    state.open[name] = (now + lease, tokens, nano)
                    state.tokens += tokens
                    state.nano += nano
        left = tuple(_left(rule, states[rule.scope], now) for rule in policy.rules)
        return Verdict(refused_by, math.ceil(wait), left)

    def settle(self, policy: Policy, now: float, name: str, used: tuple[int, int], *, force: bool) -> bool:
        """Replaces a reservation by what was used (tokens, nano-dollars). True where there was one.

        Without one nothing is charged, unless `force` says so.
        """
        had = False
        for number, scope in enumerate(policy.scopes):
            if not _reserves(policy, number):
                continue
            state = self._state(scope.key, now, clean=False)
            reserved = state.open.pop(name, None)
            if reserved is not None:
                had = True
                state.tokens -= reserved[1]
                state.nano -= reserved[2]
            elif not force:
                continue
            for rule in policy.rules:
                if rule.scope != number:
                    continue
                if rule.code == "t":
                    state.free_at["t"] = _stored(max(state.free_at.get("t", 0.0), now) + used[0] * rule.interval)
                elif rule.code in "do":
                    first, _ = period(rule.code, now)
                    state.spent[rule.code] = (first, _spent(state, rule, now) + used[1])
        return had

    def _state(self, key: str, now: float, *, clean: bool = True) -> _State:
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State()
        for name in [name for name, (expires, _, _) in state.open.items() if expires <= now] if clean else ():
            _, tokens, nano = state.open.pop(name)
            state.tokens -= tokens
            state.nano -= nano
        return state


def _reserves(policy: Policy, scope: int) -> bool:
    return any(rule.scope == scope and rule.code in "tcdo" for rule in policy.rules)


def _spent(state: _State, rule: Rule, now: float) -> int:
    first, spent = state.spent.get(rule.code, (0, 0))
    return spent if first == period(rule.code, now)[0] else 0


def _wait(rule: Rule, state: _State, now: float, tokens: int, nano: int) -> float:
    """Microseconds until this rule lets the request in; 0 where it does now."""
    if rule.code == "c":
        return UNKNOWN_WAIT if len(state.open) >= rule.most else 0.0
    if rule.code in "do":
        spent = _spent(state, rule, now)
        if spent + state.nano + nano <= rule.most:
            return 0.0
        return period(rule.code, now)[1] if spent + nano > rule.most else UNKNOWN_WAIT
    level = max(state.free_at.get(rule.code, 0.0) - now, 0.0)
    if rule.code == "t":
        over = level + (state.tokens + tokens - rule.most) * rule.interval
        if over <= 0:
            return 0.0
        return over if state.tokens + tokens <= rule.most else max(over - state.tokens * rule.interval, UNKNOWN_WAIT)
    return max(level + rule.interval - rule.most * rule.interval, 0.0)


def _left(rule: Rule, state: _State, now: float) -> tuple[int, int]:
    if rule.code == "c":
        return max(int(rule.most) - len(state.open), 0), UNKNOWN_WAIT if state.open else 0
    if rule.code in "do":
        left = rule.most - _spent(state, rule, now) - state.nano
        return max(math.floor(left), 0), math.ceil(period(rule.code, now)[1])
    level = max(state.free_at.get(rule.code, 0.0) - now, 0.0)
    held = state.tokens if rule.code == "t" else 0
    return (
        max(math.floor(rule.most - held - level / rule.interval), 0),
        math.ceil(level + held * rule.interval),
    )
