"""The events of an engine that goes on with a broken stream, as the client is to have them. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.account import PromptDetails, Usage
from app.gateway.rewrite import EventStream, each_event, event_payload

if TYPE_CHECKING:
    from app.gateway.continuation import Continuation
    from app.gateway.progress import Kept

_decode = msgspec.json.decode
_encode = msgspec.json.encode


class ContinuedStream(EventStream):
    """The events of the engine that goes on as if they came from the first: its identity, no second role, one usage.

    Each event is read and written again: such streams are few. A client that counts tokens by events must not get one
    more for a token that is made again: so many events are withheld, and what they say comes with the next one.
    """

    __slots__ = ("_again", "_kept", "_last", "_plan", "_skip", "_withheld")

    def __init__(
        self, plan: Continuation, *, strip_usage: bool, kept: Kept | None = None, counted: bool = False
    ) -> None:
        super().__init__(strip_usage=strip_usage, counted=counted)
        self.events = plan.seen
        self._plan = plan
        self._skip = plan.skip
        self._again = plan.again
        self._withheld = ""
        self._last: dict[str, Any] | None = None
        """The last event that was withheld."""
        self._kept = kept

    def _pass(self, data: bytes) -> bytes:
        out = each_event(data, self._change)
        if out:
            self._tail = out
        return out

    def _change(self, event: bytes) -> bytes:
        if self.failed:
            return b""
        payload = event_payload(event)
        if payload is None:
            return event
        if payload.strip() == b"[DONE]":
            return self._late() + event
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return event
        if not isinstance(chunk, dict) or chunk.get("error") is not None:
            return self._inspect(event)
        if b'"abort"' in payload:
            self._inspect(event)
            if self.failed:
                return b""
        plan, choices = self._plan, chunk.get("choices") or []
        if isinstance(chunk.get("usage"), dict):
            self._sum(chunk["usage"])
            chunk["usage"] = {**chunk["usage"], **self._shown()}
            if self.strip_usage and not choices:
                return self._late()
            if self._counted and choices:
                del chunk["usage"]
        if choices and (plan.only_usage or not self._choices(choices)):
            return b""
        self.events += bool(choices)
        if (self._again or self._withheld) and choices and self._withholds(chunk, choices[0]):
            return b""
        late = b"" if choices else self._late()
        return late + self._told(chunk)

    def _told(self, chunk: dict[str, Any]) -> bytes:
        """An event as the first engine would tell it."""
        plan = self._plan
        for name, value in (("id", plan.id), ("created", plan.created), ("model", plan.model)):
            if value is not None and name in chunk:
                chunk[name] = value
        return b"data: %b\n\n" % _encode(chunk)

    def _choices(self, choices: list[Any]) -> bool:
        """Takes the role and the white space that the client has out. False where nothing is left of the event."""
        told = False
        for choice in choices:
            delta = choice.get("delta")
            holder, name = (choice, "text") if delta is None else (delta, "content")
            again = delta is not None and self._plan.role and delta.pop("role", None) is not None
            content = holder.get(name)
            if content and self._skip:
                holder[name] = self._rest(content)
            told = told or not again or any(delta.values()) or choice.get("finish_reason") is not None
        return told

    def _late(self) -> bytes:
        """What waits for an event that does not come."""
        if not self._withheld or self._last is None:
            return b""
        chunk, choice = self._last, self._last["choices"][0]
        holder, name = (choice, "text") if choice.get("delta") is None else (choice["delta"], "content")
        holder[name], self._withheld, self._last = self._withheld, "", None
        return self._told(chunk)

    def _withholds(self, chunk: dict[str, Any], choice: dict[str, Any]) -> bool:
        """True for a token that the client had an event for; its text waits, and goes into the next event."""
        delta = choice.get("delta")
        holder, name = (choice, "text") if delta is None else (delta, "content")
        content = holder.get(name)
        alone = delta is None or not any(value for field, value in delta.items() if field != "content")
        if self._again and content is not None and alone and choice.get("finish_reason") is None:
            self._again -= 1
            self._withheld += content
            self._last = chunk
            if self._kept is not None:
                self._kept.made_again()
            return True
        if self._withheld:
            holder[name], self._withheld = self._withheld + (content or ""), ""
        return False

    def _rest(self, content: str) -> str:
        """`content` without what of it repeats the white space already sent."""
        same = 0
        for mine, theirs in zip(content, self._skip, strict=False):
            if mine != theirs:
                break
            same += 1
        self._skip = self._skip[same:] if same == len(content) else ""
        return content[same:]

    def _sum(self, given: dict[str, Any]) -> None:
        plan = self._plan
        prompt = plan.prompt or max((given.get("prompt_tokens") or 0) - plan.prompted, 0)
        completion = plan.seen + (0 if plan.only_usage else given.get("completion_tokens") or 0)
        details = given.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        kept = PromptDetails(min(cached, prompt)) if isinstance(cached, int) else None
        self.usage = Usage(prompt, completion, prompt + completion, kept)

    def _shown(self) -> dict[str, Any]:
        usage = self.usage
        assert usage is not None  # noqa: S101 - it was summed just now
        shown: dict[str, Any] = {
            "prompt_tokens": usage.prompt_tokens,
            "total_tokens": usage.total_tokens,
            "completion_tokens": usage.completion_tokens,
        }
        if usage.prompt_tokens_details is not None:
            shown["prompt_tokens_details"] = {"cached_tokens": usage.prompt_tokens_details.cached_tokens}
        return shown
