"""A request whose token names a signing key that nobody knows yet: it waits while the issuer is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway.errors import Refused

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange


def await_signer(exchange: Exchange) -> bool:
    """True where the request waits; it is admitted or refused later."""
    tokens = exchange.service.keys.tokens
    if tokens is None:
        return False
    tokens.when_refreshed(lambda: _asked(exchange))
    return True


def _asked(exchange: Exchange) -> None:
    token, exchange.token = exchange.token, None
    if exchange.response_complete:
        return
    try:
        exchange.key = exchange.service.keys.authenticate(token, last=True)
        exchange.key.require_route(exchange.route)
    except Refused as refused:
        exchange.answer(refused.problem)
    else:
        exchange.admit()
