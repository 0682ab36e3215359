"""Drills on AWS: which template, whose confirmation, and an end in any case; against moto's Fault Injection Service."""

import json
import threading
import time

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws

from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.drill.cloud import Experiment, Template, choose, confirm, templates
from infra.ops.errors import PenstockError, RefusedError, UsageError
from infra.ops.progress import Progress
from tests.unit.ops.fake_gateway import KEY

REGION = "eu-central-1"


def template(client, drill, zone="", stack="prod", seconds=300):
    tags = {"stack": stack, "penstock-drill": drill, "penstock-drill-seconds": str(seconds)}
    return client.create_experiment_template(
        clientToken=f"{stack}-{drill}-{zone}",
        description=drill,
        roleArn="arn:aws:iam::123456789012:role/drills",
        stopConditions=[{"source": "none"}],
        actions={"power": {"actionId": "aws:ec2:stop-instances"}},
        tags=tags | ({"penstock-zone": zone} if zone else {}),
    )["experimentTemplate"]["id"]


@pytest.fixture
def fis(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("fis", region_name=REGION)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def experiment(client):
    clock = Clock()
    return Experiment(client, Progress(quiet=True), clock, clock.sleep)


def test_only_templates_of_the_stack_are_found(fis):
    template(fis, "zone-loss", "eu-central-1a")
    template(fis, "zone-loss", "eu-central-1a", stack="dev")
    assert [(found.drill, found.zone, found.budget_seconds) for found in templates(fis, "prod")] == [
        ("zone-loss", "eu-central-1a", 300.0)
    ]


def test_a_zone_has_to_be_named_where_there_are_several():
    found = [Template(zone, "zone-loss", f"eu-central-1{zone}", 300, "") for zone in "ab"]
    assert choose(found, "zone-loss", "eu-central-1b").identity == "b"
    for zone in (None, "eu-central-1c"):
        with pytest.raises(RefusedError, match="allowed: eu-central-1a, eu-central-1b"):
            choose(found, "zone-loss", zone)


def test_a_drill_without_a_template_is_refused_with_those_there_are():
    with pytest.raises(RefusedError, match="it has: spot-reclaim"):
        choose([Template("t", "spot-reclaim", "", 300, "")], "database-failover", None)


@pytest.mark.parametrize("typed", [None, "", "dev", "PROD"])
def test_the_name_of_the_stack_has_to_be_typed(typed):
    with pytest.raises(RefusedError, match="'prod' has to be typed"):
        confirm("prod", typed)
    confirm("prod", "prod")


def test_an_experiment_is_watched_to_its_end(fis):
    template(fis, "spot-reclaim")
    (found,) = templates(fis, "prod")
    watched = experiment(fis).run(found)
    assert (watched.status, watched.stopped_by_us) == ("completed", False)


class Stuck:
    """A service whose experiment runs until it is stopped."""

    def __init__(self, stops=True):
        self.stopped, self.stops = 0, stops

    def start_experiment(self, **_):
        return {"experiment": {"id": "EXP1"}}

    def get_experiment(self, **_):
        return {"experiment": {"state": {"status": "stopped" if self.stopped and self.stops else "running"}}}

    def stop_experiment(self, **_):
        self.stopped += 1


def test_an_experiment_is_stopped_when_its_budget_is_spent():
    service = Stuck()
    watched = experiment(service).run(Template("t", "zone-loss", "", 60, ""))
    assert (watched.status, watched.stopped_by_us, service.stopped) == ("stopped", True, 1)
    assert 60 < watched.seconds <= 70


def test_an_interrupted_drill_stops_its_experiment():
    service = Stuck()
    running = experiment(service)

    def interrupted(seconds):
        raise KeyboardInterrupt

    running.sleep = interrupted
    with pytest.raises(KeyboardInterrupt):
        running.run(Template("t", "zone-loss", "", 60, ""))
    assert service.stopped == 1


def test_an_experiment_that_does_not_stop_is_told():
    with pytest.raises(PenstockError, match="EXP1 is still running"):
        experiment(Stuck(stops=False)).run(Template("t", "zone-loss", "", 60, ""))


def test_the_command_starts_nothing_without_the_typed_name(fis, monkeypatch):
    template(fis, "spot-reclaim")
    monkeypatch.setattr("infra.ops.drill.cloud.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Context, "open", lambda self, stack: Access(fis))
    refused = CliRunner().invoke(cli, ["drill", "spot-reclaim", "--stack", "prod", "--yes"])
    assert isinstance(refused.exception, RefusedError)
    assert fis.list_experiments()["experiments"] == []
    done = CliRunner().invoke(cli, ["drill", "spot-reclaim", "--stack", "prod", "--confirm", "prod", "--json"])
    assert done.exit_code == 0, done.output
    assert len(fis.list_experiments()["experiments"]) == 1


@pytest.mark.parametrize("status", [200, 400])
def test_what_clients_see_of_an_experiment_is_measured_and_judged(fis, gateway, monkeypatch, status):
    template(fis, "spot-reclaim")
    monkeypatch.setattr("infra.ops.drill.cloud.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Context, "open", lambda self, stack: Access(fis, gateway))

    def run(experiment, found):
        gateway.status = status
        deadline = time.monotonic() + 5
        while len(gateway.requests) < 40 and time.monotonic() < deadline:
            time.sleep(0.02)
        return real(experiment, found)

    real = Experiment.run
    monkeypatch.setattr(Experiment, "run", run)
    asked = ["--stack", "prod", "--confirm", "prod", "--measure", "--rate", "40", "--streams", "2", "--calm", "0.2"]
    done = CliRunner().invoke(cli, ["drill", "spot-reclaim", *asked, "--json"])
    found = json.loads(done.stdout)
    assert found["status"] == "completed"
    assert found["requests"] > 0
    assert (found["failed"] > 0) is (status == 400)
    assert ("no failed request" in found["missed"]) is (status == 400)
    assert {"worst_stall", "stalled_200ms", "cut", "streams", "client_late"} <= set(found)
    assert done.exit_code == (1 if found["missed"] else 0), done.output


def test_an_interrupted_experiment_ends_its_load(fis, gateway, monkeypatch):
    template(fis, "spot-reclaim")
    monkeypatch.setattr(Context, "open", lambda self, stack: Access(fis, gateway))

    def interrupted(experiment, found):
        raise KeyboardInterrupt

    monkeypatch.setattr(Experiment, "run", interrupted)
    before = threading.active_count()
    asked = ["--stack", "prod", "--confirm", "prod", "--measure", "--rate", "20", "--streams", "1", "--calm", "0"]
    CliRunner().invoke(cli, ["drill", "spot-reclaim", *asked])
    sent = len(gateway.requests)
    assert sent > 0
    time.sleep(0.3)
    assert len(gateway.requests) == sent, "nothing is sent any more"
    assert not [one for one in threading.enumerate() if "_send" in one.name], before


def test_a_gateway_at_which_no_stream_opens_has_no_drill(fis, gateway, monkeypatch):
    template(fis, "spot-reclaim")
    gateway.status = 400
    monkeypatch.setattr("infra.ops.drill.clients.SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(Context, "open", lambda self, stack: Access(fis, gateway))
    asked = ["--stack", "prod", "--confirm", "prod", "--measure", "--rate", "20", "--streams", "2"]
    done = CliRunner().invoke(cli, ["drill", "spot-reclaim", *asked])
    assert isinstance(done.exception, PenstockError)
    assert fis.list_experiments()["experiments"] == []


class Access:
    def __init__(self, client, gateway=None):
        self.client = client
        self.gateway = gateway

    def outputs(self):
        assert self.gateway is not None
        return {"gatewayUrl": self.gateway.url, "apiKey": KEY, "models": ["tiny"]}

    def aws(self, service):
        assert service == "fis"
        return self.client


def test_all_drills_together_are_refused_on_aws():
    done = CliRunner().invoke(cli, ["drill", "all", "--stack", "prod", "--yes"])
    assert isinstance(done.exception, UsageError)
