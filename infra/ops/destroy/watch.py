"""Looks after finalizers while Pulumi deletes: in a thread of its own, since Pulumi waits for the objects to go."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.ops.destroy.finalizers import WATCHED, Freed, Held, Kind, World, settle

if TYPE_CHECKING:
    from infra.ops.kube import Cluster

LOOK_SECONDS = 1.0


@dataclass
class Watch:
    """`freed` is what was taken off so far, `trouble` the last sentence about what could not be done."""

    cluster: Cluster
    world: World
    patience_seconds: float
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    freed: list[Freed] = field(default_factory=list)
    trouble: str = ""

    def held(self, kinds: Sequence[Kind] = WATCHED) -> list[Held]:
        """Objects that are to go and are held. Raises PenstockError."""
        found = (Held.parse(kind, item) for kind in kinds for item in self.cluster.items(f"{kind.path}/{kind.plural}"))
        return [each for each in found if each]

    def look(self) -> None:
        """One round over everything that is held. Raises PenstockError and botocore's errors."""
        for held in self.held():
            off, freed = settle(held, self.clock(), self.patience_seconds, self.world)
            if off:
                kept = [each for each in held.finalizers if each not in off]
                self.cluster.send("PATCH", held.path, {"metadata": {"finalizers": kept or None}})
                self.freed += freed

    @contextmanager
    def beside(self) -> Generator[None]:
        """Looks again and again while the block runs. Trouble does not stop it: the next round tries again."""
        ended = threading.Event()

        def loop() -> None:
            while not ended.wait(LOOK_SECONDS):
                try:
                    self.look()
                    self.trouble = ""
                except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; told where the phase fails
                    self.trouble = str(error)

        thread = threading.Thread(target=loop, name="finalizers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
