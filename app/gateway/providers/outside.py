"""One provider: how a request goes out to it, what its answers become, and what its errors mean."""

from __future__ import annotations

import ssl
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

from app.gateway.choose import Engine
from app.gateway.client import Client
from app.gateway.errors import EngineError, Problem, clean, retry_after
from app.gateway.providers import anthropic, openai
from app.gateway.providers.conversation import Untranslatable
from app.gateway.providers.keys import KeyFile, NoKey
from app.gateway.retry import Failure
from app.gateway.rewrite import EventStream, TypedEventStream

if TYPE_CHECKING:
    import asyncio

    from app.gateway.attempt import Attempt
    from app.gateway.config import Timeouts
    from app.gateway.exchange import Exchange
    from app.gateway.providers.config import Provider
    from app.gateway.providers.metrics import ProviderMetrics
    from app.gateway.providers.role import Role
    from app.gateway.providers.secret import KeySecret

IDLE_SECONDS = 30.0
"""A pooled connection is used again for so long. Providers keep them for a minute and more."""
MOST_ANSWER_BYTES = 32 * 1024 * 1024
LEAST_WAIT_SECONDS = 1.0
PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
}


class Translator(Protocol):
    def feed(self, data: bytes) -> bytes: ...


class TranslatedStream(EventStream):
    """The events of a stream in another format."""

    __slots__ = ("_translator",)

    def __init__(self, translator: Translator, *, strip_usage: bool) -> None:
        super().__init__(strip_usage=strip_usage)
        self._translator = translator

    def feed(self, data: bytes) -> bytes:
        if self.failed:
            return b""
        try:
            events = self._translator.feed(data)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):  # whatever a liar may send
            self.failed = True
            self.error = EngineError(502, "The provider sent what is no event of its stream.")
            return b""
        return super().feed(events) if events else b""


class Outside:
    def __init__(
        self,
        provider: Provider,
        upstream: dict[str, str],
        times: Timeouts,
        loop: asyncio.AbstractEventLoop,
        metrics: ProviderMetrics,
    ) -> None:
        self.provider = provider
        self.upstream = upstream
        """The provider's names of models, by ours."""
        self.routes = frozenset(PATHS if provider.kind in ("openai", "compatible") else ("chat",))
        self.times = times
        self.client = Client(loop, IDLE_SECONDS)
        parts = urlsplit(provider.url)
        self._base, self._authority = parts.path.rstrip("/"), parts.netloc
        tls = _context(provider) if parts.scheme == "https" else None
        port = parts.port or (443 if tls is not None else 80)
        name = f"provider:{provider.name}"
        self.engine = Engine(name, name, parts.hostname or "", port, tls=tls)
        self.key: KeyFile | KeySecret | None = None
        if provider.key_file is not None:
            self.key = KeyFile(provider.name, Path(provider.key_file))
        self.role: Role | None = None
        """The pod's own AWS role, for Bedrock without a key file."""
        self._metrics = metrics
        metrics.in_flight.labels(provider.name).set_function(lambda: self.engine.in_flight)
        metrics.key_usable.labels(provider.name).set_function(lambda: float(self.usable(monotonic())))

    def usable(self, now: float) -> bool:
        """True while there is something to sign in with. What the provider says to it is not asked."""
        if self.key is not None:
            try:
                return bool(self.key.text(now))
            except NoKey:
                return False
        if self.provider.kind == "bedrock":
            return self.role is not None and self.role.credentials is not None
        return not self.provider.key_secret

    # -- out --

    def send(self, attempt: Attempt, body: bytes, *, fresh: bool) -> Failure | None:
        """Sends an attempt's request. Returns why it cannot be sent."""
        exchange, provider = attempt.exchange, self.provider
        if exchange.route not in self.routes:
            return self._unable("unsupported_route", 404, f"does not support the route `{exchange.route}`")
        if self.engine.in_flight > provider.most_requests:  # this attempt is counted already
            self._metrics.failed(provider.name, "outside_full")
            return Failure("outside_full", _busy(attempt.model), rest="no", retry=False)
        stream = exchange.admitted is not None and exchange.admitted.stream
        try:
            path, headers, content = self._request(exchange, attempt.model, body, stream=stream)
        except Untranslatable as error:
            return self._unable("untranslatable", 400, f"has no way to say {error}")
        except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
            return self._unable("untranslatable", 400, "cannot be asked with this request")
        except NoKey as error:
            self._metrics.failed(provider.name, "no_key")
            exchange.service.log.event("provider", provider=provider.name, usable=False, reason=str(error))
            problem = Problem(502, f"The provider of the model `{attempt.model}` has no key.", "provider_unusable")
            return Failure("no_key", problem, rest="no", retry=False)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._authority}\r\nuser-agent: penstock\r\naccept-encoding: identity\r\n"
            f"{lines}content-length: {len(content)}\r\n\r\n"
        )
        self.client.send(self.engine, attempt, head.encode("latin-1"), content, fresh=fresh)
        return None

    def _request(
        self, exchange: Exchange, model: str, body: bytes, *, stream: bool
    ) -> tuple[str, dict[str, str], bytes]:
        """Path, headers and body. Raises Untranslatable, NoKey, and ValueError for a body that cannot be read."""
        provider, upstream, now = self.provider, self.upstream[model], monotonic()
        most = exchange.target.route.max_output_tokens if exchange.target is not None else 1
        headers = {"content-type": "application/json"}
        if provider.kind == "anthropic":
            headers |= {"x-api-key": self._secret(now), "anthropic-version": anthropic.VERSION}
            return f"{self._base}/v1/messages", headers, anthropic.request(body, upstream, most)
        if provider.kind == "bedrock":
            return self._bedrock(upstream, body, most, now, stream=stream)
        if self.key is not None:
            headers["authorization"] = f"Bearer {self._secret(now)}"
        content = openai.request(exchange.route, body, upstream, most, only_known=provider.kind == "openai")
        return self._base + PATHS[exchange.route], headers, content

    def _secret(self, now: float) -> str:
        if self.key is None:
            raise NoKey(f"provider `{self.provider.name}` has no key file")
        return self.key.text(now)

    def _bedrock(
        self, model: str, body: bytes, most: int, now: float, *, stream: bool
    ) -> tuple[str, dict[str, str], bytes]:
        from app.gateway.providers import bedrock
        from app.gateway.providers.role import credentials_of

        content = bedrock.request(body, most)
        path = self._base + bedrock.path(model, stream=stream)
        secret = self.key.text(now) if self.key is not None else ""
        if secret and not secret.startswith("{"):
            return path, {"content-type": "application/json", "authorization": f"Bearer {secret}"}, content
        credentials = credentials_of(secret, self.role, self.provider.name)
        scheme = "http" if self.engine.tls is None else "https"
        url = f"{scheme}://{self._authority}{path}"
        return path, bedrock.sign(url, content, self.provider.region or "", credentials), content

    # -- in --

    def open(self, exchange: Exchange, content_type: bytes) -> EventStream | None:
        """What reads the stream that begins; None where the answer is none."""
        strip = exchange.admitted is not None and exchange.admitted.add_usage
        model = "" if exchange.target is None else exchange.target.route.name
        identity = f"chatcmpl-{exchange.request_id.decode('ascii')}"
        if content_type.startswith(b"text/event-stream"):
            if self.provider.kind == "anthropic":
                return TranslatedStream(anthropic.Stream(identity, model), strip_usage=strip)
            return (TypedEventStream if exchange.route == "responses" else EventStream)(strip_usage=strip)
        if content_type.startswith(b"application/vnd.amazon.eventstream") and self.provider.kind == "bedrock":
            from app.gateway.providers import bedrock

            return TranslatedStream(bedrock.Stream(identity, model), strip_usage=strip)
        return None

    def reply(self, exchange: Exchange, body: bytes) -> bytes | Failure:
        """A whole answer in OpenAI's shape."""
        model = "" if exchange.target is None else exchange.target.route.name
        try:
            if exchange.admitted is not None and exchange.admitted.stream:
                raise ValueError("a stream was asked for")
            if self.provider.kind == "anthropic":
                return anthropic.whole(body, model)
            if self.provider.kind == "bedrock":
                from app.gateway.providers import bedrock

                return bedrock.whole(body, model, f"chatcmpl-{exchange.request_id.decode('ascii')}")
            if not isinstance(msgspec.json.decode(body), dict):
                raise ValueError("no object")
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):  # whatever a liar may send
            self._metrics.failed(self.provider.name, "malformed")
            problem = Problem(502, f"The provider of the model `{model}` sent no answer.", "provider_failed")
            return Failure("malformed", problem, retry=False)
        return body

    def failure(self, error: EngineError, headers: list[tuple[bytes, bytes]], model: str) -> Failure:
        """What a provider's error means. Only what is wrong with the request itself is the client's affair."""
        status, name = error.status, self.provider.name
        if status == 429 or status == 503 or status == 529:
            wait = min(max(_wait(headers), LEAST_WAIT_SECONDS), self.provider.most_retry_after_seconds)
            reason = "rate_limited" if status == 429 else "outside_overloaded"
            self._metrics.failed(name, reason)
            told = wait if status == 429 or _wait(headers) else 0.0
            return Failure(reason, _busy(model, wait), rest="no", retry=False, wait_seconds=told)
        if status in (401, 402, 403):
            self._metrics.failed(name, "refused_key")
            if self.key is not None:
                self.key.refused()
            problem = Problem(502, f"The provider of the model `{model}` refused the gateway.", "provider_refused")
            return Failure("refused_key", problem, rest="no", retry=False)
        if status == 404:
            self._metrics.failed(name, "unknown_model")
            problem = Problem(502, f"The provider does not know the model `{model}`.", "provider_refused")
            return Failure("unknown_model", problem, rest="no", retry=False)
        if status == 408 or status >= 500 or 300 <= status < 400:
            self._metrics.failed(name, "status_5xx")
            problem = Problem(502, f"The provider of the model `{model}` failed on this request.", "provider_failed")
            return Failure("status_5xx", problem, retry=status >= 500)
        message = clean(error.message) or "The provider refused this request."
        long = ("context length", "context window", "prompt is too long", "too many tokens", "input is too long")
        code = "context_length_exceeded" if any(words in message.lower() for words in long) else None
        return Failure("refused", Problem(status, message, code, error.param), rest="no", retry=False)

    def _unable(self, reason: str, status: int, what: str) -> Failure:
        self._metrics.failed(self.provider.name, reason)
        problem = Problem(status, f"The provider of this model {what}.", reason)
        return Failure(reason, problem, rest="no", retry=False)


def _busy(model: str, seconds: float = LEAST_WAIT_SECONDS) -> Problem:
    whole = max(1, int(seconds + 0.999))
    message = f"The provider of the model `{model}` takes no more requests now. Try again in {whole} s."
    return Problem(503, message, "overloaded", headers=retry_after(whole))


def _wait(headers: list[tuple[bytes, bytes]]) -> float:
    """Seconds of `retry-after-ms` or `retry-after`; 0 where neither is a number. A date is taken as none."""
    found = dict(headers)
    for name, unit in ((b"retry-after-ms", 1e-3), (b"retry-after", 1.0)):
        try:
            value = float(found[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= value < 1e6:
            return value
    return 0.0


def _context(provider: Provider) -> ssl.SSLContext:
    """Verifies chain and name. Raises OSError for CA certificates that cannot be read."""
    context = ssl.create_default_context(cafile=provider.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
