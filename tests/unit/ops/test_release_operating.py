"""Stage, promote and rollback on a stack that is played: the file and the journal are real, Pulumi and AWS are not."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace as Box

import pytest

from infra.ops import deploy
from infra.ops.changes import Change, PropertyChange
from infra.ops.errors import NotRunningError, PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.ops.release import operate, probe, world
from infra.ops.release.operate import Operator
from infra.ops.release.probe import Answer, Validation
from infra.ops.stacks import Resource, State
from infra.ops.weights import Weights, edit, read
from tests.unit.ops.test_release_parts import reading
from tests.unit.settings_cases import CHECKOUT

RULE = "aws:lb/listenerRule:ListenerRule"
SHIFT = Change("update", RULE, "traffic", (PropertyChange("actions[0].forward.targetGroups[0].weight", 1, 2),))
ENGINE = Change("update", "kubernetes:apps/v1:Deployment", "engine-tiny-green")


class Balancer:
    def __init__(self) -> None:
        self.weights, self.healthy = Weights(100, 0), {"blue": 3, "green": 3}
        self.direct: list[Weights] = []

    def describe_rules(self, **_: object) -> dict:
        groups = [{"TargetGroupArn": f"arn:{c}", "Weight": w} for c, w in self.weights.as_dict().items()]
        return {"Rules": [{"Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]}]}

    def modify_rule(self, RuleArn: str, Actions: list) -> None:  # noqa: N803 - boto3's names
        assert RuleArn == "arn:traffic"
        shares = {g["TargetGroupArn"][4:]: g["Weight"] for g in Actions[0]["ForwardConfig"]["TargetGroups"]}
        self.weights = Weights(**shares)
        self.direct.append(self.weights)

    def describe_target_health(self, TargetGroupArn: str) -> dict:  # noqa: N803 - boto3's name
        count = self.healthy[TargetGroupArn.removeprefix("arn:")]
        return {"TargetHealthDescriptions": [{"TargetHealth": {"State": "healthy"}}] * count}


class Cluster:
    """Engines of both colours are ready; a scrape serves more requests, of which green fails `failing`."""

    def __init__(self) -> None:
        self.scrapes, self.failing = 0, 0.0

    def pods(self, namespace: str) -> list:
        del namespace
        return [
            Box(
                app=app,
                colour=colour,
                model="tiny",
                ready=True,
                phase="Running",
                ip="127.0.0.1",
                name=f"{app}-{colour}",
            )
            for app in ("engine", "gateway")
            for colour in ("blue", "green")
        ]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "Pulumi.local.yaml"
    text = edit((CHECKOUT / "Pulumi.local.yaml").read_text(), Weights(100, 0))
    file.write_text(text)
    balancer, cluster = Balancer(), Cluster()
    seen = Box(
        file=file, text=text, balancer=balancer, cluster=cluster, answer=True, asked=[], updates=0, changes=None,
        deployed=Weights(100, 0), fail=None, validation=[],
    )  # fmt: skip

    def state() -> State:
        def resource(kind: str, name: str) -> Resource:
            return Resource(f"urn:pulumi:local::penstock::{kind}::{name}", kind, f"arn:{name}", {})

        rules = [resource(RULE, name) for name in ("traffic", "traffic-probe-blue", "traffic-probe-green")]
        groups = [resource("aws:lb/targetGroup:TargetGroup", colour) for colour in ("blue", "green")]
        outputs = {"weights": seen.deployed.as_dict(), "models": ["tiny"], "clusterName": "c", "gatewayUrl": "x"}
        return State(outputs, (*rules, *groups))

    def preview(stack: object, progress: object) -> list[Change]:
        if seen.changes is not None:
            return seen.changes
        return [] if read(file.read_text()) == seen.deployed else [SHIFT]

    def up(stack: object, progress: object) -> list[Change]:
        seen.updates += 1
        if seen.fail:
            raise seen.fail
        seen.deployed = balancer.weights = read(file.read_text())
        return []

    def scrape(source: object) -> dict:
        """A hundred streams a second for each; without a share none."""
        cluster.scrapes += 1
        total = 100 * cluster.scrapes
        blue = reading(total if balancer.weights.blue else 0)
        green = reading(total, failed=round(total * cluster.failing)) if balancer.weights.green else reading(0)
        return {
            colour: {"gateway": {(key[0], "tiny", *key[2:]): value for key, value in figures.items()}}
            for colour, figures in (("blue", blue), ("green", green))
        }

    def validate(
        endpoint: object, secret: str, colour: str, models: Sequence[str], each: int, embedders: object
    ) -> Validation:
        seen.validation.append((secret, colour, each))
        return Validation(colour, tuple(Answer(model, False, 0.1, "") for model in models))

    monkeypatch.setattr(deploy, "preview", preview)
    monkeypatch.setattr(deploy, "up", up)
    monkeypatch.setattr(world.StackWorld, "cluster", cluster)
    monkeypatch.setattr(world.ClusterSource, "scrape", scrape)
    monkeypatch.setattr(operate, "validate", validate)
    monkeypatch.setattr(operate, "token", lambda access, state: "secret")
    clock = Box(now=0.0)
    monkeypatch.setattr(operate.Watcher, "clock", lambda: clock.now)
    real = operate.Watcher

    def quick(*given: object, **named: object):
        def sleep(seconds: float) -> None:
            clock.now += seconds

        return real(*given, **named, clock=lambda: clock.now, sleep=sleep)  # ty: ignore[invalid-argument-type]

    monkeypatch.setattr(operate, "Watcher", quick)
    access = Box(
        name="local", stack_file=file, checkout=tmp_path, layout=None, state=state, aws=lambda service: balancer,
        automation=lambda: "stack", outputs=lambda: {"gatewayUrl": "http://x", "apiKey": "k", "models": ["tiny"]},
    )  # fmt: skip

    def confirm(lines: Sequence[str]) -> bool:
        seen.asked.append(list(lines))
        return seen.answer

    seen.operator = lambda **more: Operator(access, Progress(quiet=True), confirm, **more)  # ty: ignore[invalid-argument-type]
    return seen


def test_a_stage_writes_the_idle_colours_images_asks_updates_and_validates(played):
    played.changes = [ENGINE]
    done = played.operator(validations=7).stage(None, "next")
    assert done["colour"] == "green"
    assert played.file.read_text() == played.text.replace("engineImage: local", "engineImage: next").replace(
        "engineImage: next", "engineImage: local", 1
    )
    assert (played.updates, len(played.asked)) == (1, 1)
    assert played.validation == [("secret", "green", 7)]
    assert done["needs"]["gpus"] == 4, "three of the model tiny, and one of embed"


def test_what_sleeps_is_woken_before_it_is_validated(played, monkeypatch):
    """By `stage`, and by the `promote` after which it fell asleep again."""

    def wake(endpoint: object, secret: str, colour: str, models: dict, embedders: object, *, held: float) -> dict:
        assert (secret, colour, models) == ("secret", "green", {"tiny": 700.0})
        assert held > 60, "longer than a gateway holds a request"
        order.append("woken")
        return {"tiny": 12.3456}

    order = played.validation
    monkeypatch.setattr(operate.waking, "sleepers", lambda settings, colour: {"tiny": 700.0})
    monkeypatch.setattr(operate.waking, "wake", wake)
    played.changes = [ENGINE]
    assert played.operator(validations=7).stage(None, "next")["woken_seconds"] == {"tiny": 12.346}
    assert order == ["woken", ("secret", "green", 7)]
    order.clear()
    played.changes = None
    assert played.operator().promote(None)["outcome"] == "promoted"
    assert order == ["woken", ("secret", "green", 20)]


def test_a_colour_whose_engines_keda_brings_is_waited_for_as_long_as_they_may_take(played, monkeypatch):
    waited: list[float] = []

    def wait(world: object, colour: str, gateways: int, seconds: float) -> float:
        waited.append(seconds)
        return 1.0

    monkeypatch.setattr(world.StackWorld, "wait_until_ready", wait)
    monkeypatch.setattr(operate.waking, "ready_seconds", lambda settings, colour: 1234.0)
    played.changes = [ENGINE]
    played.operator().stage(None, "next")
    assert waited == [1234.0]


def test_a_stage_that_would_touch_more_than_the_idle_colour_is_refused_and_the_file_put_back(played):
    played.changes = [ENGINE, Change("update", "kubernetes:apps/v1:Deployment", "engine-tiny-blue")]
    with pytest.raises(RefusedError, match="engine-tiny-blue"):
        played.operator().stage(None, "next")
    assert (played.file.read_text(), played.updates) == (played.text, 0)


def test_a_stage_that_is_not_confirmed_or_cannot_be_parsed_changes_nothing(played):
    played.changes, played.answer = [ENGINE], False
    with pytest.raises(RefusedError, match="not confirmed"):
        played.operator().stage("v2", None)
    with pytest.raises(RefusedError, match="gatewayImage"):
        played.operator().stage("not an image", None)
    assert (played.file.read_text(), played.updates) == (played.text, 0)


def test_nothing_is_staged_while_both_colours_have_traffic_or_a_release_is_open(played):
    played.file.write_text(edit(played.text, Weights(50, 50)))
    with pytest.raises(RefusedError, match="No colour is idle"):
        played.operator().stage(None, None)
    played.file.write_text(played.text)
    played.operator().journal.append("begin", id="a", colour="green", steps=[5, 100])
    with pytest.raises(RefusedError, match="release of green is not ended"):
        played.operator().stage(None, None)


def test_a_promotion_goes_through_all_steps_and_each_is_an_update(played):
    done = played.operator().promote(None)
    assert (done["outcome"], done["colour"], done["passed"]) == ("promoted", "green", 4)
    assert played.updates == 4
    assert played.balancer.weights == played.deployed == read(played.file.read_text()) == Weights(0, 100)
    assert played.balancer.direct == [], "the way forward is by updates alone"
    assert played.validation, "a colour is checked before its first traffic"


def compare_copies(played, monkeypatch, failed: int) -> None:
    """The stack waits for 30 copies; blue's gateways compare 100 in each second, of which so many fail."""
    played.file.write_text(played.text.replace("minCopies: 0", "minCopies: 30"))
    plain = world.ClusterSource.scrape

    def scrape(source: object) -> dict:
        found = plain(source)  # ty: ignore[invalid-argument-type]
        count = played.cluster.scrapes
        statuses = {"true": (100 - failed) * count, "false": failed * count}
        counted = {("shadow_status", "tiny", same): float(value) for same, value in statuses.items()}
        return {**found, "blue": {"gateway": {**found["blue"]["gateway"], **counted}}}

    monkeypatch.setattr(world.ClusterSource, "scrape", scrape)
    real = operate.CopyWatch
    monkeypatch.setattr(operate, "CopyWatch", lambda *given: real(*given, sleep=lambda seconds: None))


def test_a_colour_whose_copies_fail_gets_no_traffic_and_nothing_is_changed(played, monkeypatch):
    compare_copies(played, monkeypatch, failed=40)
    text = played.file.read_text()
    with pytest.raises(PenstockError, match=r"green is worse, as copies of requests show: errors of copies: 40 of 100"):
        played.operator().promote("green")
    assert (played.updates, played.balancer.direct, played.balancer.weights) == (0, [], Weights(100, 0))
    assert played.file.read_text() == text
    (entry,) = played.operator().journal.entries()
    assert (entry["event"], entry["state"]) == ("copies", "bad")
    assert played.operator().journal.release() is None


def test_a_colour_whose_copies_are_well_is_promoted(played, monkeypatch):
    compare_copies(played, monkeypatch, failed=0)
    assert played.operator().promote("green")["outcome"] == "promoted"


def test_a_bad_colour_loses_its_traffic_directly_and_file_and_state_follow(played):
    played.cluster.failing = 0.3
    done = played.operator().promote("green")
    assert done["outcome"] == "rolled back"
    assert "errors" in done["reason"]
    assert played.balancer.direct == [Weights(100, 0)]
    assert played.balancer.weights == played.deployed == Weights(100, 0)
    assert played.file.read_text() == played.text
    (report,) = done["reports"]
    assert "of them failed" in (played.operator().journal.folder / report).read_text()


def test_a_rollback_of_an_ended_release_changes_the_load_balancer_first(played):
    with pytest.raises(RefusedError, match="no release to take back"):
        played.operator().rollback("by hand")
    played.operator().promote("green")
    played.fail = PenstockError("The update failed.")
    with pytest.raises(PenstockError, match="update failed"):
        played.operator().rollback("by hand")
    assert played.balancer.weights == Weights(100, 0), "the traffic is back though the update failed"
    played.fail = None
    assert played.operator().rollback("again")["outcome"] == "rolled back"
    assert played.deployed == Weights(100, 0)
    assert played.file.read_text() == played.text


def test_a_rollback_to_a_colour_without_healthy_targets_is_refused(played):
    played.operator().promote("green")
    played.balancer.healthy["blue"] = 0
    with pytest.raises(RefusedError, match="blue has no healthy target"):
        played.operator().rollback("by hand")
    assert played.balancer.weights == Weights(0, 100)


def test_a_step_whose_preview_shows_more_than_weights_is_refused_and_the_file_is_as_the_traffic(played):
    played.changes = [SHIFT, ENGINE]
    with pytest.raises(RefusedError, match="more than the weights"):
        played.operator().promote("green")
    assert (played.file.read_text(), played.updates) == (played.text, 0)
    played.changes = None
    assert played.operator().promote("green")["outcome"] == "promoted", "the open release goes on"


def test_a_failed_update_is_gone_on_with(played):
    played.fail = PenstockError("The update failed.")
    with pytest.raises(PenstockError):
        played.operator().promote("green")
    played.fail = None
    assert played.operator().promote(None)["outcome"] == "promoted"


def test_the_header_value_is_read_from_the_stacks_own_secret():
    asked: list[str] = []

    def read_secret(SecretId: str) -> dict:  # noqa: N803 - boto3's name
        asked.append(SecretId)
        return {"SecretString": "value"}

    kind = "aws:secretsmanager/secret:Secret"
    state = State({}, tuple(Resource(f"u::{n}", kind, f"arn:{n}", {}) for n in ("api-key", "release-probe")))
    access = Box(aws=lambda service: Box(get_secret_value=read_secret))
    assert probe.token(access, state) == "value"  # ty: ignore[invalid-argument-type]
    assert asked == ["arn:release-probe"]
    with pytest.raises(NotRunningError, match="no header value"):
        probe.token(access, State({}, ()))  # ty: ignore[invalid-argument-type]
