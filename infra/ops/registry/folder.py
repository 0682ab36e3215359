"""A model's folder: which files it has, what is refused, and what can be told of it without loading it.

Taken are a plain folder in the layout of Hugging Face's hub, and a repository of the hub's cache
(`models--owner--name`), whose snapshot is made of links into its own `blobs`. Any other link is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from infra.ops.errors import RefusedError
from infra.ops.registry.safetensors import Header, HeaderError, read_header

MOST_FILES = 2000
MOST_TEXT_BYTES = 64 << 20
"""A tokenizer may have some ten megabytes; what is read here is far smaller."""
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,120}){0,5}")
ENDINGS = {".safetensors", ".json", ".jsonl", ".txt", ".md", ".model", ".tiktoken", ".jinja", ".yaml", ".yml"}
"""Formats that hold data and run nothing. Whatever else there is, is refused by name."""
NAMES = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "COPYING"}
LEFT_OUT = {".git", ".gitattributes", ".gitignore", ".cache", ".DS_Store", ".no_exist", ".huggingface"}
RUNS_CODE = {".py", ".so", ".sh", ".dll", ".exe", ".ipynb", ".pyc"}
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npz", ".npy", ".msgpack", ".h5", ".keras"}
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x7fELF", b"MZ", b"#!")
"""Pickle protocols 2 to 5, archives (what torch.save writes), programs and scripts."""
ENGINE_METHODS = ("awq", "gptq", "fp8")
"""Quantisations that a model's entry in the stack file can name."""


@dataclass(frozen=True)
class Source:
    """The files of a folder by their path within it, in order, with where they are read."""

    files: Mapping[str, Path]
    description: str
    revision: str = ""
    """The commit of a hub's snapshot."""


@dataclass(frozen=True)
class Facts:
    """What the files say of themselves."""

    kind: Literal["model", "adapter"]
    licence: str
    quantisation: str
    architecture: str
    parameters: int
    """Numbers in the tensors; packed ones count as they are stored."""
    dtypes: Mapping[str, int]
    max_positions: int | None
    base_model: str
    warnings: tuple[str, ...]


def read_source(folder: Path) -> Source:
    """Raises RefusedError that names the first file that may not be there, and why."""
    root, revision = _snapshot(folder)
    blobs = (root.parent.parent / "blobs").resolve() if revision else None
    files = dict(sorted(_walk(root, root, blobs)))
    if not files:
        raise RefusedError(f"{folder} holds no files.")
    if len(files) > MOST_FILES:
        raise RefusedError(f"{folder} holds {len(files)} files; allowed: {MOST_FILES}.")
    return Source(files, str(folder), revision)


def _snapshot(folder: Path) -> tuple[Path, str]:
    """The folder itself, or the snapshot that `refs/main` of a cached repository names."""
    if not folder.is_dir():
        raise RefusedError(f"{folder} is no folder.")
    if not (folder / "snapshots").is_dir():
        cached = folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir()
        return folder, folder.name if cached else ""
    reference = folder / "refs" / "main"
    revision = reference.read_text("utf-8").strip() if reference.is_file() else ""
    if not re.fullmatch(r"[0-9a-f]{6,64}", revision) or not (folder / "snapshots" / revision).is_dir():
        raise RefusedError(f"{folder} has snapshots, and no refs/main that names one.", "Give the snapshot's folder.")
    return folder / "snapshots" / revision, revision


def _walk(root: Path, folder: Path, blobs: Path | None) -> Iterator[tuple[str, Path]]:
    for entry in sorted(os.scandir(folder), key=lambda found: found.name):
        if entry.name in LEFT_OUT:
            continue
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if not PATH.fullmatch(name) or ".." in name:
            raise RefusedError(f"The file name {name!r} is not allowed; allowed: A-Z, a-z, 0-9, '.', '_' and '-'.")
        if entry.is_symlink():
            target = path.resolve()
            if blobs is None or target.parent != blobs or not target.is_file():
                raise RefusedError(f"{name} is a link. Only a hub's cache may have links, into its own blobs.")
            _check_ending(name, target)
            yield name, target
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, blobs)
        elif entry.is_file(follow_symlinks=False):
            _check_ending(name, path)
            yield name, path
        else:
            raise RefusedError(f"{name} is neither a file nor a folder.")


def _check_ending(name: str, path: Path) -> None:
    ending = Path(name).suffix.lower()
    if ending in PICKLES:
        raise RefusedError(
            f"{name} may hold a pickle, which can run code when it is read.", "Convert the weights to safetensors."
        )
    if ending in RUNS_CODE:
        raise RefusedError(f"{name} is code. A version holds data alone.", "Leave it out.")
    if ending not in ENDINGS and Path(name).stem.upper() not in NAMES:
        raise RefusedError(f"{name} is of no kind that is allowed: {', '.join(sorted(ENDINGS))}.", "Leave it out.")
    with path.open("rb") as file:
        start = file.read(4)
    if ending != ".safetensors" and start.startswith(PICKLE_STARTS):
        raise RefusedError(f"{name} begins like a pickle, an archive or a program, whatever its name says.")


def read_facts(source: Source, licence: str | None = None) -> Facts:
    """`licence`: said by the operator, where the folder does not. Raises RefusedError."""
    files = source.files
    config = read_json(files, "config.json")
    adapter = read_json(files, "adapter_config.json")
    if config is None and adapter is None:
        raise RefusedError("There is neither config.json nor adapter_config.json: no engine could load it.")
    headers = {name: _header(name, path) for name, path in files.items() if name.endswith(".safetensors")}
    if not headers:
        raise RefusedError("There is no .safetensors file.", "Convert the weights to safetensors.")
    _check_index(files, headers)
    dtypes: dict[str, int] = {}
    for header in headers.values():
        for dtype, count in header.values.items():
            dtypes[dtype] = dtypes.get(dtype, 0) + count
    found = licence or _licence(files)
    if not found:
        raise RefusedError("No licence is named in README.md (license: ...).", "Say it: --licence apache-2.0.")
    config = config or {}
    warnings = ("config.json names code (auto_map), which is not in this version",) if "auto_map" in config else ()
    positions = config.get("max_position_embeddings")
    return Facts(
        kind="adapter" if adapter is not None else "model",
        licence=found,
        quantisation=_quantisation(config),
        architecture=", ".join(map(str, config.get("architectures") or [])) or str(config.get("model_type", "")),
        parameters=sum(dtypes.values()),
        dtypes=dict(sorted(dtypes.items())),
        max_positions=positions if isinstance(positions, int) else None,
        base_model=str((adapter or {}).get("base_model_name_or_path") or ""),
        warnings=warnings,
    )


def read_json(files: Mapping[str, Path], name: str) -> dict[str, Any] | None:
    if name not in files:
        return None
    path = files[name]
    if path.stat().st_size > MOST_TEXT_BYTES:
        raise RefusedError(f"{name} is larger than {MOST_TEXT_BYTES >> 20} MiB.")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise RefusedError(f"{name} is not JSON.") from None
    if not isinstance(content, dict):
        raise RefusedError(f"{name} is no mapping.")
    return content


def _header(name: str, path: Path) -> Header:
    try:
        return read_header(path)
    except HeaderError as error:
        raise RefusedError(f"{name} is no whole safetensors file: {error}.") from None


def _check_index(files: Mapping[str, Path], headers: Mapping[str, Header]) -> None:
    """Each tensor of the index is in the shard that it names."""
    for name in [each for each in files if each.endswith(".safetensors.index.json")]:
        content = read_json(files, name) or {}
        places = content.get("weight_map")
        if not isinstance(places, dict):
            raise RefusedError(f"{name} has no weight_map.")
        folder = name.rpartition("/")[0]
        for tensor, shard in places.items():
            at = f"{folder}/{shard}" if folder else str(shard)
            if at not in headers:
                raise RefusedError(f"{name} names {shard}, which is not there.")
            if tensor not in headers[at].tensors:
                raise RefusedError(f"{name} says that {shard} holds the tensor {tensor!r}; it does not.")


def _quantisation(config: Mapping[str, Any]) -> str:
    """`none`, or the method that the checkpoint itself names."""
    given = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(given, dict):
        return "none"
    return str(given.get("quant_method") or "unknown")[:40]


def _licence(files: Mapping[str, Path]) -> str:
    """From the model card's front matter; `license: other` is named by license_name."""
    card = files.get("README.md")
    if card is None:
        return ""
    with card.open("rb") as file:
        text = file.read(1 << 20).decode("utf-8", "replace")
    match = re.match(r"\A---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if match is None:
        return ""
    try:
        front = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return ""
    if not isinstance(front, dict):
        return ""
    named = front.get("license")
    named = named[0] if isinstance(named, list) and named else named
    if named == "other":
        named = front.get("license_name") or named
    return str(named)[:100] if named else ""
