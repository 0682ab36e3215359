"""One inference request, from the first byte of its headers to its row in the ledger.

The class is built in layers, in the order of a request's way: `reply` (what is written), `arrival` (headers and body),
`stages` (admit, route, guards, limits, cache), `engines` (tries, failures). Here is what reaches it from outside, and
its end. docs/gateway.md follows one request through the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway import retry
from app.gateway.arrival import FOREVER
from app.gateway.balance import placing
from app.gateway.engines import AtEngines
from app.gateway.fault import FAULT, tell_fault
from app.gateway.finish import finish
from app.gateway.ledger.record import record
from app.gateway.limits.charge import charge
from app.gateway.reply import reply_head

if TYPE_CHECKING:
    from app.gateway.account import Account, Usage

CLIENT_GONE = 499
"""nginx's status for a client that closed first; it is in metrics and logs, nobody receives it."""


class Exchange(AtEngines):
    # -- from outside --

    def expired(self, now: float) -> None:
        try:
            self._expire(now)
        except Exception as error:  # noqa: BLE001 - the sweep goes on to the next request
            self.broke(error)

    def _expire(self, now: float) -> None:
        if placing.expired(self, now):
            return
        if self.attempt is not None:
            self.attempt.expired(now)
        elif self.cache_part is not None:
            self.cache_part.expired()

    def pause(self) -> None:
        if self.attempt is not None:
            self.attempt.pause()
        elif self.run is not None:
            self.run.pause()

    def resume(self) -> None:
        if self.attempt is not None:
            self.attempt.resume()
        elif self.run is not None:
            self.run.resume()

    def client_gone(self) -> None:
        """The client left: the engine must stop, and what it did is accounted."""
        self.disconnected = True
        if self.cache_part is not None and self.cache_part.gone():
            self._finish(CLIENT_GONE, "client_gone", None, 0)
            return
        usage, events = self.attempt.used() if self.attempt is not None else (None, 0)
        if self.attempt is not None:
            self.attempt.abort()
        self._finish(CLIENT_GONE, "client_gone", usage, events)

    def stop(self) -> None:
        """The drain's time is over."""
        if self.hedge is not None:
            self.hedge.close()
        if self.place is not None:
            self.answer(retry.shutting_down().problem)
        elif self.attempt is not None:
            self.attempt.stop()
        elif self.cache_part is not None:
            self.cache_part.stop()
        elif self.run is not None:
            self.run.stop()
        elif not self.response_complete:
            self.protocol.transport.abort()

    def broke(self, error: Exception) -> None:
        """A stage raised what no stage may raise, a mistake of the gateway's. The client is told, and nothing hangs."""
        tell_fault(self, error)
        if self.response_complete:
            return
        try:
            attempt, usage, events = self.attempt, None, 0
            if attempt is not None:
                usage, events = attempt.used()
                attempt.abort()
            if self.response_started:
                self.cut_stream(FAULT.message, "internal_error", usage, events)
            else:
                self.answer(FAULT)
        except Exception as again:  # noqa: BLE001 - the reply is what fails: the least that can be written
            tell_fault(self, again)
            self._give_up()

    def _give_up(self) -> None:
        self.keep_alive = False
        if not self.response_started and not self.disconnected:
            self.response_started = True
            body = FAULT.body()
            head = reply_head(
                self.service,
                FAULT.status,
                b"application/json",
                len(body),
                keep_alive=False,
                request=self.request_id,
            )
            self.protocol.transport.write(head + body)
        self.status = FAULT.status
        self._finish(FAULT.status, "internal_error", None, 0)

    # -- the end --

    def _record(self, status: int, outcome: str, account: Account) -> None:
        if self.service.ledger is not None:
            record(self.service.ledger, self, status, outcome, account)

    def _finish(self, status: int, outcome: str, usage: Usage | None, events: int) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        self.deadline = FOREVER
        try:
            self._settle(status, outcome, usage, events)
        except Exception as error:  # noqa: BLE001 - the connection must go on to its next request
            tell_fault(self, error)
            self.service.exchanges.discard(self)
            for permit in (self.permit, self.model_permit):
                if permit is not None:
                    permit.settle(0, 0)  # once settled it stays so
        self.body = b""
        self.attempt = self.kept = self.resumption = None
        if not self.disconnected:
            self.protocol.exchange_done(self)

    def _settle_limits(self, status: int, account: Account | None) -> None:
        if self.admitted is None or account is None or self.target is None:
            return
        asked = self.tries > 0 and status == CLIENT_GONE
        used = charge(account, self.target.route, len(self.body) if asked else 0)
        if self.permit is not None:
            self.permit.settle(*used)
        if self.model_permit is not None:
            self.model_permit.settle(*used)

    def _settle(self, status: int, outcome: str, usage: Usage | None, events: int) -> None:
        """All that a request holds is given back, and what it used is told to all who count."""
        placing.leave(self, status)
        if self.run is not None:
            self.run.cancel()
        if self.course is not None:
            self.course.ended(outcome)
        if self.screen is not None and self.service.guards is not None:
            self.service.guards.ended(self)
        account = self._account(status, outcome, usage, events)
        finish(self, status, outcome, account)
        if self.permit is not None or self.model_permit is not None:
            self._settle_limits(status, account)
        if self.cache_part is not None:
            self.cache_part.done(status, outcome, usage)
        if self.service.shadow is not None:
            self.service.shadow.ended(self, status, outcome, account)
