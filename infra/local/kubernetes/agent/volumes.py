"""A pod's volumes as folders: fetched from the API server, written so that readers never see a half-made change."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.kubernetes.agent.api import Api, ApiError, Json
from infra.local.kubernetes.agent.environment import ConfigError, Place, field_value, object_data, resource_value

PRIVATE, PUBLIC = 0o600, 0o644
ROTATE_AT = 0.8
"""Share of a token's life after which it is renewed (kubelet's own)."""


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = PUBLIC


Files = dict[str, File]
"""Relative path -> content and mode."""


@dataclass(frozen=True)
class Token:
    text: str
    renew_at: float
    """By the monotonic clock."""


def write_atomically(folder: Path, files: Mapping[str, File]) -> bool:
    """Puts `files` into `folder` as kubelet does: a fresh hidden folder, a `..data` link that is renamed onto it, and
    links to it for each first path component. Returns whether anything changed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = folder / "..data"
    if data.is_symlink() and _read(data) == files:
        return False
    number = next(n for n in itertools.count(1) if not (folder / f"..{n}").exists())
    fresh = folder / f"..{number}"
    for name, file in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=file.mode)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    fresh.mkdir(exist_ok=True, mode=0o700)
    old = data.readlink() if data.is_symlink() else None
    _link(data, Path(fresh.name))
    wanted = {name.split("/", 1)[0] for name in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            _link(folder / name, Path("..data") / name)
    for path in folder.iterdir():
        if path.is_symlink() and path.name != "..data" and path.name not in wanted:
            path.unlink()
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


def _link(path: Path, target: Path) -> None:
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(path)


def _read(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): File(path.read_bytes(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file()
    }


def volume_references(pod: Json) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets (as kind and name) that the pod's volumes show."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
            if "configMap" in source:
                found.add(("configmaps", source["configMap"]["name"]))
            if "secret" in source:
                found.add(("secrets", source["secret"].get("secretName") or source["secret"].get("name")))
    return found


class Volumes:
    """The volumes of one pod under `folder`, one folder each. `absent`: Secrets that nobody makes here, so empty."""

    def __init__(self, api: Api, folder: Path, place: Place, absent: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self._absent = absent
        self._api = api
        self._place = place
        self._tokens: dict[tuple[str, str, str], Token] = {}
        self._lock = asyncio.Lock()

    def token_due(self, now: float) -> bool:
        return any(token.renew_at <= now for token in self._tokens.values())

    async def materialise(self, pod: Json) -> bool:
        """Makes or refreshes every volume; returns whether a file changed. Raises ConfigError or ApiError, the volumes
        before the failing one being in place."""
        async with self._lock:
            changed = False
            for volume in pod["spec"].get("volumes") or ():
                folder = self.folder / volume["name"]
                if "emptyDir" in volume:
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                elif "hostPath" in volume:
                    _host_path(folder, Path(volume["hostPath"]["path"]))
                else:
                    changed |= write_atomically(folder, await self._files(volume, pod))
            return changed

    async def _files(self, volume: Json, pod: Json) -> Files:
        if "projected" not in volume:
            return await self._source(volume, pod, volume["name"])
        files: Files = {}
        for source in volume["projected"].get("sources") or ():
            files |= await self._source(source, pod, volume["name"])
        return files

    async def _source(self, source: Json, pod: Json, volume: str) -> Files:
        if config := source.get("configMap"):
            return await self._object("configmaps", config["name"], config, pod, PUBLIC)
        if secret := source.get("secret"):
            return await self._object("secrets", secret.get("secretName") or secret["name"], secret, pod, PRIVATE)
        if downward := source.get("downwardAPI"):
            return dict(self._downward(downward.get("items") or (), pod))
        if token := source.get("serviceAccountToken"):
            return {token["path"]: File((await self._token(token, pod)).encode(), PRIVATE)}
        kinds = sorted(set(source) - {"name"})
        raise ConfigError(
            f"volume {volume!r}: {', '.join(kinds) or 'an empty source'} is not offered on the local target; "
            "offered: configMap, secret, downwardAPI, serviceAccountToken, projected, emptyDir, hostPath"
        )

    async def _object(self, kind: str, name: str, source: Json, pod: Json, mode: int) -> Files:
        try:
            item = await self._api.get(f"/api/v1/namespaces/{pod['metadata']['namespace']}/{kind}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
            if source.get("optional") or (kind == "secrets" and name in self._absent):
                return {}
            raise ConfigError(f"{kind[:-1]} {name!r} not found") from error
        data = object_data(kind, item)
        if not source.get("items"):
            return {key: File(content, mode) for key, content in data.items()}
        files: Files = {}
        for entry in source["items"]:
            if entry["key"] in data:
                files[entry["path"]] = File(data[entry["key"]], mode)
            elif not source.get("optional"):
                raise ConfigError(f"{kind[:-1]} {name!r} has no key {entry['key']!r}")
        return files

    def _downward(self, items: Iterable[Json], pod: Json) -> Iterator[tuple[str, File]]:
        containers = {c["name"]: c for c in pod["spec"]["containers"]}
        for item in items:
            if "fieldRef" in item:
                text = field_value(item["fieldRef"]["fieldPath"], pod, self._place)
            else:
                text = resource_value(item["resourceFieldRef"], containers, "", self._place)
            yield item["path"], File(text.encode())

    async def _token(self, source: Json, pod: Json) -> str:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        key = (metadata["namespace"], account, source.get("audience") or "")
        held = self._tokens.get(key)
        if held and held.renew_at > time.monotonic():
            return held.text
        asked = int(source.get("expirationSeconds") or 3600)
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [key[2]] if key[2] else [],
                "expirationSeconds": asked,
                "boundObjectRef": {
                    "kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"],
                },
            },
        }  # fmt: skip
        reply = await self._api.post(f"/api/v1/namespaces/{key[0]}/serviceaccounts/{account}/token", body)
        expires = dt.datetime.fromisoformat(reply["status"]["expirationTimestamp"])
        life = min(asked, (expires - dt.datetime.now(dt.UTC)).total_seconds())
        token = Token(reply["status"]["token"], time.monotonic() + ROTATE_AT * max(life, 1.0))
        self._tokens[key] = token
        return token.text


def _host_path(folder: Path, target: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not folder.is_symlink():
        folder.symlink_to(target)
