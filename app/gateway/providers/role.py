"""AWS credentials for Bedrock: of a key file, or of the pod's own role, kept fresh by a task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from app.gateway.providers.keys import NoKey

if TYPE_CHECKING:
    from app.gateway.log import Log

RENEW_SECONDS = 60.0
"""botocore itself fetches new ones a quarter of an hour before the old ones end; this only asks it often enough."""


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


_decode = msgspec.json.Decoder(_Keys).decode


class Role:
    """The credentials that the pod's environment has (EKS Pod Identity among them). Read by a thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._session = Session()
        self.credentials: ReadOnlyCredentials | None = None

    async def keep(self) -> None:
        """Runs until it is cancelled."""
        usable: bool | None = None
        while True:
            try:
                self.credentials = await asyncio.to_thread(self._read)
            except BotoCoreError as error:
                self._log.event("provider_role", usable=False, reason=type(error).__name__)
            if usable is not (self.credentials is not None):
                usable = self.credentials is not None
                self._log.event("provider_role", usable=usable)
            await asyncio.sleep(RENEW_SECONDS if usable else 5.0)

    def _read(self) -> ReadOnlyCredentials | None:
        credentials = self._session.get_credentials()
        return None if credentials is None else credentials.get_frozen_credentials()


def credentials_of(text: str, role: Role | None, provider: str) -> ReadOnlyCredentials:
    """Credentials of a key file's JSON, else of the role. Raises NoKey, whose message holds no part of a key."""
    if text:
        try:
            keys = _decode(text)
        except msgspec.DecodeError:
            told = "access_key_id, secret_access_key and, where there is one, session_token"
            raise NoKey(f"the key file of provider `{provider}` is not a JSON object of {told}") from None
        return ReadOnlyCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    if role is None or role.credentials is None:
        raise NoKey(f"provider `{provider}` has no key file, and the pod's role gives no credentials")
    return role.credentials
