"""The commands' work: stage, promote, roll back, and tell where a release stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from components.shares import COLOURS
from infra.ops import deploy, traffic
from infra.ops.changes import Change, summary
from infra.ops.endpoint import Endpoint, from_outputs
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.ops.release import report as reports
from infra.ops.release import staging, waking
from infra.ops.release.attend import Attendant, Wish
from infra.ops.release.gate import limits_of
from infra.ops.release.journal import Journal
from infra.ops.release.machine import Release, other
from infra.ops.release.needs import Needs, needs
from infra.ops.release.probe import Validation, token, validate
from infra.ops.release.runner import Runner, Watched
from infra.ops.release.shadow import CopyLimits, CopyWatch
from infra.ops.release.shift import PREVIEW_SECONDS, validate_stack_file
from infra.ops.release.staging import Staging, beyond_colour, staged
from infra.ops.release.versions import check_present, check_validated, in_production
from infra.ops.release.watching import Watcher, unpacked
from infra.ops.release.world import StackWorld, journal_folder, settings_of
from infra.ops.stacks import StackAccess
from infra.ops.usage import admin_of
from infra.ops.weights import Weights, read_text, replace_file
from infra.settings import Settings
from infra.settings.model import Release as ReleaseSettings

STAGE_SECONDS = 30.0


@dataclass(frozen=True)
class Operator:
    """`confirm` gets lines to show and says whether to go on. `validations`: requests to each model before traffic."""

    access: StackAccess
    progress: Progress
    confirm: Callable[[Sequence[str]], bool]
    validations: int = 20
    unvalidated: str = ""
    """Why a version without a good evaluation record may have traffic; empty: it may not."""
    allow_other_changes: bool = False
    attendant: Attendant | None = None
    """Who tells the console of a promotion or a rollback, and hears its wishes."""

    @property
    def journal(self) -> Journal:
        return Journal(journal_folder(self.access))

    def world(self, settings: Settings) -> StackWorld:
        def watcher(world: StackWorld) -> Watcher:
            release = settings.release
            done = [entry.get("reference") for entry in self.journal.entries() if entry["event"] in ("passed", "begin")]
            return Watcher(
                world.source(),
                limits_of(release.gate, looks(release)),
                settings.model_names,
                release.soak_seconds,
                release.gate.wait_seconds,
                self.progress,
                reference=unpacked(done[-1]) if done else None,
                attendant=self.attendant,
            )

        return StackWorld(self.access, self.progress, self.confirm, watcher, self.allow_other_changes)

    def stage(self, gateway_image: str | None, engine_image: str | None) -> dict[str, Any]:
        """Brings the idle colour up at weight 0. Raises RefusedError where nothing was changed, PenstockError."""
        journal = self.journal
        with journal.locked():
            before = settings_of(self.access)
            world = self.world(before)
            release = journal.release()
            if release is not None and not release.ended:
                raise RefusedError(
                    f"The release of {release.colour} is not ended.", "`penstock release status` says how to end it."
                )
            colour = idle(world)
            file = self.access.stack_file
            old_text = read_text(file)
            new_text = staged(old_text, before, colour, gateway_image, engine_image, file.name)
            cut_off = staging.under_way(journal.entries())
            if cut_off is not None and cut_off.colour != colour:
                cut_off = None
            way_back = staging.given(before, colour) if cut_off is None else cut_off.before
            journal.append(staging.STAGING, colour=colour, before=way_back)
            if new_text != old_text:
                replace_file(file, new_text)
            try:
                validate_stack_file(file)
                after = Settings.from_stack_file(file)
                check_present(self.access, after, colour)
                wanted = self._needs(before, after, colour)
                self.progress.say(wanted.text(colour))
                changes = self._bring_up(world, colour)
            except RefusedError:
                replace_file(file, old_text)
                self.progress.say(f"{file.name} is as it was.")
                if cut_off is None:
                    journal.append(staging.UNSTAGED, colour=colour)
                raise
            with self.progress.step(f"Waiting for {colour}"):
                replicas = (after.release.blue if colour == "blue" else after.release.green).gateway_replicas
                seconds = world.wait_until_ready(colour, replicas, waking.ready_seconds(after, colour))
            woken = self._wake(world, after, colour)
            checked = self._validate(world, colour)
            journal.append(staging.STAGED, colour=colour, validation=checked.as_dict())
        return {
            "colour": colour,
            "needs": wanted.as_dict(),
            "changes": [change.as_dict() for change in changes],
            "ready_seconds": round(seconds, 3),
            "woken_seconds": woken,
            "validation": checked.as_dict(),
        }

    def unstage(self, found: Staging, reason: str) -> dict[str, Any]:
        """Brings file and cluster back to what they were before a stage that did not end. Raises as `stage` does."""
        began, colour, file = time.monotonic(), found.colour, self.access.stack_file
        world = self.world(settings_of(self.access))
        stand = world.look()
        if any(weights.of(colour) for weights in (stand.file, stand.live, stand.deployed or stand.live)):
            raise RefusedError(f"{colour} has traffic.", "`penstock release shift` takes it away by hand.")
        text = read_text(file)
        replace_file(file, found.taken_back(text, file.name))
        try:
            validate_stack_file(file)
            self._bring_up(world, colour)
        except RefusedError:
            replace_file(file, text)
            raise
        self.journal.append(staging.UNSTAGED, colour=colour, reason=reason)
        release = Release("", colour, (), direction="back", ended="unstaged", reason=reason)
        return self._told(release, time.monotonic() - began)

    def _needs(self, before: Settings, after: Settings, colour: str) -> Needs:
        from infra.ops.cost.prices import cache_file, load

        table, _ = load(after.aws.region, cache_file(after.aws.region))
        return needs(before, after, colour, table)

    def _bring_up(self, world: StackWorld, colour: str) -> list[Change]:
        with self.progress.step("Preview", PREVIEW_SECONDS):
            stack = self.access.automation()
            changes = deploy.preview(stack, self.progress)
        others = beyond_colour(changes, colour)
        if others and not self.allow_other_changes:
            found = "\n".join(summary(others))
            raise RefusedError(
                f"The preview would change more than {colour}:\n{found}\n",
                "Deploy that first with `penstock up`, or pass --allow-other-changes.",
            )
        if changes:
            if not self.confirm(summary(changes)):
                raise RefusedError("The stage was not confirmed.")
            with self.progress.step("Update", STAGE_SECONDS):
                deploy.up(stack, self.progress)
        return changes

    def _wake(self, world: StackWorld, settings: Settings, colour: str) -> dict[str, float]:
        """Brings engines of the models that have none without requests. By model, in seconds."""
        models = waking.sleepers(settings, colour)
        if not models:
            return {}
        with self.progress.step(f"Waking {', '.join(models)} of {colour}"):
            secret, held = token(self.access, world.first_state), waking.held_seconds(settings)
            woken = waking.wake(self.endpoint(), secret, colour, models, world.embedders, held=held)
        return {model: round(seconds, 3) for model, seconds in woken.items()}

    def _validate(self, world: StackWorld, colour: str) -> Validation:
        endpoint = self.endpoint()
        with self.progress.step(f"Validating {colour}"):
            secret = token(self.access, world.first_state)
            return validate(endpoint, secret, colour, endpoint.models, self.validations, world.embedders)

    def endpoint(self) -> Endpoint:
        return from_outputs(self.access.outputs())

    def promote(self, colour: str | None) -> dict[str, Any]:
        """Raises the colour's share step by step; goes on with an open release. Raises RefusedError, PenstockError."""
        journal = self.journal
        with journal.locked():
            settings = settings_of(self.access)
            world = self.world(settings)
            release = journal.release()
            going_on = release is not None and not release.ended
            chosen = colour or (release.colour if release and going_on else rising(world))
            check_validated(self.access, settings, [chosen], journal, self.unvalidated)
            if not going_on:
                self._wake(world, settings, chosen)
                self._validate(world, chosen)
                self._copies_are_good(world, settings, chosen)
            runner = Runner(world, journal, self._reporter(world), self._say)
            began = time.monotonic()
            done = runner.promote(chosen, settings.release.steps, identifier())
            if done.ended:
                ahead = done.colour if done.ended == "promoted" else other(done.colour)
                in_production(self.access, settings, ahead, f"release {done.identifier}", self.progress)
            return self._told(done, time.monotonic() - began)

    def _copies_are_good(self, world: StackWorld, settings: Settings, colour: str) -> None:
        """Before the first traffic: what copies of the live colour's requests showed. Raises PenstockError."""
        shadow, release = settings.release.shadow, settings.release
        if not shadow.min_copies or world.live().of(colour):
            return
        given = CopyLimits(
            limits_of(release.gate, looks(release)), shadow.text_points / 100, shadow.min_copies, shadow.min_texts
        )
        watch = CopyWatch(world.source(), given, settings.model_names, release.gate.wait_seconds, self.progress)
        with self.progress.step(f"Comparing {shadow.min_copies} copies of requests"):
            watched = watch.watch(colour)
        self.journal.append("copies", colour=colour, state=watched.state, reason=watched.reason, **watched.details)
        if watched.state == "bad":
            raise PenstockError(
                f"{colour} is worse, as copies of requests show: {watched.reason}.",
                "It has no traffic, and gets none. `penstock release stage` brings up another version.",
            )
        if watched.state == "short":
            raise PenstockError(
                f"Copies of requests did not show enough of {colour} in time: {watched.reason}.",
                "It has no traffic. Try again, or set penstock:release.shadow.minCopies or minTexts lower.",
            )

    def rollback(self, reason: str) -> dict[str, Any]:
        """Everything to the other colour at once, or a stage that did not end taken back.

        Raises RefusedError, PenstockError.
        """
        journal = self.journal
        with journal.locked():
            cut_off = staging.under_way(journal.entries())
            if cut_off is not None:
                return self.unstage(cut_off, reason)
            settings = settings_of(self.access)
            world = self.world(settings)
            runner = Runner(world, journal, self._reporter(world), self._say)
            began = time.monotonic()
            done = runner.rollback(reason)
            told = self._told(done, time.monotonic() - began)
            in_production(self.access, settings, other(done.colour), f"rollback of {done.identifier}", self.progress)
            return told

    def attend(self, tell: Callable[[dict[str, Any]], None], ended: Callable[[], bool] = lambda: False) -> None:
        """Carries out what is wished at the console, until `ended`; `tell` gets each. What fails is told there."""
        attendant = self.attendant
        assert attendant is not None  # noqa: S101 - the command gives one
        while not ended():
            attendant.doing("Waiting for wishes", working=False)
            attendant.pause(1.0)
            wish = attendant.take()
            if wish is None:
                continue
            attendant.doing(f"{wish.kind} {wish.reason}")
            try:
                done = self.carry_out(wish)
            except PenstockError as error:
                attendant.done(wish, error.cause)
                tell({"wish": wish.kind, "actor": wish.actor, "outcome": "failed", "reason": str(error)})
            else:
                attendant.done(wish, f"the release of {done['colour']} is {done['outcome']}")
                tell({"wish": wish.kind, "actor": wish.actor, **done})

    def carry_out(self, wish: Wish) -> dict[str, Any]:
        """What was wished while no release command ran. Raises RefusedError, PenstockError."""
        return self.rollback(wish.reason) if wish.kind == "rollback" else self.promote(None)

    def _say(self, text: str) -> None:
        self.progress.say(text)
        if self.attendant is not None:
            self.attendant.doing(text)

    def _told(self, release: Release, seconds: float) -> dict[str, Any]:
        return {**told(release), "seconds": round(seconds, 1), "reports": report_names(self.journal)}

    def _reporter(self, world: StackWorld) -> Callable[[Release, Watched], None]:
        def report(release: Release, watched: Watched) -> None:
            seconds = world.watcher.clock() - watched.details["seen_at"]
            counts = watched.details["counts"]
            try:
                world.watcher.take()
                counts = world.watcher.counts(release.colour)
            except PenstockError as error:
                self.progress.say(f"The last figures are missing from the report: {error}")
            content = reports.breach(release, watched.reason, watched.details, counts, seconds)
            path = reports.write(self.journal.folder, content)
            self.progress.say(f"The weight was back after {seconds:.2f} s. Report: {path}")
            if self.attendant is not None and watched.wish is not None:
                self.attendant.done(watched.wish, f"the weight was back {seconds:.2f} s after it was heard")

        return report


def looks(release: ReleaseSettings) -> int:
    """Among so many gates the probability of a false alarm is divided: the steps, and the one before them."""
    return len(release.steps) + bool(release.shadow.min_copies)


def attendant_of(access: StackAccess, journal: Journal, progress: Progress) -> Attendant | None:
    """None where the stack has no admin's key, so that nobody can be told."""
    try:
        endpoint = admin_of(access.outputs())
    except PenstockError:
        return None

    def weights() -> Weights:
        return traffic.live_weights(access.aws("elbv2"), traffic.route(access.state()))

    return Attendant(endpoint, journal, progress.say, weights)


def told(release: Release) -> dict[str, Any]:
    """A release as JSON: public."""
    return {
        "id": release.identifier,
        "colour": release.colour,
        "steps": list(release.steps),
        "passed": release.passed,
        "direction": release.direction,
        "outcome": release.ended or ("held" if release.reason and release.direction == "forward" else "open"),
        "reason": release.reason,
    }


def report_names(journal: Journal) -> list[str]:
    return sorted(path.name for path in journal.folder.glob("rollback-*.md"))


def identifier() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def idle(world: StackWorld) -> str:
    """The colour without traffic in file, last update and load balancer. Raises RefusedError."""
    stand = world.look()
    for colour in reversed(COLOURS):
        if all(weights.of(colour) == 0 for weights in (stand.file, stand.live, stand.deployed or stand.live)):
            return colour
    raise RefusedError(
        f"No colour is idle: the stack file says {stand.file}, the load balancer {stand.live}.",
        "`penstock release status` says what to do.",
    )


def rising(world: StackWorld) -> str:
    """The colour with the smaller share."""
    live = traffic.live_weights(world.balancer, world.way)
    return min(reversed(COLOURS), key=live.of)
