"""Single flight: one request goes to an engine, identical ones that come meanwhile follow it.

The leader hands what it relays to its followers. A leader that leaves hands over the engine's answer under way to a
follower; one that fails lets a follower try anew.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.cache.canonical import Collected
from app.gateway.errors import Problem, timed_out
from app.gateway.retry import shutting_down
from app.gateway.rewrite import only_comments

if TYPE_CHECKING:
    from app.gateway.account import Usage
    from app.gateway.cache.answers import Answers, Asked
    from app.gateway.cache.entry import Entry
    from app.gateway.exchange import Exchange

MOST_REPLAY_BYTES = 1024 * 1024
"""A stream longer than this takes no more followers: its beginning is not kept."""
MOST_BEHIND_BYTES = 1024 * 1024
"""A follower whose client reads so far behind is cut: the others do not wait for it."""
MOST_LEADERS = 3
"""After so many failures of one flight its other followers get the last one's."""
TOO_SLOW = "The client read too slowly while it shared another request's stream. Send the request again."


class Lead:
    """A request that goes to an engine, and those that follow it."""

    def __init__(self, answers: Answers, exchange: Exchange, asked: Asked, *, number: int = 1) -> None:
        self.answers = answers
        self.exchange = exchange
        self.asked = asked
        self.number = number
        """Of the leaders that this flight has had."""
        self.followers: list[Follower] = []
        self.problem: Problem | None = None
        """The error that the leader's client got."""
        self.kept: Entry | None = None
        """The answer, where it was kept already."""
        self._told: tuple[str, str] | None = None
        self._replay: list[bytes] | None = []
        self._replayed = 0
        self._body = b""
        self._stream = exchange.admitted is not None and exchange.admitted.stream
        self._collected: Collected | None = None
        if self._stream and asked.store:
            self._collected = Collected(exchange.route, answers.config.max_answer_bytes)

    # -- followers --

    def join(self, exchange: Exchange, asked: Asked) -> bool:
        """Takes a follower: a stream that of the same form, a plain request any. False: it must go alone."""
        stream = exchange.admitted is not None and exchange.admitted.stream
        if len(self.followers) >= self.answers.config.max_followers:
            return False
        if stream and (not self._stream or asked.usage != self.asked.usage or self._replay is None):
            return False
        follower = Follower(self, exchange, asked, live=stream)
        self.followers.append(follower)
        exchange.cache_part = follower
        self.answers.mark(exchange, "coalesced")
        exchange.saved = True
        exchange.deadline = exchange.total_deadline = monotonic() + exchange.service.config.timeouts.total_seconds
        if stream and self._replay:
            follower.relay(b"".join(self._replay))
        return True

    # -- what Reply and Exchange tell --

    def add(self, data: bytes) -> None:
        """Whole events of a stream, or a whole JSON answer, just written to the leader's own client."""
        if not self._stream:
            self._body = data
            return
        if self._collected is not None:
            self._collected.add(data)
        if self._replay is not None:
            self._replayed += len(data)
            if self._replayed > MOST_REPLAY_BYTES:
                self._replay = None
            else:
                self._replay.append(data)
        for follower in [one for one in self.followers if one.live]:
            follower.relay(data)

    def cut(self, message: str, code: str) -> None:
        """The stream ends with an error event."""
        self._told = (message, code)

    def turned(self, lines: bytes) -> None:
        """Another model than the one asked for answers, or none: that is not kept, and followers are told (`lines`)."""
        self.asked = replace(self.asked, wish=replace(self.asked.wish, store=False))
        for follower in self.followers:
            follower.exchange.route_lines = lines

    def gone(self) -> bool:
        """The client left. True where a follower took over the answer under way."""
        old = self.exchange
        attempt = old.attempt
        hedged = old.hedge is not None and old.hedge.second is not None
        if attempt is None or hedged or (old.response_started and not self._stream):
            return False
        heir = next((one for one in self.followers if one.live == self._stream), None)
        if heir is None:
            return False
        self.followers.remove(heir)
        new = heir.exchange
        attempt.exchange = new
        if old.course is None:  # the heir came by a route that has decided nothing yet
            new.course = None
        new.take_over(old)
        if new.resumption is not None:
            new.resumption.pass_to(new)
        new.cache_part, self.exchange = self, new
        old.cache_part = None
        self.answers.pays(new)
        return True

    def done(self, status: int, outcome: str, usage: Usage | None) -> None:
        """The leader's reply has ended; called once."""
        self.exchange.cache_part = None
        self.answers.landed(self)
        followers, self.followers = self.followers, []
        if status == 200 and outcome == "ok":
            self._went_well(followers, usage)
            return
        waiting = []
        for follower in followers:
            follower.exchange.cache_part = None
            if not follower.exchange.response_started:
                waiting.append(follower)
            else:
                message, code = self._told or ("The answer that this request shared was lost.", "upstream_interrupted")
                follower.exchange.cut_stream(message, code, None, 0)
        problem = self.problem
        final = problem is not None and (400 <= problem.status < 500 or self.number >= MOST_LEADERS)
        if problem is not None and final:
            for follower in waiting:
                follower.exchange.answer(problem)
        elif waiting:
            self._promote(waiting)

    def _went_well(self, followers: list[Follower], usage: Usage | None) -> None:
        reply = self._body or None if self._collected is None else self._collected.reply(usage)
        entry = self.answers.keep(self, reply)
        for follower in followers:
            exchange = follower.exchange
            exchange.cache_part = None
            if exchange.response_started:
                follower.account()
                exchange.end("ok", None, 0)
                continue
            told, exchange.route_lines = exchange.route_lines, self.exchange.route_lines
            if entry is None or not self.answers.serve(exchange, follower.asked, entry, "coalesced"):
                exchange.route_lines = told
                self.answers.alone(exchange)

    def expired(self) -> None:
        """Its look-ups have time limits of their own."""

    def stop(self) -> None:
        """The gateway goes down before an engine was asked."""
        self.exchange.answer(shutting_down().problem)

    def _promote(self, waiting: list[Follower]) -> None:
        first, *others = waiting
        exchange = first.exchange
        lead = Lead(self.answers, exchange, first.asked, number=self.number + 1)
        exchange.cache_part = lead
        self.answers.pays(exchange)
        for follower in others:
            if not (follower.live and not lead._stream) and lead.join(follower.exchange, follower.asked):
                continue
            self.answers.alone(follower.exchange)
        self.answers.flies(lead)
        self.answers.soon(exchange)


class Follower:
    """A request that waits for a leader's answer, or gets it as it comes (`live`)."""

    __slots__ = ("asked", "exchange", "lead", "live", "problem")

    def __init__(self, lead: Lead, exchange: Exchange, asked: Asked, *, live: bool) -> None:
        self.lead = lead
        self.exchange = exchange
        self.asked = asked
        self.live = live
        self.problem: Problem | None = None

    def relay(self, events: bytes) -> None:
        exchange = self.exchange
        head = b""
        if not exchange.response_started:
            exchange.route_lines = self.lead.exchange.route_lines
            head = exchange.begin(b"text/event-stream; charset=utf-8", 200)
        if not exchange.first_event_at and not only_comments(events):
            exchange.first_event_at = monotonic()
        self.account()
        exchange.write(events, head)
        if exchange.protocol.transport.get_write_buffer_size() > MOST_BEHIND_BYTES:
            exchange.cut_stream(TOO_SLOW, "client_too_slow", None, 0)

    def turned(self, lines: bytes) -> None:
        """Another model answers: the leader tells its followers."""

    def account(self) -> None:
        """Before the last byte goes out: the leader's account is there by then."""
        account = self.lead.exchange.account
        if account is not None:
            self.lead.answers.credit(self.exchange, account)

    # -- what Reply and Exchange tell --

    def add(self, data: bytes) -> None:
        """Nothing comes from this side."""

    def cut(self, message: str, code: str) -> None:
        """Its own end, said to its own client."""

    def gone(self) -> bool:
        return False

    def done(self, status: int, outcome: str, usage: Usage | None) -> None:
        """This client has left, or was answered."""
        self.exchange.cache_part = None
        if self in self.lead.followers:
            self.lead.followers.remove(self)

    def expired(self) -> None:
        exchange = self.exchange
        seconds = exchange.service.config.timeouts.total_seconds
        if exchange.response_started:
            exchange.cut_stream(
                f"Time-out in the middle of the answer, after {seconds:g} s in all.", "timeout", None, 0
            )
        else:
            exchange.answer(timed_out(f"the request took longer than {seconds:g} s"))

    def stop(self) -> None:
        """The gateway goes down."""
        problem = shutting_down().problem
        if self.exchange.response_started:
            self.exchange.cut_stream(problem.message, "shutting_down", None, 0)
        else:
            self.exchange.answer(problem)
