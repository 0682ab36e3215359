"""A release is cut off before and after each of its effects, and goes on in either direction."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infra.ops.errors import PenstockError, RefusedError
from infra.ops.release.journal import Journal, replay
from infra.ops.release.machine import Stand, advice, other, share
from infra.ops.release.runner import Runner, Watched
from infra.ops.weights import Weights

STEPS = (5, 25, 100)


class CrashError(BaseException):
    """kill -9: nothing of the program runs afterwards."""


class FakeWorld:
    """`crash_in` effects from now the process dies, before or after the effect; an update may die half-way."""

    def __init__(self) -> None:
        self.file = self.deployed = self.current = Weights(100, 0)
        self.up = {"blue": True, "green": True}
        self.verdicts: list[str] = []
        self.crash_in: int | None = None
        self.moment = "before"
        self.looks = 0
        self.seen: list[Weights] = [self.current]

    def _effect(self, *changes) -> None:
        dies = self.crash_in == 0
        self.crash_in = None if self.crash_in is None or dies else self.crash_in - 1
        if dies and self.moment == "before":
            raise CrashError
        for number, change in enumerate(changes):
            change()
            if dies and self.moment == "half" and number == 0:
                raise CrashError
        if dies:
            raise CrashError

    def _live(self, weights: Weights) -> None:
        self.current = weights
        self.seen.append(weights)

    def look(self) -> Stand:
        return Stand(self.file, self.deployed, self.current, dict(self.up))

    def ready(self, colour: str) -> bool:
        return self.up[colour]

    def set_live(self, weights: Weights) -> None:
        self._effect(lambda: self._live(weights))

    def write_file(self, weights: Weights) -> None:
        self._effect(lambda: setattr(self, "file", weights))

    def deploy(self, weights: Weights) -> None:
        assert self.file == weights, "an update deploys what the file says"
        self._effect(lambda: self._live(weights), lambda: setattr(self, "deployed", weights))

    def watch(self, release, step) -> Watched:
        assert self.file == self.deployed == self.current == share(release.colour, step)
        self._effect()
        state = self.verdicts.pop(0) if self.verdicts else "good"
        return {"good": Watched("good"), "bad": Watched("bad", "errors"), "short": Watched("short", "no traffic")}[
            state
        ]


class DyingJournal(Journal):
    """Each of its lines is an effect of the world's count, too; one that dies half-way is cut short."""

    def __init__(self, folder: Path, world: FakeWorld) -> None:
        super().__init__(folder)
        self.world = world

    def append(self, event: str, **details) -> None:
        if self.world.crash_in == 0 and self.world.moment == "half":
            super().append(event, **details)
            self.path.write_bytes(self.path.read_bytes()[:-9])
            self.world.crash_in = None
            raise CrashError
        self.world._effect(lambda: super(DyingJournal, self).append(event, **details))


class ReleaseUnderCrashes(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="journal-")
        self.world = FakeWorld()
        self.journal = DyingJournal(Path(self.folder.name), self.world)
        self.number = 0
        self.reports = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def runner(self) -> Runner:
        def report(release, watched) -> None:
            self.reports += 1
            assert self.world.current == share(other(release.colour), 100), "the report comes after the traffic"

        return Runner(self.world, self.journal, report)

    def attempt(self, work) -> bool:
        """True when it was not cut off."""
        self.number += 1
        try:
            with self.journal.locked():
                work(self.runner(), f"r{self.number}")
        except CrashError:
            return False
        except RefusedError:
            return True
        return True

    @rule(colour=st.sampled_from(["blue", "green"]), verdicts=st.lists(st.sampled_from(["good", "bad", "short"])))
    def promote(self, colour: str, verdicts: list[str]) -> None:
        self.world.verdicts = verdicts
        if self.attempt(lambda runner, name: runner.promote(colour, STEPS, name)):
            release = self.journal.release()
            if release is not None and release.colour == colour and all(self.world.up.values()):
                self.settled()

    @rule()
    def roll_back(self) -> None:
        before = self.journal.release()
        if not self.attempt(lambda runner, name: runner.rollback("by hand")):
            return
        release = self.journal.release()
        if before is not None and release is not None and self.world.up[other(release.colour)]:
            self.settled()
            assert release.ended == "rolled back"
            if before.ended != "rolled back":
                assert self.world.current == share(other(release.colour), 100)

    @rule(after=st.integers(0, 12), moment=st.sampled_from(["before", "half", "after"]))
    def arm_a_crash(self, after: int, moment: str) -> None:
        self.world.crash_in, self.world.moment = after, moment

    @rule(after=st.integers(0, 3), keep=st.integers(0, 30))
    def cut_the_journals_last_line_short(self, after: int, keep: int) -> None:
        if self.journal.path.exists() and not self.journal.path.read_bytes().endswith(b'"torn'):
            with self.journal.path.open("ab") as file:
                file.write(b'{"event": "ended", "outcome": "torn'[:keep] if keep else b"")

    @precondition(lambda self: self.world.current.blue == 100)
    @rule(colour=st.just("green"), up=st.booleans())
    def an_idle_colour_comes_and_goes(self, colour: str, up: bool) -> None:
        self.world.up[colour] = up

    def settled(self) -> None:
        stand = self.world.look()
        assert stand.file == stand.deployed == stand.live, "stack file, state and load balancer agree afterwards"

    @invariant()
    def a_colour_with_traffic_has_ready_engines(self) -> None:
        if hasattr(self, "world"):
            for colour, up in self.world.up.items():
                assert up or self.world.current.of(colour) == 0

    @invariant()
    def a_rollback_gets_through_from_here(self) -> None:
        """Played on a copy: whatever happened, the way back is open and ends settled."""
        if not hasattr(self, "world"):
            return
        copy = FakeWorld()
        copy.file, copy.deployed, copy.current = self.world.file, self.world.deployed, self.world.current
        with tempfile.TemporaryDirectory(prefix="copy-") as folder:
            journal = Journal(Path(folder))
            if self.journal.path.exists():
                journal.path.write_bytes(self.journal.path.read_bytes())
            before = journal.release()
            if before is None or before.ended == "rolled back":
                return
            done = Runner(copy, journal).rollback("test")
        assert done.ended == "rolled back"
        assert copy.file == copy.deployed == copy.current == share(other(done.colour), 100)
        assert advice(self.journal.release(), self.world.look())


TestReleaseUnderCrashes = ReleaseUnderCrashes.TestCase
TestReleaseUnderCrashes.settings = settings(max_examples=40, stateful_step_count=15)


def world_and_runner(tmp_path: Path, *verdicts: str) -> tuple[FakeWorld, Runner]:
    world = FakeWorld()
    world.verdicts = list(verdicts)
    return world, Runner(world, DyingJournal(tmp_path, world))


def test_a_good_release_takes_every_step_and_ends(tmp_path: Path):
    world, runner = world_and_runner(tmp_path)
    assert runner.promote("green", STEPS, "one").ended == "promoted"
    assert world.seen == [Weights(100, 0), Weights(95, 5), Weights(75, 25), Weights(0, 100)]
    with pytest.raises(RefusedError, match="has all the traffic already"):
        runner.promote("green", STEPS, "two")


def test_a_breach_puts_the_traffic_back_before_file_and_state(tmp_path: Path):
    world, runner = world_and_runner(tmp_path, "good", "bad")
    seen: list[tuple[Weights, Weights]] = []
    runner = Runner(world, runner.journal, lambda release, watched: seen.append((world.current, world.file)))
    done = runner.promote("green", STEPS, "one")
    assert (done.ended, done.reason) == ("rolled back", "errors")
    assert seen == [(Weights(100, 0), Weights(75, 25))]
    assert world.file == world.deployed == world.current == Weights(100, 0)


def test_a_breach_with_nowhere_to_go_back_to_is_held(tmp_path: Path):
    world, runner = world_and_runner(tmp_path, "good", "bad")
    world.ready = lambda colour: False
    done = runner.promote("green", STEPS, "one")
    assert done.ended == ""
    assert "no healthy target to go back to" in done.reason
    assert world.current == Weights(75, 25)


def test_too_few_samples_hold_the_release_and_it_goes_on_from_there(tmp_path: Path):
    world, runner = world_and_runner(tmp_path, "good", "short")
    held = runner.promote("green", STEPS, "one")
    assert (held.passed, held.reason, held.ended) == (1, "no traffic", "")
    assert world.current == Weights(75, 25)
    assert "held: no traffic" in advice(held, world.look())
    assert runner.promote("green", STEPS, "two").ended == "promoted"
    assert replay(runner.journal.entries()) is not None


def test_a_share_that_was_given_by_hand_is_watched_and_never_taken_away(tmp_path: Path):
    world, runner = world_and_runner(tmp_path)
    world.file = world.deployed = world.current = Weights(75, 25)
    runner.promote("green", STEPS, "one")
    assert world.seen[1:] == [Weights(0, 100)]


def test_another_colours_open_release_is_not_overtaken(tmp_path: Path):
    _, runner = world_and_runner(tmp_path, "short")
    runner.promote("green", STEPS, "one")
    with pytest.raises(RefusedError, match="release of green is not ended"):
        runner.promote("blue", STEPS, "two")


def test_a_colour_that_is_not_ready_gets_nothing(tmp_path: Path):
    world, runner = world_and_runner(tmp_path)
    world.up["green"] = False
    with pytest.raises(RefusedError, match="green has no healthy target"):
        runner.promote("green", STEPS, "one")
    assert world.seen == [Weights(100, 0)]


def test_one_release_works_at_a_time(tmp_path: Path):
    first, second = Journal(tmp_path), Journal(tmp_path)
    with first.locked(), pytest.raises(RefusedError, match="Another"), second.locked():
        pytest.fail("two at once")
    with second.locked():
        second.append("begin", id="a", colour="green", steps=[100])
    assert first.release() is not None


def test_a_journal_that_cannot_be_written_stops_the_release(tmp_path: Path):
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(PenstockError, match=r"journal\.jsonl cannot be (written|read)"):
        Journal(tmp_path).append("begin")


@pytest.mark.parametrize("moment", ["before", "half", "after"])
@pytest.mark.parametrize("way_on", ["promote", "rollback"])
@pytest.mark.parametrize("last", ["good", "bad"])
def test_a_crash_at_each_effect_in_turn_is_gone_on_from_in_either_direction(
    tmp_path: Path, moment: str, way_on: str, last: str
):
    crashed = 0
    for at in range(20):
        world, runner = world_and_runner(tmp_path / str(at), last, "good", "good")
        world.crash_in, world.moment = at, moment
        try:
            runner.promote("green", STEPS, "one")
        except CrashError:
            crashed += 1
        else:
            continue  # a release has no more effects than that
        world.verdicts = []
        release = runner.journal.release()
        if release is not None and release.ended == "promoted" and way_on == "promote":
            assert world.current == Weights(0, 100), "the last line was written"
        elif way_on == "promote":
            done = runner.promote("green", STEPS, "two")
            assert (done.ended, world.current) == ("promoted", Weights(0, 100)), at
        elif release is not None and release.ended != "rolled back":
            assert runner.rollback("by hand").ended == "rolled back"
            assert world.current == Weights(100, 0)
        assert world.file == world.deployed == world.current
    assert crashed == (14 if last == "good" else 9), "each line of the journal and each change of the world"
