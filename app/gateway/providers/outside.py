"""One provider: how a request goes out to it, and what its answers become."""

from __future__ import annotations

import ssl
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

from app.gateway.choose import Engine
from app.gateway.client import Client
from app.gateway.errors import EngineError, Refused
from app.gateway.providers import anthropic, embeddings, openai
from app.gateway.providers.batch import Batch, ForAttempt
from app.gateway.providers.conversation import Untranslatable
from app.gateway.providers.failing import Failing
from app.gateway.providers.keys import KeyFile, NoKey
from app.gateway.retry import Failure
from app.gateway.rewrite import EventStream, TypedEventStream

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from app.gateway.attempt import Attempt
    from app.gateway.client import Sink
    from app.gateway.config import OutsideModel, Route, Timeouts
    from app.gateway.exchange import Exchange
    from app.gateway.log import Log
    from app.gateway.providers.batch import Owner
    from app.gateway.providers.config import Provider
    from app.gateway.providers.metrics import ProviderMetrics
    from app.gateway.providers.role import Role
    from app.gateway.providers.secret import KeySecret

IDLE_SECONDS = 30.0
"""A pooled connection is used again for so long. Providers keep them for a minute and more."""
MOST_ANSWER_BYTES = 32 * 1024 * 1024
PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
}
EMBEDDINGS = frozenset({"embeddings"})


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


class Outside(Failing):
    def __init__(
        self,
        provider: Provider,
        models: Iterable[OutsideModel],
        times: Timeouts,
        loop: asyncio.AbstractEventLoop,
        metrics: ProviderMetrics,
        log: Log,
    ) -> None:
        self.provider = provider
        self.models = {model.name: model for model in models}
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
        self._metrics, self._log = metrics, log
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

    def routes(self, model: str) -> frozenset[str]:
        """What a model of this provider answers."""
        if self.models[model].makes_embeddings:
            return EMBEDDINGS
        return frozenset(PATHS if self.provider.kind in ("openai", "compatible") else ("chat",))

    # -- out --

    def send(self, attempt: Attempt, body: bytes, *, fresh: bool) -> Failure | None:
        """Sends an attempt's request. Returns why it cannot be sent."""
        exchange, provider = attempt.exchange, self.provider
        if exchange.route not in self.routes(attempt.model):
            return self.unsupported(attempt.model, exchange.route)
        if self.engine.in_flight > provider.most_requests:  # this attempt is counted already
            return self.full(attempt.model)
        batch = None
        try:
            if provider.kind == "bedrock" and exchange.route == "embeddings":
                batch = self.batch(attempt.model, body, ForAttempt(attempt), exchange.service.config.retries.attempts)
            else:
                path, headers, content = self._request(exchange, attempt.model, body)
        except Refused as refusal:
            return Failure("refused", refusal.problem, rest="no", retry=False)
        except Untranslatable as error:
            return self.unable("untranslatable", 400, f"has no way to say {error}")
        except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
            return self.unable("untranslatable", 400, "cannot be asked with this request")
        except NoKey as error:
            return self.no_key(attempt.model, str(error))
        if batch is None:
            self._post(attempt, path, headers, content, fresh=fresh)
        else:
            attempt.holds(batch)
            batch.start()
        return None

    def _post(self, sink: Sink, path: str, headers: dict[str, str], content: bytes, *, fresh: bool) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._authority}\r\nuser-agent: penstock\r\naccept-encoding: identity\r\n"
            f"{lines}content-length: {len(content)}\r\n\r\n"
        )
        self.client.send(self.engine, sink, head.encode("latin-1"), content, fresh=fresh)

    def post_embeddings(self, sink: Sink, model: str, body: bytes) -> None:
        """A request in OpenAI's shape, of the gateway's own. Raises NoKey."""
        self._post(sink, *self._plain("embeddings", model, body, 1), fresh=False)

    def batch(self, model: str, body: bytes, owner: Owner, most_tries: int) -> Batch:
        """The calls of a request for embeddings. Raises Refused (400), Untranslatable, ValueError."""
        ours = self.models[model]
        asked = embeddings.read(body, ours.upstream, ours.embedding_dimensions or 0)
        return Batch(self, model, asked, owner, most_tries)

    def invoke(self, sink: Sink, model: str, content: bytes, *, fresh: bool) -> None:
        """One call of InvokeModel. Raises NoKey."""
        from app.gateway.providers import bedrock

        path = self._base + bedrock.invoke_path(self.models[model].upstream)
        self._post(sink, path, self._signed(path, content, monotonic()), content, fresh=fresh)

    def _request(self, exchange: Exchange, model: str, body: bytes) -> tuple[str, dict[str, str], bytes]:
        """Path, headers and body. Raises Untranslatable, NoKey, and ValueError for a body that cannot be read."""
        upstream, now = self.models[model].upstream, monotonic()
        most = exchange.target.route.max_output_tokens if exchange.target is not None else 1
        if self.provider.kind == "anthropic":
            headers = {"content-type": "application/json", "anthropic-version": anthropic.VERSION}
            headers["x-api-key"] = self._secret(now)
            return f"{self._base}/v1/messages", headers, anthropic.request(body, upstream, most)
        if self.provider.kind == "bedrock":
            from app.gateway.providers import bedrock

            content = bedrock.request(body, most)
            stream = exchange.admitted is not None and exchange.admitted.stream
            path = self._base + bedrock.path(upstream, stream=stream)
            return path, self._signed(path, content, now), content
        return self._plain(exchange.route, model, body, most)

    def _plain(self, route: Route, model: str, body: bytes, most: int) -> tuple[str, dict[str, str], bytes]:
        """In OpenAI's own shape."""
        headers = {"content-type": "application/json"}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self._secret(monotonic())}"
        known = self.provider.kind == "openai"
        content = openai.request(route, body, self.models[model].upstream, most, only_known=known)
        return self._base + PATHS[route], headers, content

    def _secret(self, now: float) -> str:
        if self.key is None:
            raise NoKey(f"provider `{self.provider.name}` has no key file")
        return self.key.text(now)

    def _signed(self, path: str, content: bytes, now: float) -> dict[str, str]:
        from app.gateway.providers import bedrock
        from app.gateway.providers.role import credentials_of

        secret = self.key.text(now) if self.key is not None else ""
        if secret and not secret.startswith("{"):
            return {"content-type": "application/json", "authorization": f"Bearer {secret}"}
        credentials = credentials_of(secret, self.role, self.provider.name)
        scheme = "http" if self.engine.tls is None else "https"
        return bedrock.sign(f"{scheme}://{self._authority}{path}", content, self.provider.region or "", credentials)

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
            size = self.models[model].embedding_dimensions
            if size is not None:
                if self.provider.kind != "bedrock":  # whose batch has looked at each vector
                    embeddings.check_reply(body, exchange.body, size)
                return body
            if self.provider.kind == "anthropic":
                return anthropic.whole(body, model)
            if self.provider.kind == "bedrock":
                from app.gateway.providers import bedrock

                return bedrock.whole(body, model, f"chatcmpl-{exchange.request_id.decode('ascii')}")
            if not isinstance(msgspec.json.decode(body), dict):
                raise ValueError("no object")
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):  # whatever a liar may send
            return self.malformed(model)
        return body


def _context(provider: Provider) -> ssl.SSLContext:
    """Verifies chain and name. Raises OSError for CA certificates that cannot be read."""
    context = ssl.create_default_context(cafile=provider.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
