"""A version: its digest, its manifest and where its things lie in the bucket. Pure.

<model>/sha256-<digest>/<file>                    the weights: what `weights://` names; written once
registry/<model>/versions/sha256-<digest>.json    the manifest; a version without one is not there
registry/<model>/records/<digest>/<time>-<suite>.json   evaluation records; written once
registry/<model>/pointers.json                    which version is staged and in production, with the history
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.ops.errors import PenstockError, UsageError
from infra.settings.served import WEIGHTS_SCHEME

SCHEMA = 1
ROOT = "registry"
TREE = b"penstock-tree-v1\n"
DIGEST = re.compile(r"sha256-[0-9a-f]{64}")
SOURCE = re.compile(rf"{WEIGHTS_SCHEME}(?P<model>[A-Za-z0-9._:-]+)/(?P<digest>sha256-[0-9a-f]{{64}})/?")
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
SHORTEST = 6
"""Characters of a digest that may stand for it."""
READY, REMOVING = "ready", "removing"


@dataclass(frozen=True)
class File:
    path: str
    size: int
    sha256: str
    """Hexadecimal."""


@dataclass(frozen=True)
class Manifest:
    model: str
    digest: str
    files: tuple[File, ...]
    source: str
    licence: str
    quantisation: str
    kind: str = "model"
    revision: str = ""
    architecture: str = ""
    parameters: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)
    max_positions: int | None = None
    base_model: str = ""
    warnings: tuple[str, ...] = ()
    note: str = ""
    added_at: str = ""
    added_by: str = ""
    state: str = READY
    schema: int = SCHEMA

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def weights(self) -> str:
        """What the stack file says."""
        return f"{WEIGHTS_SCHEME}{self.model}/{self.digest}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "size_bytes": self.size_bytes, "weights": self.weights}

    @classmethod
    def parse(cls, content: Any) -> Manifest:
        """Raises PenstockError for what no `penstock model add` has written."""
        try:
            if content["schema"] != SCHEMA:
                raise PenstockError(
                    f"The manifest has schema {content['schema']}; this checkout reads {SCHEMA}.", "Update it."
                )
            known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
            known["files"] = tuple(File(**one) for one in content["files"])
            known["warnings"] = tuple(content.get("warnings", ()))
            made = cls(**known)
            if tree_digest(made.files) != made.digest:
                raise PenstockError(f"The manifest of {made.model} {made.digest} does not have its own digest.")
        except (KeyError, TypeError) as error:
            raise PenstockError(f"A manifest cannot be read: {error!r}.") from None
        return made


def tree_digest(files: Iterable[File]) -> str:
    """`sha256-` and the SHA-256 over each file's digest, size and path, in the order of the paths."""
    tree = hashlib.sha256(TREE)
    for file in sorted(files, key=lambda each: each.path):
        tree.update(f"{file.sha256} {file.size} {file.path}\n".encode())
    return f"sha256-{tree.hexdigest()}"


def prefix(model: str, digest: str) -> str:
    return f"{model}/{digest}/"


def manifest_key(model: str, digest: str) -> str:
    return f"{ROOT}/{model}/versions/{digest}.json"


def records_prefix(model: str, digest: str) -> str:
    """Without `sha256-`: a policy's pattern for the weights must not match it, and IAM's `*` takes slashes too."""
    return f"{ROOT}/{model}/records/{digest.removeprefix('sha256-')}/"


def pointers_key(model: str) -> str:
    return f"{ROOT}/{model}/pointers.json"


def encoded(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()


def size_text(count: int) -> str:
    """`15.3 GiB`, `1.3 KiB`."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def version_of(source: str) -> tuple[str, str] | None:
    """Model and digest of a source that names a version of the registry."""
    match = SOURCE.fullmatch(source)
    return (match["model"], match["digest"]) if match else None


def check_model(name: str) -> str:
    """Raises UsageError."""
    if not MODEL.fullmatch(name) or name == ROOT:
        raise UsageError(f"{name!r} is no model's name; allowed: A-Z, a-z, 0-9, '.', '_' and '-'.")
    return name


def resolve(given: str, digests: Sequence[str], pointers: Mapping[str, Any]) -> str:
    """A version by its digest, the beginning of it, or the name of a pointer. Raises UsageError."""
    if given in ("stage", "production"):
        if given not in pointers:
            raise UsageError(f"The model has no version in {given}.", "See `penstock model list`.")
        return str(pointers[given]["digest"])
    wanted = given if given.startswith("sha256-") else f"sha256-{given.removeprefix('sha256:')}"
    if not re.fullmatch(rf"sha256-[0-9a-f]{{{SHORTEST},64}}", wanted):
        raise UsageError(f"{given!r} is no version.", f"Give {SHORTEST} or more characters of its digest.")
    found = [digest for digest in digests if digest.startswith(wanted)]
    if len(found) != 1:
        problem = "There is no version" if not found else f"{len(found)} versions begin with"
        raise UsageError(f"{problem} {given}.", "See `penstock model list`.")
    return found[0]
