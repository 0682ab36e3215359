"""What goes wrong at a provider, and what it means: may another model answer, what does the client get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway.errors import EngineError, Problem, clean, retry_after
from app.gateway.retry import Failure

if TYPE_CHECKING:
    from app.gateway.config import OutsideModel
    from app.gateway.log import Log
    from app.gateway.providers.config import Provider
    from app.gateway.providers.keys import KeyFile
    from app.gateway.providers.metrics import ProviderMetrics
    from app.gateway.providers.secret import KeySecret

LEAST_WAIT_SECONDS = 1.0


class Failing:
    """The lower layer of a provider. Each failure is counted here once."""

    provider: Provider
    key: KeyFile | KeySecret | None
    models: dict[str, OutsideModel]
    _metrics: ProviderMetrics
    _log: Log

    def failure(self, error: EngineError, headers: list[tuple[bytes, bytes]], model: str) -> Failure:
        """What a provider's error means. Only what is wrong with the request itself is the client's affair."""
        status, name = error.status, self.provider.name
        if status == 429 or status == 503 or status == 529:
            wait = min(max(_wait(headers), LEAST_WAIT_SECONDS), self.provider.most_retry_after_seconds)
            reason = "rate_limited" if status == 429 else "outside_overloaded"
            self._metrics.failed(name, reason)
            told = wait if status == 429 or _wait(headers) else 0.0
            return Failure(reason, busy(model, wait), rest="no", retry=False, wait_seconds=told)
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
        long = (
            "context length",
            "context window",
            "prompt is too long",
            "too many tokens",
            "input is too long",
            "too many input tokens",
        )
        code = "context_length_exceeded" if any(words in message.lower() for words in long) else None
        return Failure("refused", Problem(status, message, code, error.param), rest="no", retry=False)

    def malformed(self, model: str, what: str = "answer", reason: str = "") -> Failure:
        """`reason` is for the log; it must hold nothing of the request or of the reply's texts."""
        self._metrics.failed(self.provider.name, "malformed")
        if reason:
            self._log.event("provider", provider=self.provider.name, model=model, malformed=reason[:200])
        problem = Problem(502, f"The provider of the model `{model}` sent no {what}.", "provider_failed")
        return Failure("malformed", problem, retry=False)

    def full(self, model: str) -> Failure:
        self._metrics.failed(self.provider.name, "outside_full")
        return Failure("outside_full", busy(model), rest="no", retry=False)

    def no_key(self, model: str, reason: str) -> Failure:
        self._metrics.failed(self.provider.name, "no_key")
        self._log.event("provider", provider=self.provider.name, usable=False, reason=reason)
        problem = Problem(502, f"The provider of the model `{model}` has no key.", "provider_unusable")
        return Failure("no_key", problem, rest="no", retry=False)

    def unsupported(self, model: str, route: str) -> Failure:
        if self.models[model].makes_embeddings:
            self._metrics.failed(self.provider.name, "unsupported_route")
            message = f"The model `{model}` makes embeddings alone: ask it at /v1/embeddings."
            return Failure(
                "unsupported_route", Problem(404, message, "unsupported_route", "model"), rest="no", retry=False
            )
        return self.unable("unsupported_route", 404, f"does not support the route `{route}`")

    def unable(self, reason: str, status: int, what: str) -> Failure:
        self._metrics.failed(self.provider.name, reason)
        problem = Problem(status, f"The provider of this model {what}.", reason)
        return Failure(reason, problem, rest="no", retry=False)


def busy(model: str, seconds: float = LEAST_WAIT_SECONDS) -> Problem:
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
