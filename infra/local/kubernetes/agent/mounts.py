"""Mount paths without mount namespaces: a process is given the real folder where its pod names the mount. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mounts:
    """Mount paths of one container and the folders (or files) they stand for."""

    places: Mapping[str, Path]

    def translate(self, text: str) -> str:
        """Replaces each mount path that stands at the start of `text`, or after `=`, `:` or `,` in it, and ends there
        or at a `/`. The longest path wins; what merely begins with the same letters stays."""
        if not self.places:
            return text
        ordered = sorted(self.places, key=len, reverse=True)
        paths = "|".join(re.escape(path) for path in ordered)
        return re.sub(
            rf"(^|[=:,])({paths})(?=$|[/:,])",
            lambda match: match.group(1) + str(self.places[match.group(2)]),
            text,
        )

    def translate_all(self, texts: Iterable[str]) -> list[str]:
        return [self.translate(text) for text in texts]


def mounts_of(container: Mapping, volumes: Path) -> Mounts:
    """The container's volume mounts, `volumes` being the folder that holds one folder per volume."""
    places = {}
    for mount in container.get("volumeMounts") or ():
        folder = volumes / mount["name"]
        places[mount["mountPath"].rstrip("/")] = folder / mount["subPath"] if mount.get("subPath") else folder
    return Mounts({path: place for path, place in places.items() if path})
