"""The commands' work: add, list, promote, roll back, verify and remove versions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ops.errors import PenstockError, RefusedError, UsageError
from infra.ops.progress import Progress
from infra.ops.registry import pointers, records, upload
from infra.ops.registry.folder import ENGINE_METHODS, read_facts, read_source
from infra.ops.registry.manifest import (
    REMOVING,
    ROOT,
    Manifest,
    check_model,
    manifest_key,
    prefix,
    resolve,
    size_text,
    tree_digest,
)
from infra.ops.registry.records import short
from infra.ops.registry.source_line import edit_source
from infra.ops.registry.store import Bucket, OutrunError
from infra.ops.weights import read_text, replace_file
from infra.settings import Settings
from infra.settings.served import LoraAdapter, Model

GIB = 1 << 30


@dataclass(frozen=True)
class Registry:
    """`by`: who acts. `stack_files`: all of the checkout; what they name is in use."""

    bucket: Bucket
    by: str
    progress: Progress
    stack_files: tuple[Path, ...] = ()
    deployed: str = ""
    """Texts of the deployed engines, in which a version that still runs is found."""
    part_bytes: int = upload.PART_BYTES

    def add(self, model: str, folder: Path, licence: str | None, source: str, note: str) -> tuple[Manifest, bool]:
        """Uploads a folder as a version; False where it was there. Raises RefusedError where nothing was written."""
        check_model(model)
        found = read_source(folder)
        facts = read_facts(found, licence)
        size = sum(path.stat().st_size for path in found.files.values())
        with self.progress.step(f"Reading {size_text(size)}"):
            counted = _Counter(self.progress, "read", size)
            measured = [upload.measure(name, path, counted.add, self.part_bytes) for name, path in found.files.items()]
        files = tuple(each.file for each in measured)
        manifest = Manifest(
            model=model, digest=tree_digest(files), files=files, source=source or found.description, note=note,
            revision=found.revision, added_at=pointers.now(), added_by=self.by, **vars(facts),
        )  # fmt: skip
        key = manifest_key(model, manifest.digest)
        if (there := self.bucket.read(key)) is not None:
            return self._added_before(Manifest.parse(there[0])), False
        with self.progress.step(f"Uploading {size_text(upload.total(measured))}"):
            uploader = upload.Uploader(self.bucket, _Counter(self.progress, "uploaded", upload.total(measured)).add)
            base = prefix(model, manifest.digest)
            for each in measured:
                uploader.put(base + each.file.path, each)
            for each in measured:  # all at once, right before the version can be seen
                if fault := uploader.fault(base + each.file.path, each, absent="is not there"):
                    raise PenstockError(f"s3://{self.bucket.name}/{base}{each.file.path} {fault}.", "Add it again.")
        try:
            self.bucket.create(key, manifest.as_dict())
        except OutrunError:  # the same files were added at the same time
            there = self.bucket.read(key)
            return self._added_before(Manifest.parse(there[0] if there else None)), False
        return manifest, True

    def _added_before(self, manifest: Manifest) -> Manifest:
        if manifest.state == REMOVING:
            raise RefusedError(
                f"{manifest.model} {short(manifest.digest)} is being removed.", "End that with `penstock model remove`."
            )
        return manifest

    def models(self) -> list[str]:
        """Names of all models that have a version or a pointer."""
        return sorted({key.split("/")[1] for key in self.bucket.keys(f"{ROOT}/") if key.count("/") > 1})

    def digests(self, model: str) -> list[str]:
        keys = self.bucket.keys(f"{ROOT}/{model}/versions/")
        return [key.rpartition("/")[2].removesuffix(".json") for key in keys]

    def manifest(self, model: str, version: str) -> Manifest:
        """Raises UsageError for one that is not there."""
        check_model(model)
        digest = resolve(version, self.digests(model), pointers.read(self.bucket, model))
        found = self.bucket.read(manifest_key(model, digest))
        if found is None:
            raise UsageError(f"There is no version {version} of {model}.", "See `penstock model list`.")
        return Manifest.parse(found[0])

    def listed(self, model: str | None) -> Iterator[dict[str, Any]]:
        """One row a version, the newest first; `uses` names pointers and stack files."""
        for name in [check_model(model)] if model else self.models():
            set_now = pointers.read(self.bucket, name)
            manifests = [self.manifest(name, digest) for digest in self.digests(name)]
            for manifest in sorted(manifests, key=lambda each: each.added_at, reverse=True):
                found = records.read_all(self.bucket, name, manifest.digest)
                yield {
                    **{key: value for key, value in manifest.as_dict().items() if key != "files"},
                    "files": len(manifest.files),
                    "uses": self.uses(name, manifest.digest, set_now),
                    "evaluation": {key: found[-1].get(key) for key in ("verdict", "ended_at")} if found else None,
                }

    def uses(self, model: str, digest: str, set_now: Mapping[str, Any]) -> list[str]:
        """Pointers, stack files and deployed engines that name a version."""
        text = re.compile(rf"\b{re.escape(model)}/{digest}\b")
        found = [name for name in (pointers.STAGE, pointers.PRODUCTION) if _at(set_now, name) == digest]
        found += [file.name for file in self.stack_files if text.search(read_text(file))]
        return [*found, "deployed"] if text.search(self.deployed) else found

    def promote(self, model: str, version: str, file: Path, colour: str | None, why: str) -> dict[str, Any]:
        """Writes a version into the idle colour's line of the stack file. Raises RefusedError."""
        manifest = self.manifest(model, version)
        if manifest.state == REMOVING:
            raise RefusedError(f"{model} {short(manifest.digest)} is being removed.")
        old = read_text(file)
        settings = Settings.from_stack_file(file)
        chosen = idle_colour(settings, colour)
        check_fit(manifest, settings)
        new = edit_source(old, chosen, model, manifest.weights, file.name)
        pointers.move(self.bucket, model, pointers.STAGE, manifest.digest, self.by, why)
        # A removal marks the manifest and then looks at the pointers; this sets the pointer and then looks at the
        # manifest: one of the two sees the other.
        if reason := records.absence(self.bucket, model, manifest.digest):
            raise RefusedError(f"{reason}.")
        if new != old:
            replace_file(file, new)
            try:
                Settings.from_stack_file(file)
            except ValueError as error:
                replace_file(file, old)
                raise RefusedError(str(error)) from None
        return {
            "model": model, "version": manifest.digest, "colour": chosen, "file": file.name, "changed": new != old,
            "source": manifest.weights,
        }  # fmt: skip

    def verify(self, model: str, version: str, read: bool) -> list[str]:
        """What is wrong with a version's files in the bucket. `read`: every byte is read back."""
        manifest = self.manifest(model, version)
        counted = _Counter(self.progress, "read", manifest.size_bytes)
        found = []
        with self.progress.step(f"Verifying {len(manifest.files)} files"):
            for file in manifest.files:
                key = prefix(model, manifest.digest) + file.path
                head = upload.head_of(self.bucket, key)
                fault = "is not there" if head is None else upload.fault_of(head, file, None)
                if not fault and read:
                    fault = upload.read_back(self.bucket, key, file, counted.add)
                if fault:
                    found.append(f"{file.path} {fault}")
            kept = {f"{prefix(model, manifest.digest)}{file.path}" for file in manifest.files}
            base = prefix(model, manifest.digest)
            found += [
                f"{key.removeprefix(base)} is not of the version" for key in self.bucket.keys(base) if key not in kept
            ]
        return found

    def remove(self, model: str, version: str) -> dict[str, Any]:
        """Deletes a version that nothing uses. Goes on with one that was interrupted. Raises RefusedError.

        The manifest is marked first, so that nothing takes the version up, and deleted last.
        """
        check_model(model)
        manifest = self._to_remove(model, version)
        digest = manifest.digest if manifest else version
        self._refuse_use(model, digest)
        key = manifest_key(model, digest)
        if manifest is not None and manifest.state != REMOVING:
            self.bucket.change(key, lambda content: {**content, "state": REMOVING})
            try:
                self._refuse_use(model, digest)
            except RefusedError:
                self.bucket.change(key, lambda content: {**content, "state": "ready"})
                raise
        gone = list(self.bucket.keys(prefix(model, digest)))
        for each in gone:
            self.bucket.delete(each)
        if manifest is not None:
            pointers.note(self.bucket, model, {"event": "removed", "digest": digest, "by": self.by})
            self.bucket.delete(key)
        return {"model": model, "version": digest, "files": len(gone)}

    def _to_remove(self, model: str, version: str) -> Manifest | None:
        """None for what an interrupted `add` has left: files without a manifest, named by the whole digest."""
        if re.fullmatch(r"sha256-[0-9a-f]{64}", version) and version not in self.digests(model):
            if next(self.bucket.keys(prefix(model, version)), None) is None:
                raise UsageError(f"There is no version {version} of {model}.", "See `penstock model list`.")
            return None
        return self.manifest(model, version)

    def _refuse_use(self, model: str, digest: str) -> None:
        if used := self.uses(model, digest, pointers.read(self.bucket, model)):
            raise RefusedError(
                f"{model} {short(digest)} is in use: {', '.join(used)}.", "Promote another version there first."
            )


def idle_colour(settings: Settings, wanted: str | None) -> str:
    """The colour that has no traffic in the stack file. Raises RefusedError."""
    idle = [colour for colour, weight in settings.weights.items() if weight == 0]
    if wanted is not None and wanted not in idle:
        raise RefusedError(f"{wanted} has traffic in the stack file.", "A version goes into the colour without.")
    if not idle:
        raise RefusedError("Both colours have traffic.", "End the release first: `penstock release status`.")
    return wanted or idle[0]


def check_fit(manifest: Manifest, settings: Settings) -> None:
    """Whether the model's entry in the stack file is right for this version. Raises RefusedError."""
    model, adapter = _entry(settings, manifest.model)
    name = f"{manifest.model} {short(manifest.digest)}"
    if (manifest.kind == "adapter") != (adapter is not None):
        raise RefusedError(f"{name} is {_article(manifest.kind)}, and the stack file has {manifest.model} as another.")
    if adapter is not None:
        return
    method = manifest.quantisation if manifest.quantisation in ENGINE_METHODS else "none"
    on_the_fly = model.quantisation == "fp8" and manifest.quantisation == "none"
    if model.quantisation != method and not on_the_fly:
        raise RefusedError(
            f"{name} is quantised by {manifest.quantisation}, and the stack file says {model.quantisation}.",
            f"Change quantisation of {manifest.model} by an update of its own first.",
        )
    if manifest.size_bytes > model.weights_gib * GIB:
        raise RefusedError(
            f"{name} has {size_text(manifest.size_bytes)}, and the stack file says weightsGib "
            f"{model.weights_gib:g}: its time to start and the memory that it needs follow from that.",
            "Raise it first.",
        )


def _entry(settings: Settings, name: str) -> tuple[Model, LoraAdapter | None]:
    for model in settings.models:
        if model.name == name:
            return model, None
        for adapter in model.lora_adapters:
            if adapter.name == name:
                return model, adapter
    served = [name for model in settings.models for name in (model.name, *(a.name for a in model.lora_adapters))]
    raise RefusedError(f"The stack file serves no model {name}.", f"There are {', '.join(served)}.")


def _article(kind: str) -> str:
    return "an adapter" if kind == "adapter" else "a model"


def _at(set_now: Mapping[str, Any], pointer: str) -> str | None:
    return (set_now.get(pointer) or {}).get("digest")


class _Counter:
    """Bytes done, for the progress line. Called from several threads."""

    def __init__(self, progress: Progress, verb: str, total: int) -> None:
        self._progress, self._verb, self._total, self._done = progress, verb, total, 0

    def add(self, count: int) -> None:
        self._done += count  # a lost update would show a little too little, and nothing more
        share = 100 * self._done // self._total if self._total else 100
        self._progress.detail(f"{size_text(self._done)} {self._verb}, {min(share, 100)} %")
