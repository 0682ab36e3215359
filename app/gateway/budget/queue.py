"""Reads the events' queue of SQS with the pod's own role. aiohttp is imported here: import this late.

A call is one signed POST (SQS's JSON protocol, API version 2012-11-05). A message that is not deleted comes again after
HIDDEN_SECONDS, and after five times goes to the queue of dead messages.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from app.gateway.database.secret import Credentials, SecretError, pod_credentials, sign

WAIT_SECONDS = 10
"""Of a long poll: a message is there at once, and an idle gateway asks six times a minute."""
HIDDEN_SECONDS = 5
"""A message that a dying gateway received is another's after this, and not after the queue's own minute."""
MOST_MESSAGES = 10
CALL_SECONDS = 10.0
CREDENTIALS_SECONDS = 600.0
"""Pod Identity's credentials hold for hours; the agent on the node keeps them."""
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/[0-9]{12}/[A-Za-z0-9_.-]{1,80}")


class QueueError(Exception):
    """The queue cannot be read now. The message holds no secret."""


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    body: str
    receipt: str
    sent: float
    """Unix time."""
    times: int
    """How often it was received, this time included."""


class Queue:
    """Raises ValueError for what is no address of a queue."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        if not _URL.fullmatch(url):
            raise ValueError(f"{url!r} is not the address of an SQS queue, https://HOST/ACCOUNT/NAME")
        address = urlsplit(url)
        host = address.netloc.split(".")
        self._url = url
        self._region = (
            host[1] if len(host) > 3 and host[0] == "sqs" else environment.get("AWS_REGION", "") or "us-east-1"
        )
        self._endpoint = (
            environment.get("AWS_ENDPOINT_URL_SQS")
            or environment.get("AWS_ENDPOINT_URL")
            or f"{address.scheme}://{address.netloc}"
        ).rstrip("/")
        self._environment = environment
        self._credentials: Credentials | None = None
        self._credentials_at = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def receive(self, wait_seconds: int = WAIT_SECONDS) -> list[Message]:
        """Up to ten messages, or none after `wait_seconds`. Raises QueueError."""
        asked = {
            "QueueUrl": self._url,
            "MaxNumberOfMessages": MOST_MESSAGES,
            "WaitTimeSeconds": wait_seconds,
            "VisibilityTimeout": HIDDEN_SECONDS,
            "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
            # SDKs of before 2023 and some copies of SQS know this name alone.
            "AttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
        }
        content = await self._call("ReceiveMessage", asked, wait_seconds + CALL_SECONDS)
        try:
            return [_message(one) for one in content.get("Messages") or ()]
        except (LookupError, TypeError, ValueError):
            raise QueueError("SQS answered with messages that cannot be read") from None

    async def delete(self, message: Message) -> None:
        """Raises QueueError."""
        await self._call("DeleteMessage", {"QueueUrl": self._url, "ReceiptHandle": message.receipt}, CALL_SECONDS)

    async def _call(self, action: str, content: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self._session is not None  # noqa: S101 - used inside `async with`
        body = json.dumps(content).encode()
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        credentials = await self._current()
        now = dt.datetime.now(dt.UTC)
        signed = sign(urlsplit(self._endpoint).netloc, headers, body, self._region, credentials, now, service="sqs")
        try:
            async with self._session.post(
                f"{self._endpoint}/",
                data=body,
                headers=signed,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as reply:
                raw = await reply.read()
                status = reply.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise QueueError(f"SQS did not answer: {type(error).__name__}") from None
        try:
            found = json.loads(raw or b"{}")
        except ValueError:
            found = None
        if status != 200 or not isinstance(found, dict):
            self._credentials = None  # they may be old
            kind = str(found.get("__type", "")).rpartition("#")[2][:80] if isinstance(found, dict) else ""
            raise QueueError(f"SQS answered {status} {kind}".strip())
        return found

    async def _current(self) -> Credentials:
        if self._credentials is None or time.monotonic() - self._credentials_at > CREDENTIALS_SECONDS:
            try:
                self._credentials = await asyncio.to_thread(pod_credentials, self._environment)
            except SecretError as error:
                raise QueueError(str(error)) from None
            self._credentials_at = time.monotonic()
        return self._credentials


def _message(one: Mapping[str, Any]) -> Message:
    attributes = one.get("Attributes") or {}
    return Message(
        id=str(one["MessageId"]),
        body=str(one["Body"]),
        receipt=str(one["ReceiptHandle"]),
        sent=int(attributes.get("SentTimestamp", time.time() * 1000)) / 1000,
        times=int(attributes.get("ApproximateReceiveCount", 1)),
    )
