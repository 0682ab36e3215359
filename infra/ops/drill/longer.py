"""Drills whose fault is a piece of work: a key that is revoked, a release that is bad, a platform that is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.ops import keys as admin
from infra.ops import traffic
from infra.ops.drill.faults import FAULTS, Fault
from infra.ops.drill.place import GATEWAY_PORT, STRATEGIC, Place, running
from infra.ops.endpoint import Endpoint, GatewayError, request
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.usage import admin_of

REVOKED_SECONDS = 10.0
RELEASE_SECONDS = 400.0
UPDATE_SECONDS = 120.0
GONE_SECONDS = 10.0
BAD = {"PENSTOCK_SIM_ERROR_RATE": "1"}


@dataclass
class KeyDisabled(Fault):
    """A key of its own, so that the load goes on; every gateway is asked directly until each has refused it."""

    identity: str = ""

    def inject(self, place: Place) -> str:
        manager = admin_of(place.outputs)
        made = admin.call(manager, "POST", "keys", {"name": "drill", "tenant": "default", "priority": "interactive"})
        self.identity = made["id"]
        doors = [
            Endpoint(f"http://{seen.pod.ip}:{GATEWAY_PORT}", made["key"], place.endpoint.models)
            for seen in place.pods()
            if seen.pod.app == "gateway" and seen.pod.ready
        ]
        self._until(doors, allowed=True)
        began = time.monotonic()
        admin.call(manager, "POST", f"keys/{self.identity}/revoke", {})
        self._until(doors, allowed=False)
        self.over = time.monotonic()
        self.figures["refused_after_seconds"] = self.over - began
        return f"a key revoked; {len(doors)} gateways asked"

    def _until(self, doors: list[Endpoint], *, allowed: bool) -> None:
        left, deadline = list(doors), time.monotonic() + REVOKED_SECONDS
        while left := [door for door in left if _takes(door) is not allowed]:
            if time.monotonic() > deadline:
                word = "know" if allowed else "refuse"
                raise PenstockError(f"{len(left)} gateways do not {word} the key after {REVOKED_SECONDS:.0f} s.")
            time.sleep(0.05)

    def undo(self, place: Place) -> None:
        if self.identity:
            admin.call(admin_of(place.outputs), "POST", f"keys/{self.identity}/revoke", {})  # safe to repeat


def _takes(door: Endpoint) -> bool:
    try:
        with request(door, "GET", "/v1/models", read_seconds=5) as response:
            response.read()
    except GatewayError as error:
        if "401" in str(error):
            return False
        raise
    return True


@dataclass
class BadRelease(Fault):
    """`penstock release promote`, whose engines begin to fail once they have traffic. The gate takes it back."""

    colour: str = ""
    stack_text: bytes = b""
    process: subprocess.Popen[bytes] | None = None
    broken: bool = False

    def inject(self, place: Place) -> str:
        self.colour = "green" if place.live() == "blue" else "blue"
        self.stack_text = place.access.stack_file.read_bytes()
        folder = place.layout.state / "releases"
        before = set(folder.glob("rollback-*.json"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.ops.cli", "release", "promote", "--colour", self.colour, "--yes", "--json"],
            cwd=place.access.checkout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + RELEASE_SECONDS
        while traffic.live_weights(place.balancer, place.way).of(self.colour) == 0:
            self._check(deadline, "the first step")
            time.sleep(0.2)
        self._environment(place, BAD)
        self.broken = True
        while self.process.poll() is None:
            self._check(deadline, "the end of the release", may_end=True)
            time.sleep(0.2)
        reports = sorted(set(folder.glob("rollback-*.json")) - before)
        if not reports:
            raise PenstockError("The release was not taken back: there is no report.", "See `penstock release status`.")
        content = json.loads(reports[-1].read_text())
        self.figures["weight_back_seconds"] = float(content["weight_back_seconds"])
        self.figures["seen"] = float(content["seen"]["failed"])
        self.over = time.monotonic()
        return f"engines of {self.colour} fail under traffic: {content['reason'][:120]}"

    def _check(self, deadline: float, what: str, *, may_end: bool = False) -> None:
        if self.process is not None and self.process.poll() is not None and not may_end:
            raise PenstockError(f"The release ended before {what}.", "See `penstock release status`.")
        if time.monotonic() > deadline:
            raise PenstockError(f"The release did not come to {what} in {RELEASE_SECONDS:.0f} s.")

    def _environment(self, place: Place, values: Mapping[str, str | None]) -> None:
        """Behind the program's back, as a fault comes."""
        entries = [
            {"name": name, "$patch": "delete"} if value is None else {"name": name, "value": value}
            for name, value in values.items()
        ]
        body: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "engine", "env": entries}]}}}}
        model = place.endpoint.models[0]
        path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments/engine-{model}-{self.colour}"
        place.send("PATCH", path, body, STRATEGIC)

    def undo(self, place: Place) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(UPDATE_SECONDS)
        if self.broken:
            self._environment(place, dict.fromkeys(BAD))
        weights = traffic.live_weights(place.balancer, place.way)
        if self.colour and weights.of(self.colour):
            self._penstock(place, "release", "rollback", "--yes")
        if self.stack_text and place.access.stack_file.read_bytes() != self.stack_text:
            place.access.stack_file.write_bytes(self.stack_text)
            self._penstock(place, "up")

    def _penstock(self, place: Place, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "infra.ops.cli", *arguments],
            cwd=place.access.checkout, capture_output=True, text=True, timeout=UPDATE_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PenstockError(f"`penstock {' '.join(arguments)}` failed: {done.stderr.strip()[-500:]}")


@dataclass
class SupervisorCrash(Fault):
    """The platform's objects are in memory and end with it; what is looked for is what stays behind."""

    checkout: Path | None = None
    killed: bool = False
    _logs: list[str] = field(default_factory=list)

    def inject(self, place: Place) -> str:
        self.checkout = place.access.checkout
        everything = place.all_processes()
        os.kill(place.supervisor(), signal.SIGKILL)
        self.killed = True
        deadline = time.monotonic() + GONE_SECONDS
        while (left := running(everything)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.figures["left_behind"] = len(left)
        self.figures["gone_seconds"] = GONE_SECONDS - max(0.0, deadline - time.monotonic())
        return f"SIGKILL to the supervisor of {len(everything) - 1} processes"

    def undo(self, place: Place) -> None:
        """A new platform, with everything on it."""
        if not self.killed:
            return
        from infra.local import cloud
        from infra.ops import platform
        from infra.ops.progress import Progress
        from infra.ops.stacks import LOCAL, open_stack

        progress = Progress(quiet=True)
        layout = cloud.up(place.access.checkout, progress)
        access = open_stack(place.access.checkout, LOCAL)
        platform.deploy_local(access, layout, progress)


ALL: Mapping[str, Any] = {
    **FAULTS, "key-disabled": KeyDisabled, "bad-release": BadRelease, "supervisor-crash": SupervisorCrash
}  # fmt: skip
"""Each drill's fault."""


def fault_of(name: str) -> Fault:
    if name not in ALL:
        raise RefusedError(f"There is no drill {name!r}.", f"There are {', '.join(ALL)}.")
    return ALL[name]()
