"""A provider's key out of AWS Secrets Manager, read by the pod's own role: it is in no file, Secret or state beside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.gateway.database.secret import SecretError, read_secret
from app.gateway.providers.keys import MOST_BYTES, NoKey
from app.gateway.strict import Name

if TYPE_CHECKING:
    from app.gateway.log import Log

FRESH_SECONDS = 300.0
"""Between two reads of a key that works: a call costs money, and a refused key is read anew at once."""
MISSING_SECONDS = 10.0
FLOOR_SECONDS = 10.0
"""Between two reads at the least, however often a provider refuses the key."""


class KeySecret:
    """Read by a thread, kept in memory. A key that was read stays in use while Secrets Manager is away."""

    def __init__(
        self,
        provider: Name,
        arn: str,
        environment: Mapping[str, str],
        log: Log,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        missing_seconds: float = MISSING_SECONDS,
        floor_seconds: float = FLOOR_SECONDS,
    ) -> None:
        self._provider = provider
        self._arn = arn
        self._environment = environment
        self._log = log
        self._fresh, self._missing, self._floor = fresh_seconds, missing_seconds, floor_seconds
        self._text = ""
        self._reason = f"the secret of provider `{provider}` was not read yet"
        self._told = ""
        self._wanted = asyncio.Event()

    def text(self, now: float) -> str:
        """The secret's text without white space around it. Raises NoKey."""
        if not self._text:
            raise NoKey(self._reason)
        return self._text

    def refused(self) -> None:
        """The provider did not take the key: it may have been changed there and here."""
        self._wanted.set()

    async def keep(self) -> None:
        """Runs until it is cancelled."""
        while True:
            try:
                self._take(await asyncio.to_thread(read_secret, self._arn, self._environment))
            except SecretError as error:
                self._lack(_told(self._provider, error))
            await asyncio.sleep(self._floor if self._text else 0)
            self._wanted.clear()
            try:
                wait = self._fresh - self._floor if self._text else self._missing
                await asyncio.wait_for(self._wanted.wait() if self._text else asyncio.Event().wait(), wait)
            except TimeoutError:
                continue

    def _take(self, text: str) -> None:
        text = text.strip()
        fits = text and text.isascii() and len(text) <= MOST_BYTES and (text.startswith("{") or text.isprintable())
        if not fits:
            self._lack(f"the secret of provider `{self._provider}` is empty or holds no key")
            return
        if text != self._text:
            self._log.event("provider_key", provider=self._provider, usable=True)
        self._text, self._told = text, ""

    def _lack(self, reason: str) -> None:
        """Each reason is logged once: a key that is missing for days is one line."""
        self._reason = reason
        if reason != self._told:
            self._told = reason
            self._log.event("provider_key", provider=self._provider, usable=bool(self._text), reason=reason)


def _told(provider: Name, error: SecretError) -> str:
    if "ResourceNotFoundException" in str(error):
        return f"the secret of provider `{provider}` has no value yet: `penstock provider key {provider}` writes it"
    return f"the secret of provider `{provider}` cannot be read: {error}"
