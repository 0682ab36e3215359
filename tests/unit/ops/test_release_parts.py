"""The parts of a release: the stack file's edit, what a stage needs, the checks' answers, the watch, the report."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace as Box

import pytest
import yaml

from infra.ops import traffic
from infra.ops.changes import Change
from infra.ops.cost.prices import Price, Table
from infra.ops.errors import PenstockError
from infra.ops.progress import Progress
from infra.ops.release import report
from infra.ops.release.gate import Limits
from infra.ops.release.machine import Release
from infra.ops.release.needs import needs
from infra.ops.release.probe import embedding_fault, fault
from infra.ops.release.samples import FAILED, ITL, REQUESTS, TTFT, Key, Sample
from infra.ops.release.stack_text import edit_colour
from infra.ops.release.staging import beyond_colour, staged
from infra.ops.release.watching import Watcher, packed, unpacked
from infra.ops.release.world import set_weights
from infra.ops.weights import StackFileError, Weights
from infra.settings import Settings
from tests.unit.settings_cases import CHECKOUT, VALUES

TEXT = """\
config:
  penstock:release:
    blue: {weight: 100, gatewayImage: v1, engineReplicas: {m: 2}}   # live
    green:   # idle
      weight: 0
      gatewayImage: "v0"  # old
      gatewayReplicas: 0
      engineImage: v0
      engineReplicas:
        m.1: 0
"""


def test_an_edit_of_a_colour_changes_those_values_and_no_other_byte():
    values = {("gatewayImage",): "v1", ("gatewayReplicas",): 3, ("engineReplicas", "m.1"): 2}
    text = edit_colour(TEXT, "green", values, "f")
    assert text == TEXT.replace('"v0"', '"v1"').replace("Replicas: 0", "Replicas: 3").replace("m.1: 0", "m.1: 2")


@pytest.mark.parametrize("image", ["1.10", "123", "true", "null", "1e3", "0x1f"])
def test_an_image_that_yaml_would_read_as_something_else_is_quoted(image: str):
    text = edit_colour(TEXT, "green", {("engineImage",): image}, "f")
    assert yaml.safe_load(text)["config"]["penstock:release"]["green"]["engineImage"] == image


def test_values_that_cannot_be_changed_alone_are_refused():
    with pytest.raises(StackFileError, match=r"green\.engineReplicas\.other is missing"):
        edit_colour(TEXT, "green", {("engineReplicas", "other"): 1}, "f")
    with pytest.raises(StackFileError, match="not a plain value"):
        edit_colour(TEXT, "green", {("engineReplicas",): 1}, "f")
    shared = TEXT.replace("engineImage: v0", "engineImage: &v v0")
    shared += "  other: *v\n"
    with pytest.raises(StackFileError):
        edit_colour(shared, "green", {("engineImage",): "v1"}, "f")


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_a_stage_copies_the_live_colours_replicas(stack: str):
    text = (CHECKOUT / f"Pulumi.{stack}.yaml").read_text()
    settings = Settings.from_stack_file(CHECKOUT / f"Pulumi.{stack}.yaml")
    colour = "green" if settings.weights["green"] == 0 else "blue"
    live = yaml.safe_load(text)["config"]["penstock:release"]["blue" if colour == "green" else "green"]
    image = "sha256:" + "a" * 64
    after = yaml.safe_load(staged(text, settings, colour, None, image, "f"))["config"]["penstock:release"][colour]
    assert after == {**live, "weight": 0, "engineImage": image}
    kept = yaml.safe_load(staged(text, settings, colour, None, None, "f"))["config"]["penstock:release"][colour]
    assert kept["engineImage"] != image, "without a flag the file's own images are staged"


def test_a_stage_says_which_gpus_it_needs_and_what_they_cost():
    before = Settings.parse(VALUES["prod"])
    values = json.loads(json.dumps(VALUES["prod"]))
    values["release"]["green"]["engineReplicas"] = values["release"]["blue"]["engineReplicas"]
    after = Settings.parse(values)
    price = Price(2.0, "list", "2026-01-01")
    types = {*after.node_groups.gpu.instance_types, *after.node_groups.gpu_spot.instance_types}
    table = Table(after.aws.region, {f"ec2:{kind}": price for kind in types})
    wanted = needs(before, after, "green", table)
    assert wanted.gpus == wanted.more_gpus > 0
    assert wanted.left_pods == 0
    assert wanted.usd_per_hour == pytest.approx(2.0 * sum(wanted.nodes.values()))
    assert f"green wants {wanted.gpus} GPUs" in wanted.text("green")
    without = needs(before, after, "green", Table(after.aws.region, {}))
    assert without.usd_per_hour is None or not any(without.nodes.values())


def test_what_is_not_the_staged_colours_is_named():
    mine = Change("update", "kubernetes:apps/v1:Deployment", "engine-tiny-green")
    budget = Change("create", "kubernetes:policy/v1:PodDisruptionBudget", "gateway-green")
    others = [
        Change("update", "kubernetes:apps/v1:Deployment", "engine-tiny-blue"),
        Change("update", "aws:lb/targetGroup:TargetGroup", "edge-green"),
    ]
    assert beyond_colour([mine, budget, *others], "green") == others


def stream(*events: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


WHOLE = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}
CHUNK = {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("content", "is_stream", "words"),
    [
        (json.dumps(WHOLE).encode(), False, ""),
        (stream(CHUNK, {"choices": [], "usage": {"completion_tokens": 1}}), True, ""),
        (stream(CHUNK), True, "no usage"),
        (stream(CHUNK, done=False), True, "cut"),
        (stream({"error": {"message": "x"}}), True, "an error came"),
        (b"<html>", False, "not JSON"),
        (b"", True, "cut"),
        (json.dumps({**WHOLE, "choices": []}).encode(), False, "no text"),
        (json.dumps({**WHOLE, "choices": [{"message": {"content": "x"}}]}).encode(), False, "no finish_reason"),
    ],
)
def test_an_answer_is_whole_or_the_check_says_what_is_missing(content: bytes, is_stream: bool, words: str):
    found = fault(content, is_stream)
    assert (words in found) if words else found == ""


def reading(requests: int, failed: int = 0, slow: int = 0) -> dict[Key, float]:
    streams = requests - failed
    found: dict[Key, float] = {(REQUESTS, "m"): float(requests), (FAILED, "m"): float(failed)}
    for kind in (TTFT, ITL):
        found |= {(kind, "m", "0.1"): float(streams - slow), (kind, "m", "inf"): float(streams)}
    return found


class FakeSource:
    """Each scrape the next figures; the last ones stay."""

    def __init__(self, *looks: Mapping[str, dict[Key, float]], healthy: int = 1) -> None:
        self.looks, self.count = list(looks), healthy

    def scrape(self) -> dict[str, dict[str, dict[Key, float]]]:
        figures = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {colour: {f"gateway-{colour}": figures[colour]} for colour in ("blue", "green")}

    def healthy(self, colour: str) -> int:
        return self.count


def watcher(source: object, **more: object) -> Watcher:
    clock = Box(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += max(seconds, 0.5)

    limits = Limits(0.01, 0.05, min_requests=50, min_streams=20, alpha=0.01)
    return Watcher(
        source,  # ty: ignore[invalid-argument-type]
        limits,
        ["m"],
        soak_seconds=5,
        wait_seconds=20,
        progress=Progress(quiet=True),
        clock=lambda: clock.now,
        sleep=sleep,
        **more,  # ty: ignore[invalid-argument-type]
    )


BEFORE = {"blue": reading(1000), "green": reading(0)}
WELL = {"blue": reading(3000), "green": reading(200)}


def test_a_good_step_lasts_its_soak_and_leaves_what_100_percent_is_compared_with():
    watching = watcher(FakeSource(BEFORE, WELL))
    done = watching.watch("green", 25)
    assert done.state == "good"
    assert watching.clock() >= 5
    assert unpacked(done.record["reference"]) is not None
    again = unpacked(json.loads(json.dumps(done.record["reference"])))
    assert again is not None
    assert again.of("m").ttft.total == 2000
    assert again.of("m").ttft.above(0.1) == 0


def test_errors_end_the_watch_at_the_look_that_shows_them():
    bad = {"blue": reading(3000), "green": reading(400, failed=80)}
    watching = watcher(FakeSource(BEFORE, WELL, bad))
    done = watching.watch("green", 25)
    assert done.state == "bad"
    assert "errors" in done.reason
    assert watching.clock() - done.details["seen_at"] == 0
    assert done.details["counts"] == {"requests": 400, "failed": 80, "streams": 320}


def test_slow_answers_end_the_watch():
    slow = {"blue": reading(3000), "green": reading(200, slow=120)}
    done = watcher(FakeSource(BEFORE, slow)).watch("green", 25)
    assert done.state == "bad"
    assert "TTFT p95" in done.reason


def test_too_few_samples_hold_and_never_pass():
    few = {"blue": reading(3000), "green": reading(10)}
    watching = watcher(FakeSource(BEFORE, few))
    done = watching.watch("green", 5)
    assert done.state == "short"
    assert "50 samples of each colour" in done.reason
    assert watching.clock() >= 20


def test_a_colour_without_a_healthy_gateway_is_bad_though_no_gateway_counts_it():
    done = watcher(FakeSource(BEFORE, WELL, healthy=0)).watch("green", 25)
    assert (done.state, done.reason) == ("bad", "targets: green has no healthy gateway")


def test_all_the_traffic_is_compared_with_the_last_step_or_with_all_that_was_counted():
    reference = Sample(reading(2000))
    assert watcher(FakeSource(BEFORE, WELL), reference=reference).watch("green", 100).state == "good"
    slow = {"blue": reading(1000), "green": reading(400, slow=200)}
    assert watcher(FakeSource(BEFORE, slow)).watch("green", 100).state == "bad"
    assert packed(None) is None
    assert unpacked(None) is None


def test_a_cluster_that_does_not_answer_is_waited_for_and_then_the_step_is_held():
    class Silent(FakeSource):
        def scrape(self):
            if len(self.looks) == 1:
                raise PenstockError("the cluster did not answer.")
            return super().scrape()

    done = watcher(Silent(BEFORE, WELL)).watch("green", 25)
    assert (done.state, done.reason) == ("short", "the cluster did not answer.")


class Balancer:
    def __init__(self) -> None:
        groups = [{"TargetGroupArn": f"arn:{c}", "Weight": w} for c, w in (("blue", 75), ("green", 25))]
        stickiness = {"Enabled": False}
        config = {"TargetGroups": groups, "TargetGroupStickinessConfig": stickiness}
        self.actions = [{"Type": "forward", "Order": 1, "ForwardConfig": config}]
        self.modified: list[dict] = []

    def describe_rules(self, **_: object) -> dict:
        return {"Rules": [{"Actions": self.actions}]}

    def modify_rule(self, **request: object) -> None:
        self.modified.append(request)


def test_the_direct_way_changes_the_weights_and_nothing_else_of_the_rule():
    balancer = Balancer()
    way = traffic.Route("arn:rule", {"blue": "arn:blue", "green": "arn:green"})
    set_weights(balancer, way, Weights(100, 0))
    (request,) = balancer.modified
    expected = json.loads(json.dumps(balancer.actions).replace("75", "100").replace("25", "0"))
    assert request == {"RuleArn": "arn:rule", "Actions": expected}
    with pytest.raises(PenstockError, match="both colours"):
        set_weights(balancer, traffic.Route("arn:rule", {"blue": "arn:blue", "green": "arn:else"}), Weights(100, 0))


def test_a_report_says_what_was_seen_and_how_long_the_way_back_took(tmp_path: Path):
    release = Release("r1", "green", (5, 100))
    source = FakeSource(BEFORE, {"blue": reading(3000), "green": reading(200, failed=80)})
    seen = watcher(source).watch("green", 5)
    content = report.breach(release, seen.reason, seen.details, {"requests": 210, "failed": 85, "streams": 125}, 0.42)
    path = report.write(tmp_path, content)
    text = path.read_text()
    assert "0.42 s after the scrape" in text
    assert "210 requests, 85 of them failed" in text
    assert json.loads((tmp_path / "rollback-r1.json").read_text())["verdict"]["state"] == "bad"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"data": [{"embedding": [0.1, -0.2]}]}', ""),
        (b'{"data": [{"embedding": [0, 0]}]}', "the embedding is no vector of numbers"),
        (b'{"data": [{"embedding": [0.1, NaN]}]}', "the embedding is no vector of numbers"),
        (b'{"data": [{"embedding": "AAAA"}]}', "the embedding is no vector of numbers"),
        (b'{"data": []}', "the answer has no embedding"),
        (b"busy", "the answer has no embedding"),
    ],
)
def test_an_embedding_must_be_a_vector_that_says_something(content: bytes, said: str):
    assert embedding_fault(content) == said
