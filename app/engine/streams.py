"""Generations that leave as server-sent events: one event a token, each in the exact form of its route.

An event is put together from bytes that are the same for all tokens of an answer and the token's own JSON string, which
the tokenizer knows: that keeps the cost of an event to some microseconds.
"""

from __future__ import annotations

from app.engine import replies
from app.engine.generation import (
    EMPTY,
    Answer,
    ChatJob,
    CompletionJob,
    Job,
    MessagesJob,
    ResponsesJob,
    chat_logprob,
    completion_logprobs,
)  # fmt: skip
from app.engine.replies import DONE, ApiError, Choice, Json, dump


class EventStream(Job):
    """What all streams share: the start, slow clients, errors after the status is sent."""

    ends_with_done = True

    def start(self) -> None:
        self.request.start_stream(self.extra)

    extra = b""
    """More header lines."""

    def token(self, answer: Answer, token: int, reason: str | None) -> None:
        quoted = answer.take(token, reason)
        ended = (reason is not None or answer.finish is not None) and self.settle(answer, reason)
        if not ended and self.request.paused:
            answer.backlog.append(quoted)
            return
        if answer.backlog:
            quoted = answer.merged(quoted)
        self.request.event(self.ending(answer, token, quoted) if ended else self.delta(answer, token, quoted))
        if not self.open:
            self.close()

    def delta(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        raise NotImplementedError

    def ending(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        raise NotImplementedError

    def trailer(self) -> bytes:
        """Events after the last answer's end."""
        return b""

    def close(self) -> None:
        self.engine.forget(self)
        if tail := self.trailer():
            self.request.event(tail)
        if self.ends_with_done:
            self.request.event(DONE)
        self.request.end_stream()

    def fail(self, error: ApiError) -> None:
        if not self.request.streaming:
            super().fail(error)
            return
        self.release("error")
        self.request.event(b"data: %b\n\n" % dump(error.body))
        if self.ends_with_done:
            self.request.event(DONE)
        self.request.end_stream()


class _OpenAiStream(EventStream):
    """Chunks that begin with the same identity."""

    kind = ""

    def start(self) -> None:
        identity = self.identity
        head = {"id": identity.id, "object": self.kind, "created": identity.created, "model": identity.model}
        self._head = b"data: " + dump(head)[:-1]
        self._print = b',"system_fingerprint":' + dump(identity.fingerprint)
        super().start()

    def usage_part(self, answer: Answer) -> bytes:
        if not self.plan.continuous_usage:
            return b""
        prompt, made = len(answer.prompt.tokens), answer.completion_tokens
        # As `replies.usage` has it, without a dictionary for each token.
        return b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (prompt, prompt + made, made)

    def last_part(self) -> bytes:
        """The fingerprint stands on the very last chunk, which is the one with the usage where that was asked for."""
        return b"" if self.open or self.plan.include_usage else self._print

    def trailer(self) -> bytes:
        if not self.plan.include_usage:
            return b""
        used = dump(replies.usage(self.prompt_tokens(), self.completion_tokens()))
        return b'%b,"choices":[],"usage":%b%b}\n\n' % (self._head, used, self._print)


_NO_DETAILS = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]'


class ChatStream(_OpenAiStream, ChatJob):
    kind = "chat.completion.chunk"

    def start(self) -> None:
        super().start()
        self._begin = [
            b'%b,"choices":[{"index":%d,"delta":{"content":' % (self._head, answer.index) for answer in self.answers
        ]
        self._plain = self.plan.logprobs is None and not self.plan.token_ids
        self._called = self.plan.tool is not None
        self._introduced = False

    def token(self, answer: Answer, token: int, reason: str | None) -> None:
        if not self._introduced:
            self._introduced = True
            for each in self.answers:
                self.request.event(
                    b'%b,"choices":[{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,'
                    b'"finish_reason":null}],"prompt_token_ids":%b,"prompt_text":null%b}\n\n'
                    % (
                        self._head,
                        each.index,
                        dump(each.prompt.tokens) if self.plan.token_ids else b"null",
                        b"" if not self.plan.continuous_usage else b',"usage":' + dump(self._no_tokens(each)),
                    )
                )
        super().token(answer, token, reason)

    def _no_tokens(self, answer: Answer) -> Json:
        return replies.usage(len(answer.prompt.tokens), 0)

    def delta(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        if self._plain and not self._called:
            return self._begin[answer.index] + quoted + _NO_DETAILS + self.usage_part(answer) + b"}\n\n"
        shown = EMPTY if self._called else quoted
        rest = b'},"logprobs":%b,"finish_reason":null,"token_ids":%b}]%b}\n\n'
        return self._begin[answer.index] + shown + rest % (*self._details(token), self.usage_part(answer))

    def ending(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        finish = answer.finish
        if self.plan.tool is not None:
            name, arguments = self.plan.tool
            function = {"name": name, "arguments": arguments}
            call = {
                "id": f"chatcmpl-tool-{self.identity.id[-16:]}",
                "type": "function",
                "index": 0,
                "function": function,
            }
            quoted = b'"","tool_calls":' + dump([call])
            finish = "tool_calls" if finish == "stop" else finish
        logprobs, ids = self._details(token)
        rest = b'},"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"token_ids":%b}]%b%b}\n\n'
        parts = (logprobs, dump(finish), dump(answer.stop), ids, self.usage_part(answer), self.last_part())
        return self._begin[answer.index] + quoted + rest % parts

    def _details(self, token: int) -> tuple[bytes, bytes]:
        logprobs = b"null"
        if self.plan.logprobs is not None:
            logprobs = dump({"content": [chat_logprob(self.engine.tokenizer, token, self.plan)]})
        return logprobs, b"[%d]" % token if self.plan.token_ids else b"null"


class CompletionStream(_OpenAiStream, CompletionJob):
    kind = "text_completion"

    def start(self) -> None:
        super().start()
        self._begin = [b'%b,"choices":[{"index":%d,"text":' % (self._head, answer.index) for answer in self.answers]
        self._offsets = [0] * len(self.answers)

    def delta(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        return self._chunk(answer, token, quoted, b"null", b"null", b"")

    def ending(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        return self._chunk(answer, token, quoted, dump(answer.finish), dump(answer.stop), self.last_part())

    def _chunk(self, answer: Answer, token: int, quoted: bytes, finish: bytes, stop: bytes, last: bytes) -> bytes:
        first = answer.taken == 1
        if self.plan.echo and first:
            quoted = dump(answer.prompt.text)[:-1] + quoted[1:]
        logprobs = b"null"
        if self.plan.logprobs is not None:
            offset = self._offsets[answer.index]
            logprobs = dump(completion_logprobs(self.engine.tokenizer, [token], offset))
            self._offsets[answer.index] += len(self.engine.tokenizer.pieces[token])
        ids, prompt_ids = b"null", b"null"
        if self.plan.token_ids:
            ids = b"[%d]" % token
            prompt_ids = dump(answer.prompt.tokens) if first else b"null"
        rest = b',"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"prompt_token_ids":%b,"token_ids":%b}]%b%b}\n\n'
        parts = (logprobs, finish, stop, prompt_ids, ids, self.usage_part(answer), last)
        return self._begin[answer.index] + quoted + rest % parts


class ResponsesStream(EventStream, ResponsesJob):
    """The typed events of /v1/responses."""

    ends_with_done = False

    def start(self) -> None:
        super().start()
        self._number = 0
        self._item = f"msg_{self.identity.id[-16:]}"
        empty = replies.responses(self.identity, self.plan.body, "in_progress", [], None)
        self.request.event(self._event("response.created", response=empty))
        self.request.event(self._event("response.in_progress", response=empty))
        item = replies.responses_message(self._item, "", "in_progress")
        self.request.event(self._event("response.output_item.added", output_index=0, item=item))
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        self.request.event(self._event("response.content_part.added", **self._place(), part=part))

    def delta(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        if quoted == EMPTY:
            return b": \n\n"
        plain = self._event("response.output_text.delta", **self._place(), delta="", logprobs=[])
        return plain.replace(b'"delta":""', b'"delta":' + quoted, 1)

    def ending(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        events = [self.delta(answer, token, quoted)]
        reply = self.reply()
        item = reply["output"][0]
        text = item["content"][0]["text"]
        events.append(self._event("response.output_text.done", **self._place(), text=text, logprobs=[]))
        events.append(self._event("response.content_part.done", **self._place(), part=item["content"][0]))
        events.append(self._event("response.output_item.done", output_index=0, item=item))
        events.append(self._event(f"response.{reply['status']}", response=reply))
        return b"".join(events)

    def _place(self) -> Json:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **content: object) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **content}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), dump(body))


class MessagesStream(EventStream, MessagesJob):
    """The events of Anthropic's /v1/messages."""

    def start(self) -> None:
        super().start()
        message = replies.messages(self.identity, Choice(0, "", "stop", None), self.prompt_tokens(), 0)
        message |= {"content": [], "stop_reason": None}
        self.request.event(_named("message_start", message=message))
        self.request.event(_named("content_block_start", index=0, content_block={"type": "text", "text": ""}))

    def delta(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        plain = _named("content_block_delta", index=0, delta={"type": "text_delta", "text": ""})
        return plain.replace(b'"text":""', b'"text":' + quoted, 1)

    def ending(self, answer: Answer, token: int, quoted: bytes) -> bytes:
        reply = self.reply()
        stopped = {"stop_reason": reply["stop_reason"], "stop_sequence": answer.stop}
        events = [self.delta(answer, token, quoted)] if quoted != EMPTY else []
        events.append(_named("content_block_stop", index=0))
        events.append(_named("message_delta", delta=stopped, usage=reply["usage"]))
        events.append(_named("message_stop"))
        return b"".join(events)


def _named(kind: str, **content: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dump({"type": kind, **content}))
