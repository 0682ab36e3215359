"""A local copy of one kind of object, kept current by list and watch."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Literal

from infra.local.kubernetes.agent.api import Api, ApiError, Json

log = logging.getLogger("agent.store")

Change = Literal["ADDED", "MODIFIED", "DELETED"]
Listener = Callable[[Change, Json], None]
Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name."""

WATCH_SECONDS = 300
ABSENT_SECONDS = 2.0
"""Pause before a kind that the server does not know (a CRD still to come) is listed again."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0


def key_of(item: Json) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


class Store:
    """Objects of one path by key. `listeners` are told of each change, after the copy has it; they must not block."""

    def __init__(self, api: Api, path: str, **query: str) -> None:
        self.items: dict[Key, Json] = {}
        self.listeners: list[Listener] = []
        self.synced = asyncio.Event()
        self._api = api
        self._path = path
        self._query = query

    async def run(self) -> None:
        """Lists and watches for ever; after a failure it lists again, with a growing pause."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                version = await self._list()
                pause = FIRST_PAUSE_SECONDS
                while version:
                    version = await self._watch(version)
            except ApiError as error:
                if error.status == 404:
                    self._replace([])
                    await asyncio.sleep(ABSENT_SECONDS)
                    continue
                if pause == FIRST_PAUSE_SECONDS:  # said once, not at every try
                    log.warning("store.lost path=%s error=%s", self._path, error)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 (spreads retries)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _list(self) -> str:
        content = await self._api.get(self._path, **self._query)
        self._replace(content.get("items") or [])
        return content["metadata"]["resourceVersion"]

    async def _watch(self, version: str) -> str:
        """One watch. Returns the version to go on from, or an empty text where a fresh list is needed."""
        query = {
            **self._query,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self._api.watch(self._path, query) as events:
            async for event in events:
                item = event["object"]
                if event["type"] == "ERROR":  # 410 Gone: the version is too old to watch from
                    log.info("store.relist path=%s reason=%s", self._path, item.get("reason"))
                    return ""
                version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._apply(event["type"], item)
        return version

    def _replace(self, items: list[Json]) -> None:
        """Takes a whole list, telling the difference to what was known."""
        fresh = {key_of(item): item for item in items}
        for key, old in list(self.items.items()):
            new = fresh.get(key)
            if new is None or new["metadata"].get("uid") != old["metadata"].get("uid"):
                self._apply("DELETED", old)
        for key, new in fresh.items():
            old = self.items.get(key)
            if old is None:
                self._apply("ADDED", new)
            elif old["metadata"].get("resourceVersion") != new["metadata"].get("resourceVersion"):
                self._apply("MODIFIED", new)
        self.synced.set()

    def _apply(self, change: Change, item: Json) -> None:
        item["metadata"].pop("managedFields", None)  # bulky, and of no use here
        if change == "DELETED":
            self.items.pop(key_of(item), None)
        else:
            self.items[key_of(item)] = item
        for listener in self.listeners:
            listener(change, item)
