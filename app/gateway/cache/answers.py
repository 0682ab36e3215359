"""Whether a request is answered from the cache, follows another one, or goes to an engine and leaves its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.gateway.account import Account, Usage, settle
from app.gateway.cache.canonical import as_events, is_whole
from app.gateway.cache.entry import Entry
from app.gateway.cache.flight import Lead
from app.gateway.cache.metrics import CacheMetrics, Outcome
from app.gateway.cache.normal import ROUTES, Scope, digest, is_sampled, normalise, usage_asked
from app.gateway.cache.question import read_question
from app.gateway.cache.store import Place, Store, place
from app.gateway.cache.wish import NOTHING_ASKED, Policy, Wish, read_wish, resolve
from app.gateway.errors import Problem, Refused

if TYPE_CHECKING:
    from app.gateway.cache.question import Question
    from app.gateway.cache.semantic import Semantic
    from app.gateway.config import GatewayConfig
    from app.gateway.exchange import Exchange
    from app.gateway.limits.link import Link

MOST_POLICIES = 20_000
NOT_CACHED = Problem(
    504,
    "No kept answer fits this request, and `only` (or `only-if-cached`) forbids to ask an engine.",
    "not_cached",
    type="invalid_request_error",
)


@dataclass(slots=True)
class Asked:
    """One request in the cache's eyes."""

    place: Place
    scope: Scope
    wish: Wish
    ttl_seconds: int
    usage: bool
    """A stream that is to end with its usage."""
    begun: float
    question: Question | None = None
    """What the semantic cache compares; None where it is not asked."""

    @property
    def store(self) -> bool:
        return self.wish.store


class Answers:
    """The caches of one gateway process. Nothing here raises for a dependency that is away."""

    def __init__(self, config: GatewayConfig, metrics: CacheMetrics, soon: Callable[..., Any]) -> None:
        self.config = config.cache
        self.metrics = metrics
        self.store: Store | None = None
        """None where no Redis is configured: then identical requests under way still share an answer."""
        self.semantic: Semantic | None = None
        self._colour = config.colour
        self._soon = soon
        self._flights: dict[bytes, Lead] = {}
        self._policies: dict[tuple[str, str, str], Policy] = {}
        metrics.watch(lambda: len(self._flights))

    def connect(self, link: Link, tell: Callable[..., None]) -> Store:
        self.store = Store(link, self.metrics, self.config.max_memory_share, tell)
        return self.store

    # -- a request arrives --

    def look(self, exchange: Exchange) -> bool:
        """True where the cache has taken the request over; False: it goes to an engine at once."""
        try:
            wish = read_wish(exchange.cache_headers) if exchange.cache_headers else NOTHING_ASKED
        except Refused as refused:
            exchange.answer(refused.problem)
            return True
        asked = self._asked(exchange, wish)
        if asked is None:
            self.mark(exchange, "bypass")
            return self._refused_engine(exchange, wish)
        fresh = wish.read and wish.max_age is None and not wish.only
        if fresh:
            leading = self._flights.get(asked.place.digest)
            if leading is not None and leading.join(exchange, asked):
                return True
        lead = Lead(self, exchange, asked)
        exchange.cache_part = lead
        if fresh:
            self.flies(lead)
        if wish.read and self.store is not None and self.store.get(asked.place, lambda entry: self._found(lead, entry)):
            return True
        return self._missed(lead)

    def _refused_engine(self, exchange: Exchange, wish: Wish) -> bool:
        if wish.only:
            exchange.answer(NOT_CACHED)
        return wish.only

    def policy(self, exchange: Exchange) -> Policy:
        assert exchange.key is not None  # noqa: S101 - an admitted request has a key
        assert exchange.target is not None  # noqa: S101 - and a model
        names = (exchange.target.route.name, exchange.key.tenant, exchange.key.id)
        found = self._policies.get(names)
        if found is None:
            if len(self._policies) >= MOST_POLICIES:
                self._policies.clear()
            found = self._policies[names] = resolve(self.config, *names)
        return found

    def _asked(self, exchange: Exchange, wish: Wish) -> Asked | None:
        """None for a request that the cache has no part in."""
        admitted, target, key = exchange.admitted, exchange.target, exchange.key
        if admitted is None or target is None or key is None or exchange.route not in ROUTES:
            return None
        if target.route.name not in self.metrics.tokens:  # a template answers, and no model
            return None
        policy = self.policy(exchange)
        if not (policy.exact and (wish.read or wish.store)) or len(exchange.body) > self.config.max_request_bytes:
            return None
        usage = usage_asked(admitted.stream_options) if admitted.stream else False
        fields = None if usage is None else normalise(exchange.body)
        if usage is None or fields is None:
            return None
        if not policy.takes(wish, sampled=is_sampled(exchange.route, fields)):
            return None
        name = target.route.name
        scope = Scope(key.tenant, name, self.config.revisions.get(name, self._colour), policy.tools)
        found = digest(exchange.route, scope, fields)
        if found is None:
            return None
        asked = Asked(place(scope, found), scope, wish, policy.ttl_seconds, usage, time.time())
        if policy.semantic and self.semantic is not None:
            asked.question = read_question(exchange.route, scope, fields, self.semantic.vectors)
        return asked

    def _found(self, lead: Lead, entry: Entry | None) -> None:
        exchange = lead.exchange
        if exchange.response_complete or exchange.cache_part is not lead:
            return
        if entry is not None and self._serve_all(lead, entry, "hit"):
            return
        if not self._missed(lead):
            exchange.begin_at_engine()

    def _missed(self, lead: Lead) -> bool:
        """True where the answer may still come without an engine, or never comes."""
        asked, semantic = lead.asked, self.semantic
        if (
            semantic is not None
            and asked.question is not None
            and asked.wish.read
            and semantic.look(asked.question, asked.scope, lambda entry, alike: self._alike(lead, entry, alike))
        ):
            return True
        return self._to_engine(lead.exchange, asked)

    def _to_engine(self, exchange: Exchange, asked: Asked) -> bool:
        self.mark(exchange, "miss")
        return self._refused_engine(exchange, asked.wish)

    def _alike(self, lead: Lead, entry: Entry | None, alike: float) -> None:
        """The semantic cache has looked."""
        exchange = lead.exchange
        if exchange.response_complete or exchange.cache_part is not lead:
            return
        if entry is not None and self._serve_all(lead, entry, "semantic", alike):
            return
        if not self._to_engine(exchange, lead.asked):
            exchange.begin_at_engine()

    # -- answers --

    def _serve_all(self, lead: Lead, entry: Entry, outcome: Outcome, alike: float = 1.0) -> bool:
        """Serves a leader, and by its end its followers, from a kept answer. False where it does not do."""
        asked, age = lead.asked, time.time() - entry.made
        oldest = asked.wish.max_age
        if (oldest is not None and age > oldest) or (outcome == "hit" and age > asked.ttl_seconds):
            return False
        return self.serve(lead.exchange, lead.asked, entry, outcome, alike)

    def serve(self, exchange: Exchange, asked: Asked, entry: Entry, outcome: Outcome, alike: float = 1.0) -> bool:
        """Answers from a kept answer. False, and nothing done, where it cannot be given in the form asked for."""
        target, admitted = exchange.target, exchange.admitted
        if target is None or admitted is None or exchange.response_started:
            return False
        stream = admitted.stream
        body = as_events(exchange.route, entry.reply, usage=asked.usage) if stream else entry.reply
        if body is None:
            return False
        lines = b""
        if outcome != "coalesced":
            lines = b"age: %d\r\n" % max(0.0, time.time() - entry.made)
        if outcome == "semantic":
            lines += b"x-penstock-cache-similarity: %.3f\r\n" % alike
        self.mark(exchange, outcome, lines)
        exchange.saved = True
        usage = Usage(entry.input_tokens, entry.output_tokens)
        account = settle(usage, 0, target.route)
        self.credit(
            exchange, Account(entry.input_tokens, entry.output_tokens, entry.cached_tokens, account.cost_usd, False)
        )
        lead = exchange.cache_part
        if isinstance(lead, Lead):
            lead.kept = entry
        if stream:
            exchange.stream_whole(body)
        else:
            exchange.reply(b"application/json", body, None, 200)
        return True

    def credit(self, exchange: Exchange, account: Account) -> None:
        """This request is served by what another one paid for."""
        if exchange.account is None and exchange.target is not None:
            exchange.account_saved(account)
            name = exchange.target.route.name
            if name in self.metrics.tokens:
                self.metrics.tokens[name].inc(account.input_tokens + account.output_tokens)
                self.metrics.usd[name].inc(account.cost_usd)

    def mark(self, exchange: Exchange, outcome: Outcome, lines: bytes = b"") -> None:
        """Notes what the cache does for a request: in its reply's head, its log line and its row."""
        exchange.cache_outcome = outcome
        shown = b"hit" if outcome == "semantic" else outcome.encode()
        exchange.cache_lines = b"x-penstock-cache: %b\r\n%b" % (shown, lines)

    def keep(self, lead: Lead, reply: bytes | None) -> Entry | None:
        """Keeps a leader's answer. None where it cannot be given to others."""
        if lead.kept is not None:
            return lead.kept
        exchange, asked = lead.exchange, lead.asked
        account, outcomes = exchange.account, self.metrics.stored
        if reply is None or account is None or account.estimated:
            outcomes["not_whole"].inc()
            return None
        if not is_whole(exchange.route, reply, tools=asked.scope.tools):
            outcomes["not_whole"].inc()
            return None
        entry = Entry(
            asked.begun,
            time.time(),
            exchange.route,
            reply,
            account.input_tokens,
            account.output_tokens,
            account.cached_tokens,
        )
        if exchange.target is None or exchange.target.route.name != asked.scope.model:
            outcomes["other_model"].inc()  # down a chain, or a template: it shall not be the model's for long
        elif len(reply) > self.config.max_answer_bytes:
            outcomes["too_large"].inc()
        elif asked.store:
            if self.store is not None:
                self.store.put(asked.place, entry, asked.ttl_seconds + self.config.stale_seconds)
            if self.semantic is not None and asked.question is not None:
                self.semantic.keep(asked.question, asked.scope, entry)
        return entry

    # -- what flights ask for --

    def flies(self, lead: Lead) -> None:
        """Others may follow from now on."""
        if self.config.max_followers:
            self._flights.setdefault(lead.asked.place.digest, lead)

    def landed(self, lead: Lead) -> None:
        if self._flights.get(lead.asked.place.digest) is lead:
            del self._flights[lead.asked.place.digest]

    def pays(self, exchange: Exchange) -> None:
        """A follower that an engine works for itself from now on."""
        exchange.saved = False
        self.mark(exchange, "miss")

    def alone(self, exchange: Exchange) -> None:
        """A follower that nobody leads any more goes to an engine."""
        exchange.cache_part = None
        self.pays(exchange)
        self.soon(exchange)

    def soon(self, exchange: Exchange) -> None:
        """Begins at an engine, but not inside another request's end."""
        self._soon(_begin, exchange)

    def count(self, exchange: Exchange) -> None:
        """At a request's end."""
        if exchange.cache_outcome is not None and exchange.target is not None:
            child = self.metrics.requests.get((exchange.target.route.name, exchange.cache_outcome))
            if child is not None:
                child.inc()

    def look_up(self, exchange: Exchange, found: Callable[[bytes | None], None]) -> None:
        """For the end of a chain of models: the answer kept for this very request, if need be a stale one."""
        part, asks = exchange.cache_part, False
        if part is not None and self.store is not None and part.asked.wish.read:
            asks = self.store.get(part.asked.place, lambda entry: found(None if entry is None else entry.reply))
        if not asks:
            found(None)

    async def purge(self, tenant: str | None = None, model: str | None = None) -> int:
        """Forgets the kept answers of a tenant, of a model (its own name), of both together, or all of them.

        Returns how many were removed. Raises PurgeError or SemanticError where a store did not take it.
        """
        removed = await self.store.purge(tenant, model) if self.store is not None else 0
        if self.semantic is not None:
            removed += await self.semantic.purge(tenant, model)
        return removed


def _begin(exchange: Exchange) -> None:
    if not exchange.response_complete:
        exchange.begin_at_engine()
