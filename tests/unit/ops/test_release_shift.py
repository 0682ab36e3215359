"""A shift against a stack that is played: the file is real, Pulumi and the load balancer are not."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace as Box

import pytest

from infra.ops import deploy, traffic
from infra.ops.changes import Change, PropertyChange, beyond_weights, differences, from_events, summary
from infra.ops.errors import NotRunningError, PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.ops.release.shift import Position, Shifter, deployed_weights
from infra.ops.stacks import Resource, State
from infra.ops.weights import Weights, read

STACK_FILE = """\
config:
  penstock:release:
    blue: {weight: 100}   # live
    green: {weight: 0}
"""
RULE = "aws:lb/listenerRule:ListenerRule"


def weight_change(old: int, new: int, index: int = 0) -> PropertyChange:
    return PropertyChange(f"actions[0].forward.targetGroups[{index}].weight", old, new)


SHIFT = Change("update", RULE, "traffic", (weight_change(100, 50), weight_change(0, 50, 1)))


class Balancer:
    def __init__(self) -> None:
        self.weights = {"blue": 100, "green": 0}
        self.healthy = {"blue": 3, "green": 3}

    def describe_rules(self, **_: object) -> dict:
        groups = [{"TargetGroupArn": f"arn:{colour}", "Weight": weight} for colour, weight in self.weights.items()]
        return {"Rules": [{"Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]}]}

    def describe_target_health(self, TargetGroupArn: str) -> dict:  # noqa: N803 - boto3's name
        colour = TargetGroupArn.removeprefix("arn:")
        states = ["healthy"] * self.healthy[colour] + ["draining"]
        return {"TargetHealthDescriptions": [{"TargetHealth": {"State": state}} for state in states]}


def stack_state() -> State:
    def resource(kind: str, name: str) -> Resource:
        return Resource(f"urn:pulumi:local::penstock::{kind}::{name}", kind, f"arn:{name}", {})

    groups = [resource("aws:lb/targetGroup:TargetGroup", colour) for colour in ("blue", "green")]
    return State({"gatewayUrl": "x"}, (*groups, resource(RULE, "traffic")))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`changes` is what the preview finds; `apply` what the update does."""
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(STACK_FILE)
    balancer = Balancer()
    access = Box(
        name="local",
        stack_file=file,
        state=stack_state,
        aws=lambda service: {"elbv2": balancer}[service],
        automation=lambda: "stack",
    )
    seen = Box(file=file, balancer=balancer, changes=[SHIFT], asked=[], answer=True, applied=0)

    def apply() -> None:
        balancer.weights = read(file.read_text()).as_dict()

    seen.apply = apply

    def up(stack: object, progress: object) -> list[Change]:
        seen.applied += 1
        seen.apply()
        return seen.changes

    def confirm(lines: Sequence[str]) -> bool:
        seen.asked.append(lines)
        return seen.answer

    monkeypatch.setattr(deploy, "preview", lambda stack, progress: seen.changes)
    monkeypatch.setattr(deploy, "up", up)
    seen.validate = lambda path: None
    seen.shifter = lambda **options: Shifter(
        access=access,  # ty: ignore[invalid-argument-type]
        progress=Progress(quiet=True),
        confirm=confirm,
        validate=seen.validate,
        **options,
    )
    return seen


HALF = Weights(50, 50)


def test_a_shift_edits_the_file_asks_applies_and_confirms(world):
    done = world.shifter().shift(HALF)
    assert (done.before, done.after) == (Weights(100, 0), HALF)
    assert world.file.read_text() == STACK_FILE.replace("100", "50").replace("weight: 0", "weight: 50")
    assert world.asked == [summary([SHIFT])]
    assert "100 -> 50" in world.asked[0][1]


def test_an_answer_of_no_puts_the_file_back_and_applies_nothing(world):
    world.answer = False
    with pytest.raises(RefusedError, match="not confirmed"):
        world.shifter().shift(HALF)
    assert world.file.read_text() == STACK_FILE
    assert world.applied == 0


@pytest.mark.parametrize(
    "other",
    [
        Change("update", RULE, "traffic", (PropertyChange("priority", 1, 2),)),
        Change("replace", RULE, "traffic", (weight_change(100, 50),)),
        Change("update", RULE, "traffic", ()),
        Change("create", "aws:s3/bucket:Bucket", "weights"),
    ],
)
def test_a_preview_with_more_than_the_weights_is_refused_and_named(world, other):
    world.changes = [SHIFT, other]
    with pytest.raises(RefusedError, match="more than the weights") as refusal:
        world.shifter().shift(HALF)
    assert other.name in str(refusal.value)
    assert world.file.read_text() == STACK_FILE
    assert world.shifter(allow_other_changes=True).shift(HALF).after == HALF


def test_a_file_that_the_program_refuses_is_put_back(world):
    def refuse(path: Path) -> None:
        assert "50" in path.read_text(), "the new text is what is checked"
        raise RefusedError("penstock:release.green has no replicas")

    world.validate = refuse
    with pytest.raises(RefusedError, match="no replicas"):
        world.shifter().shift(HALF)
    assert world.file.read_text() == STACK_FILE
    assert world.applied == 0


def test_a_colour_without_a_healthy_target_gets_no_traffic(world):
    world.balancer.healthy["green"] = 0
    with pytest.raises(RefusedError, match="green has no healthy target"):
        world.shifter().shift(HALF)
    assert world.file.read_text() == STACK_FILE
    assert world.shifter(allow_unhealthy=True).shift(HALF).after == HALF


def test_traffic_may_leave_a_colour_without_healthy_targets(world):
    world.balancer.healthy["blue"] = 0
    assert world.shifter().shift(Weights(0, 100)).after == Weights(0, 100)


def test_a_failed_update_puts_the_file_back(world):
    def fail() -> None:
        raise PenstockError("The update failed: quota")

    world.apply = fail
    with pytest.raises(PenstockError, match="quota"):
        world.shifter().shift(HALF)
    assert world.file.read_text() == STACK_FILE


def test_an_update_that_failed_after_the_traffic_had_moved_keeps_the_file(world):
    def fail_late() -> None:
        world.balancer.weights = HALF.as_dict()
        raise KeyboardInterrupt

    world.apply = fail_late
    with pytest.raises(KeyboardInterrupt):
        world.shifter().shift(HALF)
    assert read(world.file.read_text()) == HALF, "the file follows the truth"


def test_a_failure_does_not_undo_what_somebody_else_wrote_meanwhile(world):
    def fail() -> None:
        world.file.write_text("# edited by hand\n")
        raise PenstockError("no")

    world.apply = fail
    with pytest.raises(PenstockError):
        world.shifter().shift(HALF)
    assert world.file.read_text() == "# edited by hand\n"


def test_a_shift_to_where_the_traffic_is_does_nothing(world):
    world.changes = []
    assert world.shifter().shift(Weights(100, 0)).changes == ()
    assert (world.applied, world.asked) == (0, [])


def test_a_stack_without_a_rule_is_not_deployed():
    with pytest.raises(NotRunningError):
        traffic.route(State({}, ()))


def test_waiting_for_the_load_balancer_ends_with_what_it_reports():
    now = iter(range(100))
    with pytest.raises(PenstockError, match="still reports blue=100 green=0 after 3 s"):
        traffic.wait_for(
            lambda: Weights(100, 0), HALF, seconds=3, clock=lambda: float(next(now)), sleep=lambda seconds: None
        )


def test_weights_that_are_not_penstocks_are_an_error():
    balancer = Balancer()
    balancer.weights = {"blue": 1, "green": 1}
    with pytest.raises(PenstockError, match="other weights"):
        traffic.live_weights(balancer, traffic.route(stack_state()))


def test_draining_targets_are_not_counted():
    health = traffic.target_health(Balancer(), traffic.route(stack_state()))
    assert str(health["blue"]) == "3/3"


@pytest.mark.parametrize(
    ("file", "deployed", "live", "settled", "words"),
    [
        (HALF, HALF, HALF, True, "agree"),
        (HALF, None, HALF, True, "agree"),
        (HALF, Weights(100, 0), Weights(100, 0), False, "shift green=0` goes back"),
        (HALF, Weights(100, 0), HALF, False, "pulumi refresh"),
    ],
)
def test_the_position_says_what_to_do(file, deployed, live, settled, words):
    position = Position(file, deployed, live, {})
    assert position.settled is settled
    assert words in position.advice()


def test_the_weights_output_may_be_an_object_or_its_json():
    assert deployed_weights({"blue": 50, "green": 50}) == HALF
    assert deployed_weights('{"blue": 50.0, "green": 50.0}') == HALF
    assert deployed_weights(None) is None


def test_differences_are_the_leaves_that_differ():
    old = {"actions": [{"forward": {"targetGroups": [{"weight": 100}, {"weight": 0}]}}], "tags": {"a": "1"}, "__d": 1}
    new = {"actions": [{"forward": {"targetGroups": [{"weight": 50}, {"weight": 50}]}}], "tags": {"b": "1"}, "__d": 2}
    assert [(one.path, one.old, one.new) for one in differences(old, new)] == [
        ("actions[0].forward.targetGroups[0].weight", 100, 50),
        ("actions[0].forward.targetGroups[1].weight", 0, 50),
        ("tags.a", "1", None),
        ("tags.b", None, "1"),
    ]


def engine_event(operation: str, old: dict | None, new: dict | None, custom: bool = True) -> Box:
    def side(inputs: dict | None) -> Box | None:
        return None if inputs is None else Box(inputs=inputs, custom=custom)

    urn = f"urn:pulumi:local::penstock::{RULE}::traffic"
    return Box(resource_pre_event=Box(metadata=Box(op=operation, urn=urn, type=RULE, old=side(old), new=side(new))))


def test_engine_events_become_changes_without_the_steps_that_change_nothing():
    events = [
        Box(resource_pre_event=None),
        engine_event("same", {"priority": 1}, {"priority": 1}),
        engine_event("create-replacement", {}, {}),
        engine_event("update", {"weights": 1}, {"weights": 2}, custom=False),  # a component
        engine_event("update", {"priority": 1}, {"priority": 2}),
        engine_event("create", None, {"priority": 1}),
    ]
    changes = from_events(events)
    assert [change.operation for change in changes] == ["update", "create"]
    assert changes[0].properties == (PropertyChange("priority", 1, 2),)
    assert beyond_weights([SHIFT, *changes]) == changes
    assert summary([]) == ["no changes"]
