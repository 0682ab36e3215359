"""The whole life of a stack on a throw-away local platform: deploy, look again, change, destroy, look for leftovers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.ops import deploy, kube, leftovers, rehearsal_edit, rehearsal_plan, rehearsal_trouble
from infra.ops.changes import Change, summary
from infra.ops.context import stack_file_of
from infra.ops.cost import prices
from infra.ops.destroy.run import Destroy
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.interrupts import to_its_end
from infra.ops.progress import Progress
from infra.ops.rehearsal_edit import Config, Edit, breaches
from infra.ops.stacks import StackAccess, access_on
from infra.policy import held

if TYPE_CHECKING:
    from infra.local.layout import Layout

CLEARED_SECONDS = 30.0
"""How long nodes and namespaces may take to go after a destroy."""
STUCK_SECONDS = 3.0
"""How long a controller has for its finalizers: here there is none."""
DEFAULT_HOSTNAME = "rehearsal.example.com"
TRUST = (
    '{"Version": "2012-10-17", "Statement": '
    '[{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}'
)


@dataclass(frozen=True)
class Step:
    """One row of the report. `resources`: how many it changed or would change; for `up`, all that it made."""

    name: str
    seconds: float
    resources: int | None = None


@dataclass
class Report:
    stack: str
    steps: list[Step] = field(default_factory=list)
    resources: int = 0
    """In the stack after the first update, components and providers included."""

    def seconds(self, name: str) -> float:
        """Of the step of that name. Raises StopIteration where it was not reached."""
        return next(step.seconds for step in self.steps if step.name == name)

    def as_dict(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "resources": self.resources,
            "seconds": round(sum(step.seconds for step in self.steps), 1),
            "steps": [{**asdict(step), "seconds": round(step.seconds, 1)} for step in self.steps],
        }


@dataclass
class Rehearsal:
    """`run` goes through everything; what it has done so far is in `report`, whatever happens."""

    checkout: Path
    stack: str
    progress: Progress
    upgrade_from: str | None = None
    """The Kubernetes version to begin with, so that the stack file's own is an upgrade."""
    keep: bool = False
    """Leave the deployed stack and its platform running."""
    report: Report = field(init=False)
    _stack: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.report = Report(self.stack)

    @property
    def state(self) -> Path:
        """The rehearsal's own state folder: it never meets the platform of `penstock up`."""
        return self.checkout / ".penstock" / f"rehearsal-{self.stack}"

    def end(self) -> None:
        """Stops the platform of a rehearsal and removes its folder. Does nothing where there is none."""
        from infra.local import cloud

        to_its_end(lambda: cloud.down(self.checkout, self.progress, self.state), self.progress)

    def run(self) -> Report:
        """Raises PenstockError where a step fails or changes what it should not. The platform is gone afterwards."""
        from infra.local import cloud

        text = stack_file_of(self.checkout, self.stack).read_text(encoding="utf-8")
        config = rehearsal_plan.rehearsed(text, version=self.upgrade_from)
        rehearsal_plan.settings_of(config)
        if cloud.supervised(self.state):
            raise RefusedError(
                f"A rehearsal of {self.stack} is running, or was kept.",
                f"End it with `penstock rehearse {self.stack} --end`.",
            )
        target = rehearsal_plan.rehearsed(text)
        try:
            self._run(config, target)
        finally:
            if not self.keep:
                with self._step("stop the platform"):
                    self.end()
        return self.report

    def _run(self, config: Config, target: Config) -> None:
        from infra.local import cloud

        purpose = cloud.Purpose(self.state, self.stack, rehearsal_plan.stack_file(config), objects_only=True)
        with self._step("start a platform"):
            layout = cloud.up(self.checkout, self.progress, purpose)
        access = access_on(layout)
        self._presume(access, config)
        before = self._live(access, layout)
        self._write(access, layout, config)

        self._preview(access, "preview")
        self._up(access, "up")
        self.report.resources = len(access.state().resources)
        self._nothing(self._preview(access, "preview again"), "The preview after the update")
        self._nothing(self._changes("refresh", deploy.refresh, access), "The refresh")
        for edit in rehearsal_plan.edits(config, target):
            self._change(access, layout, edit)  # its preview would show what the edit before has left undone
            config = edit.config
        self._nothing(self._preview(access, "preview after the changes"), "The preview after the changes")
        if self.keep:
            return
        self._destroy(access, layout, config)
        with self._step("look for leftovers"):
            self._cleared(access, layout, before)

    def _presume(self, access: StackAccess, config: Config) -> None:
        """Makes what a stack file names and does not make itself: the administrators' roles and the certificate."""
        settings = rehearsal_plan.settings_of(config)
        iam = access.aws("iam")
        for principal in settings.cluster.administrators:
            kind, _, name = principal.partition(":iam::")[2].partition(":")[2].partition("/")
            folder, _, last = name.rpartition("/")
            where = {"Path": f"/{folder}/"} if folder else {}
            if kind == "role":
                iam.create_role(RoleName=last, AssumeRolePolicyDocument=TRUST, **where)
            else:
                iam.create_user(UserName=last, **where)
        if settings.edge.certificate_arn:
            made = access.aws("acm").request_certificate(DomainName=settings.edge.hostname or DEFAULT_HOSTNAME)
            config["penstock:edge"]["certificateArn"] = made["CertificateArn"]

    def _change(self, access: StackAccess, layout: Layout, edit: Edit) -> None:
        self._write(access, layout, edit.config)
        if edit.previewed:
            self._only(edit, self._preview(access, f"{edit.title}: preview"), "The preview")
        self._only(edit, self._up(access, f"{edit.title}: up"), "The update")

    def _destroy(self, access: StackAccess, layout: Layout, config: Config) -> None:
        unprotected = rehearsal_plan.release_protection(config)
        if unprotected:
            self._refused(access, layout)
            self._without_policies(access)
            self._change(access, layout, unprotected)
        trouble = self._trouble(access)
        with self._step("destroy") as counted:
            work = Destroy(access, self.progress, patience_seconds=STUCK_SECONDS)
            table, _ = prices.load(work.region, prices.cache_file(work.region))
            report = work.run(table)
            counted.append(sum(each.resources for each in report.done))
        if missed := trouble.missed(report, table):
            raise PenstockError(f"The destroy did not do all: {'; '.join(missed)}.")
        rehearsal_trouble.clear(access.aws, trouble)

    def _without_policies(self, access: StackAccess) -> None:
        """The rules of production refuse a stack without protection, as they should until it goes."""
        os.environ.pop(held.VARIABLE, None)
        workspace = self._automation(access).workspace
        kept = {name: value for name, value in workspace.env_vars.items() if name != held.VARIABLE}
        workspace.env_vars = {**kept, held.WITHOUT: "the rehearsed stack goes"}

    def _trouble(self, access: StackAccess) -> rehearsal_trouble.Trouble:
        with self._step("plant stuck finalizers and leftovers"):
            state = access.state()
            (found,) = [each for each in state.resources if each.type == rehearsal_edit.CLUSTER]
            cluster = kube.connect(access, *kube.name_and_region(found))
            return rehearsal_trouble.plant(cluster, access.aws, state, self.stack)

    def _refused(self, access: StackAccess, layout: Layout) -> None:
        """A destroy whose preview was skipped leaves what a protected stack needs to answer, and its data."""
        there, live = access.state().resources, self._live(access, layout)
        with self._step("protected: destroy is refused"):
            refusal = self._refusal(access)
        if "protected" not in refusal:
            raise PenstockError(f"A destroy of the protected stack {self.stack} was not refused: {refusal}.")
        gone = {each.urn for each in there} - {each.urn for each in access.state().resources}
        lost = [*rehearsal_plan.wrongly_gone(gone), *sorted(self._missing(live - self._live(access, layout)))]
        if lost:
            raise PenstockError(f"The refused destroy of {self.stack} deleted {', '.join(lost)}.")
        if gone:
            self._up(access, "protected: what went comes back")

    def _refusal(self, access: StackAccess) -> str:
        try:
            deploy.destroy(self._automation(access), self.progress)
        except PenstockError as error:
            return str(error)
        return "it came to its end"

    def _missing(self, things: set[str]) -> set[str]:
        """Roles of what may go, go with it."""
        return {each for each in things if not each.startswith(("role collector", "role telemetry"))}

    def _live(self, access: StackAccess, layout: Layout) -> set[str]:
        return leftovers.in_aws(access.aws) | leftovers.in_cluster(layout)

    def _cleared(self, access: StackAccess, layout: Layout, before: set[str]) -> None:
        deadline = time.monotonic() + CLEARED_SECONDS
        while left := self._live(access, layout) - before:
            if time.monotonic() > deadline:
                raise PenstockError(f"The destroy left something behind: {', '.join(sorted(left))}.")
            time.sleep(0.5)

    def _write(self, access: StackAccess, layout: Layout, config: Config) -> None:
        layout.stack_file.write_text(rehearsal_plan.stack_file(config), encoding="utf-8")
        if self._stack:
            access.workspace().copy_in()

    def _automation(self, access: StackAccess) -> Any:
        """Selected once: each time takes a second."""
        self._stack = self._stack or access.automation()
        return self._stack

    def _preview(self, access: StackAccess, name: str) -> list[Change]:
        return self._changes(name, deploy.preview, access)

    def _up(self, access: StackAccess, name: str) -> list[Change]:
        return self._changes(name, deploy.up, access)

    def _changes(self, name: str, operation: Callable[..., list[Change]], access: StackAccess) -> list[Change]:
        with self._step(name) as counted:
            changes = operation(self._automation(access), self.progress)
            counted.append(len(changes))
        return changes

    @contextmanager
    def _step(self, name: str) -> Generator[list[int]]:
        """Times a step and reports it, also where it fails. What is put in the list is the number of resources."""
        began, counted = time.monotonic(), list[int]()
        try:
            with self.progress.step(f"{self.stack}: {name}"):
                yield counted
        finally:
            self.report.steps.append(Step(name, time.monotonic() - began, counted[0] if counted else None))

    def _only(self, edit: Edit, changes: Sequence[Change], what: str) -> None:
        if wrong := breaches(edit.expected, changes):
            raise PenstockError(f"{what} of `{edit.title}` is not what that edit may bring: {'; '.join(wrong)}.")

    def _nothing(self, changes: Sequence[Change], what: str) -> None:
        if changes:
            raise PenstockError(
                f"{what} is not empty: {'; '.join(' '.join(line.split()) for line in summary(changes))}."
            )
