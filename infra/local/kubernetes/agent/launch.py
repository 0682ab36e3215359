"""A container made ready to run: its environment and argument vector, with references fetched and mounts translated."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.kubernetes.agent.api import Api, ApiError, Json
from infra.local.kubernetes.agent.environment import (
    Fetched,
    Place,
    base_environment,
    expand,
    pod_environment,
    references,
)
from infra.local.kubernetes.agent.mounts import mounts_of
from infra.local.layout import Layout


@dataclass(frozen=True)
class Launch:
    """What a process is started with."""

    command: list[str]
    environment: dict[str, str]


async def prepare(
    api: Api,
    layout: Layout,
    *,
    identity: Mapping[str, str],
    pod: Json,
    container: Json,
    words: list[str],
    place: Place,
    folder: Path,
) -> Launch:
    """Fetches what the environment refers to and puts the process's start together. `words` is the argument vector as
    the pod has it, `folder` the pod's own, `identity` the variables of its role. Raises ConfigError for what is
    missing, ApiError where it cannot be read."""
    fetched = await _fetch(api, pod["metadata"]["namespace"], references(container))
    server = urlsplit(layout.api_server_url)
    services = {
        **identity,
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(server.port),
    }
    values = pod_environment(container, pod, place, fetched, services)
    mounts = mounts_of(container, folder / "volumes")
    base = base_environment(
        interpreter=Path(sys.executable), checkout=layout.checkout, folder=folder, hostname=pod["metadata"]["name"]
    )
    environment = base | {name: mounts.translate(value) for name, value in values.items()}
    return Launch(mounts.translate_all(expand(word, values) for word in words), environment)


async def _fetch(api: Api, namespace: str, names: set[tuple[str, str]]) -> Fetched:
    async def one(kind: str, name: str) -> Json | None:
        try:
            return await api.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    ordered = sorted(names)
    return dict(zip(ordered, await asyncio.gather(*(one(*name) for name in ordered)), strict=True))
