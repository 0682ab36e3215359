"""An evaluation of what a colour really runs: the engines' own pods say which version and image answer."""

from __future__ import annotations

import datetime as dt
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ops import kube
from infra.ops.endpoint import Endpoint, from_outputs
from infra.ops.errors import RefusedError, UsageError
from infra.ops.evaluate.ask import Asker
from infra.ops.evaluate.record import make_record
from infra.ops.evaluate.run import Kept, Prices, run_suite
from infra.ops.evaluate.suite import Suite, read_suite
from infra.ops.progress import Progress
from infra.ops.registry import pointers, records
from infra.ops.registry.operate import Registry
from infra.ops.registry.records import Carried, carried_by, short
from infra.ops.release.probe import COLOUR_HEADER, PROBE_HEADER, token
from infra.ops.stacks import StackAccess
from infra.settings import Settings

READY = "Ready"


@dataclass(frozen=True)
class Running:
    """An engine's pod: its image and its whole specification as text."""

    image: str
    text: str
    ready: bool


def running(cluster: kube.Cluster, namespace: str, model: str, colour: str) -> list[Running]:
    """The engines of a model in a colour that are not on their way out. Raises PenstockError."""
    query = urllib.parse.urlencode({"labelSelector": "app.kubernetes.io/part-of=penstock", "limit": 1000})
    items = json.loads(cluster.read(f"/api/v1/namespaces/{namespace}/pods?{query}"))["items"]
    found = []
    for item in items:
        pod = kube.Pod.parse(item)
        if (pod.app, pod.model, pod.colour) != ("engine", model, colour):
            continue
        if item["metadata"].get("deletionTimestamp") or pod.phase in ("Succeeded", "Failed"):
            continue
        containers = item["spec"]["containers"]
        engine = next((one for one in containers if one["name"] == "engine"), containers[0])
        found.append(Running(engine["image"], json.dumps(item["spec"]), pod.ready))
    return found


def check_running(found: list[Running], wanted: Carried, colour: str) -> None:
    """All engines are of the version and image that the stack file names, and one is ready. Raises RefusedError."""
    stage = "Bring it up with `penstock release stage`."
    if not any(one.ready for one in found):
        raise RefusedError(f"No engine of {wanted.name} is ready in {colour}.", stage)
    assert wanted.version is not None  # noqa: S101 - the caller's own check
    model, digest = wanted.version
    text = re.compile(rf"\b{re.escape(model)}/{digest}\b")
    for one in found:
        if not text.search(one.text):
            raise RefusedError(f"Engines of {wanted.name} in {colour} run another version.", stage)
        if not one.image.endswith((f":{wanted.image}", f"@{wanted.image}")):
            raise RefusedError(f"Engines of {wanted.name} in {colour} run the image {one.image}.", stage)


@dataclass(frozen=True)
class Validator:
    """Runs the stack's suite on the colour without traffic, or on one that is named, and writes the record."""

    access: StackAccess
    registry: Registry
    progress: Progress
    folder: Path
    """Where outcomes are kept until the run ends."""

    def validate(self, name: str, colour: str, suite_file: Path | None, fresh: bool) -> tuple[dict[str, Any], str]:
        """The record and its key. Raises RefusedError where nothing was asked."""
        settings = Settings.from_stack_file(self.access.stack_file)
        wanted = self._wanted(settings, name, colour)
        model = next(each for each in settings.models if name in (each.name, *(one.name for one in each.lora_adapters)))
        assert wanted.version is not None  # noqa: S101 - `_wanted` has seen to it
        if reason := records.absence(self.registry.bucket, *wanted.version):
            raise RefusedError(f"{reason}.", "Add it with `penstock model add`.")
        suite = read_suite(suite_file or self.access.checkout / wanted.suite)
        state = self.access.state()
        cluster = kube.connect(self.access, str(state.output("clusterName")), str(state.outputs.get("region", "")))
        namespace = str(state.outputs.get("namespace", "penstock"))
        check_running(running(cluster, namespace, model.name, colour), wanted, colour)
        headers = {COLOUR_HEADER: colour, PROBE_HEADER: token(self.access, state)}
        endpoint = from_outputs(self.access.outputs())
        prices = Prices(model.input_usd_per_million_tokens, model.output_usd_per_million_tokens)
        previous = self._previous(name, wanted.version[1], suite)
        kept = Kept(self.folder / f"{name}-{short(wanted.version[1])}-{colour}-{suite.digest[:12]}.jsonl")
        if fresh:
            kept.clear()
        about = {
            "model": name, "version": wanted.version[1], "bound": True, "stack": self.access.name, "colour": colour,
            "by": self.registry.by,
            "engine": {
                "kind": model.engine, "image": wanted.image, "quantisation": wanted.quantisation,
                "max_model_len": model.max_model_len, "gpu_type": model.gpu_type, "gpus": model.gpus,
                "arguments": list(model.arguments),
            },
        }  # fmt: skip
        asker = Asker(endpoint, name, headers, colour)
        record = evaluate(suite, asker, prices, about, previous, kept, self.progress)
        # Who changed the engines meanwhile has made the answers worthless.
        check_running(running(cluster, namespace, model.name, colour), wanted, colour)
        key = records.write(self.registry.bucket, record)
        kept.clear()
        return record, key

    def _wanted(self, settings: Settings, name: str, colour: str) -> Carried:
        found = next((each for each in carried_by(settings, colour) if each.name == name), None)
        if found is None:
            served = ", ".join(each.name for each in carried_by(settings, colour))
            raise UsageError(f"The stack file serves no model {name}.", f"There are {served}.")
        if found.version is None:
            raise RefusedError(
                f"{colour} carries {name} as {found.source}, which is no version of the registry.",
                "Put one there with `penstock model promote`.",
            )
        return found

    def _previous(self, name: str, digest: str, suite: Suite) -> dict[str, Any] | None:
        """The newest record of the version in production that passed this very suite."""
        current = (pointers.read(self.registry.bucket, name).get(pointers.PRODUCTION) or {}).get("digest")
        if current in (None, digest):
            return None
        found = records.read_all(self.registry.bucket, name, current)
        fitting = [one for one in found if one["suite"]["digest"] == suite.digest and one["verdict"] == records.PASSED]
        return fitting[-1] if fitting else None


def evaluate(
    suite: Suite,
    asker: Asker,
    prices: Prices,
    about: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    kept: Kept,
    progress: Progress,
) -> dict[str, Any]:
    """Runs the suite and makes the record. Raises PenstockError for data sets that cannot be read."""
    began = pointers.now()
    with progress.step(f"Evaluating {asker.model} by {suite.shown.name}"):
        ran = run_suite(suite, asker.outcome, prices, kept, progress.detail)
    ended = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    return make_record(suite, ran, prices, {**about, "began_at": began, "ended_at": ended}, previous)


def elsewhere(suite_file: Path, endpoint: Endpoint, model: str, prices: Prices, progress: Progress) -> dict[str, Any]:
    """The record of a model at any endpoint. Nothing tells which weights answered there, so it lets nothing pass."""
    about = {"model": model, "version": None, "bound": False, "url": endpoint.url, "engine": {}, "by": ""}
    return evaluate(read_suite(suite_file), Asker(endpoint, model), prices, about, None, Kept(None), progress)
