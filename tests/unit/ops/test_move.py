"""`penstock move`: the file of another region, objects from bucket to bucket, pods that dump and restore, the name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws

from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.errors import PenstockError, RefusedError, UsageError
from infra.ops.kube import NotFoundError
from infra.ops.move import name, objects
from infra.ops.move.data import Move, Side
from infra.ops.move.objects import Bucket
from infra.ops.move.pods import ARCHIVE, DatabasePods
from infra.ops.move.stack_file import Destination, moved
from infra.ops.progress import Progress
from infra.ops.stacks import Resource, State
from infra.settings import Settings, SettingsError
from infra.settings.parse import values_of_text

CHECKOUT = Path(__file__).resolve().parents[3]
PROD = (CHECKOUT / "Pulumi.prod.yaml").read_text()
CERTIFICATE = "arn:aws:acm:eu-west-1:444455556666:certificate/0"
WEST = Destination("prod2", "eu-west-1", certificate=CERTIFICATE)
QUIET = Progress(quiet=True)

# The file


def test_the_file_of_another_region_differs_in_what_belongs_to_a_region_alone():
    made = moved(PROD, "prod", replace(WEST, zones=("a", "b", "c"), cidr="10.80.0.0/16"))
    lines = set(made.text.splitlines()) ^ set(PROD.splitlines())
    keys = {line.strip().partition(":")[0] for line in lines}
    assert keys == {"region", "copyRegion", "certificateArn", "cidr"}
    found = Settings.parse(values_of_text(made.text, "x"), "x")
    assert (found.aws.region, found.data.copy_region) == ("eu-west-1", "eu-central-1")
    assert found.aws.allowed_regions == ("eu-central-1", "eu-west-1"), (
        "where data may rest is not this command's to say"
    )
    assert any("copies go back" in note for note in made.notes)


def test_a_list_may_stand_on_several_lines():
    several = PROD.replace(
        "allowedRegions: [eu-central-1, eu-west-1]", "allowedRegions:\n      - eu-central-1\n      - eu-west-1"
    )
    made = moved(several, "prod", WEST)
    assert Settings.parse(values_of_text(made.text, "x"), "x").aws.allowed_regions == ("eu-central-1", "eu-west-1")


def test_a_region_in_which_data_may_not_rest_is_refused():
    with pytest.raises(RefusedError, match=r"eu-west-3 is not in penstock:aws\.allowedRegions .* may not rest there"):
        moved(PROD, "prod", replace(WEST, region="eu-west-3"))


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (replace(WEST, certificate=None), "--certificate is missing"),
        (replace(WEST, certificate=CERTIFICATE.replace("west", "north")), "not the ARN of a certificate in eu-west-1"),
        (replace(WEST, region="eu-central-1"), "another region than eu-central-1"),
        (replace(WEST, region="cn-north-1"), "another partition"),
        (replace(WEST, stack="prod"), "another name than prod"),
    ],
)
def test_what_cannot_be_right_is_named(to: Destination, words: str):
    with pytest.raises(UsageError, match=words):
        moved(PROD, "prod", to)


def test_zones_are_held_to_the_rules_of_every_stack_file():
    with pytest.raises(SettingsError, match=r"network\.zones"):
        moved(PROD, "prod", replace(WEST, zones=("a", "b")))


def test_a_stack_that_keeps_its_name_leaves_it_for_the_last_step():
    text = PROD.replace("hostedZoneId: null", "hostedZoneId: Z0123456789").replace(
        "certificateArn: arn:aws:acm:eu-central-1:444455556666:certificate/00000000-0000-0000-0000-000000000000",
        "certificateArn: null",
    )
    made = moved(text, "prod", WEST)
    assert Settings.parse(values_of_text(made.text, "x"), "x").edge.hosted_zone_id is None
    assert any("penstock move name" in note for note in made.notes)


def test_the_command_writes_the_file_and_says_what_the_move_costs(tmp_path: Path):
    for file in ("Pulumi.yaml", "Pulumi.prod.yaml"):
        shutil.copy(CHECKOUT / file, tmp_path / file)
    flags = ("move", "file", "-s", "prod", "--to-stack", "prod2", "--region", "eu-west-1", "--certificate", CERTIFICATE)
    dry = CliRunner().invoke(cli, [*flags, "--dry-run", "--json"], obj=Context(checkout=tmp_path))
    told = json.loads(dry.stdout)
    assert (told["written"], (tmp_path / "Pulumi.prod2.yaml").exists()) == (False, False)
    assert told["cost"]["old_month_usd"] > 1000
    assert told["cost"]["new_month_usd"] is None, "prices of that region are not stored, and none are made up"
    assert (told["cost"]["transfer_gib"], told["cost"]["transfer_usd"]) == (16.7, 0.33)
    done = CliRunner().invoke(cli, [*flags, "--yes"], obj=Context(checkout=tmp_path))
    assert "Wrote Pulumi.prod2.yaml." in done.stdout
    assert Settings.from_stack_file(tmp_path / "Pulumi.prod2.yaml").aws.region == "eu-west-1"


# Objects


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bucket, Bucket]]:
    monkeypatch.setattr(objects, "PART_BYTES", 6 * 2**20)  # S3 takes no smaller parts than 5 MiB
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    with mock_aws():
        made = []
        for region in ("eu-central-1", "eu-west-1"):
            client = boto3.client("s3", region_name=region)
            client.create_bucket(Bucket=f"weights-{region}", CreateBucketConfiguration={"LocationConstraint": region})
            client.put_bucket_versioning(Bucket=f"weights-{region}", VersioningConfiguration={"Status": "Enabled"})
            made.append(Bucket(client, f"weights-{region}"))
        one, _ = made
        for key, body in {"a/config.json": b"{}", "registry/pointer": b"one", "a/large": b"weights!" * 2**20}.items():
            one.client.put_object(Bucket=one.name, Key=key, Body=body)
        one.client.put_object(Bucket=one.name, Key="moves/prod.zip", Body=b"an archive")
        yield made[0], made[1]


@pytest.mark.parametrize("reachable", [True, False])
def test_all_objects_come_over_once_and_the_databases_archive_does_not(buckets, reachable: bool):
    one, other = buckets
    done = objects.copy(one, other, QUIET, reachable=reachable)
    assert (done.objects, done.copied) == (3, 3)
    assert {key: other.read(key) for key in other.objects()} == {key: one.read(key) for key in one.objects()}
    assert other.client.head_object(Bucket=other.name, Key="a/large")["ETag"].endswith('-2"'), "in two parts"
    assert objects.copy(one, other, QUIET, reachable=reachable).copied == 0


def test_a_copy_that_is_cut_off_goes_on_and_leaves_no_part_that_costs(buckets, monkeypatch: pytest.MonkeyPatch):
    one, other = buckets
    complete = other.client.complete_multipart_upload

    def killed(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(other.client, "complete_multipart_upload", killed)
    with pytest.raises(KeyboardInterrupt):
        objects.copy(one, other, QUIET, reachable=True)
    assert set(other.objects()) == {"a/config.json"}
    assert "Uploads" not in other.client.list_multipart_uploads(Bucket=other.name)
    monkeypatch.setattr(other.client, "complete_multipart_upload", complete)
    assert objects.copy(one, other, QUIET, reachable=True).copied == 2
    assert list(objects.missing(one, other)) == []


def test_a_pointer_that_changed_meanwhile_is_brought_up_to_date_under_a_condition(buckets):
    one, other = buckets
    objects.copy(one, other, QUIET, reachable=True)
    one.client.put_object(Bucket=one.name, Key="registry/pointer", Body=b"two")
    sent = []
    other.client.meta.events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: sent.append(dict(params))
    )
    before = other.version("registry/pointer")
    assert objects.copy(one, other, QUIET, reachable=True).copied == 1
    assert other.read("registry/pointer") == b"two"
    assert [(each["Key"], each.get("IfMatch")) for each in sent] == [("registry/pointer", before)]


# Pods

DAILY: dict[str, Any] = {
    "metadata": {"name": "retention"},
    "spec": {
        "jobTemplate": {
            "metadata": {"labels": {"app.kubernetes.io/name": "migration"}},
            "spec": {
                "backoffLimit": 5,
                "template": {
                    "spec": {
                        "serviceAccountName": "migration",
                        "containers": [
                            {
                                "name": "migration",
                                "args": ["retention"],
                                "env": [{"name": "PENSTOCK_DATABASE_ADDRESS", "value": "db:5432"}],
                            }
                        ],
                    }
                },
            },
        }
    },
}


class FakeCluster:
    """Answers as an API server; a Job ends at its second look."""

    def __init__(self, said: str = '{"id": "a", "already": false, "rows": {"t": 2}}', *, ends: str = "succeeded"):
        self.log, self.ends, self.sent, self.looks = said, ends, [], 0
        self.running = [
            SimpleNamespace(name="gateway-blue-1", app="gateway"),
            SimpleNamespace(name="engine-tiny-blue-1", app="engine"),
        ]

    def read(self, path: str) -> str:
        if path.endswith("/cronjobs/retention"):
            return json.dumps(DAILY)
        if "/jobs/" in path:
            self.looks += 1
            return json.dumps({"status": {self.ends: 1} if self.looks > 1 else {}})
        if path.endswith("/log"):
            return f"a warning\n{self.log}\n"
        return json.dumps({"items": [{"metadata": {"name": "pod-1"}}]})

    def send(self, method: str, path: str, body: Any) -> None:
        self.sent.append((method, path, body))
        if method == "PATCH" and "deployments" in path:
            self.running = [pod for pod in self.running if not path.endswith(pod.name.rpartition("-")[0])]

    def items(self, path: str) -> list[dict[str, Any]]:
        kind = path.rpartition("/")[2]
        names = {"deployments": ["gateway-blue", "engine-tiny-blue"], "scaledobjects": ["jobs", "engine-tiny-blue"]}
        return [{"metadata": {"name": each}} for each in names[kind]]

    def pods(self, namespace: str) -> list[Any]:
        return self.running


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.ops.move.pods.POLL_SECONDS", 0.0)


def test_a_dump_runs_in_a_pod_that_signs_in_as_the_owner_and_is_tried_once():
    cluster = FakeCluster()
    done = DatabasePods(cluster, "penstock", QUIET).run("dump", "https://signed")  # ty: ignore[invalid-argument-type]
    assert done["rows"] == {"t": 2}
    (method, path, job) = cluster.sent[0]
    assert (method, path) == ("POST", "/apis/batch/v1/namespaces/penstock/jobs")
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "migration"
    assert job["spec"]["backoffLimit"] == 0
    assert pod["containers"][0]["args"] == ["dump"]
    assert {"name": ARCHIVE, "value": "https://signed"} in pod["containers"][0]["env"]
    assert {"name": "archive", "emptyDir": {}} in pod["volumes"]
    assert DAILY["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"] == ["retention"]


def test_a_pod_that_fails_is_told_in_its_own_words():
    cluster = FakeCluster("penstock database: DatabaseError: rows are here already", ends="failed")
    with pytest.raises(PenstockError, match="`restore` failed: penstock database: DatabaseError: rows are here"):
        DatabasePods(cluster, "penstock", QUIET).run("restore", "https://signed")  # ty: ignore[invalid-argument-type]


def test_a_stack_without_its_daily_job_is_not_deployed():
    cluster = FakeCluster()

    def read(path: str) -> str:
        raise NotFoundError("no")

    cluster.read = read
    with pytest.raises(PenstockError, match="no CronJob retention: the stack is not deployed"):
        DatabasePods(cluster, "penstock", QUIET).run("dump", "x")  # ty: ignore[invalid-argument-type]


def test_gateways_and_workers_end_and_engines_stay():
    cluster = FakeCluster()
    DatabasePods(cluster, "penstock", QUIET).still()  # ty: ignore[invalid-argument-type]
    assert [path.rpartition("/")[2] for _, path, _ in cluster.sent] == ["jobs", "gateway-blue"]
    assert cluster.sent[0][2]["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}
    assert cluster.sent[1][2] == {"spec": {"replicas": 0}}
    assert [pod.app for pod in cluster.running] == ["engine"]


# The whole


class Access:
    def __init__(self, stack: str) -> None:
        self.name, self.layout, self.forgotten, self.asked = stack, None, [], []

    def forget(self, urn: str) -> None:
        self.forgotten.append(urn)

    def aws(self, service: str) -> Any:
        return SimpleNamespace(change_resource_record_sets=lambda **given: self.asked.append(given))


class FakeSide:
    """A deployed stack with one bucket."""

    def __init__(self, stack: str, bucket: Bucket, *resources: Resource) -> None:
        self.access, self.weights, self.state = Access(stack), bucket, State({"region": "x"}, resources)

    def bucket(self, logical: str) -> Bucket | None:
        return self.weights if logical == "weights" else None


class FakePods(FakeCluster):
    """Keeps rows; a restore of the same archive is known."""

    def __init__(self, *, writes: bool = False) -> None:
        super().__init__()
        self.namespace, self.cluster, self.done = "penstock", self, []
        self.running = self.running if writes else []

    def run(self, verb: str, url: str) -> dict[str, Any]:
        assert "moves/prod.zip" in url
        assert "Signature" in url
        already = ("restore" in self.done) and verb == "restore"
        self.done.append(verb)
        return {"id": "one", "already": already, "rows": {"penstock_keys.keys": 3}}

    def still(self) -> None:
        self.running = []


@pytest.fixture
def work(buckets) -> tuple[Any, FakePods, FakePods]:
    old, new = FakePods(writes=True), FakePods()
    one, other = buckets
    sides = FakeSide("prod", one), FakeSide("prod2", other)
    move: Any = Move(*sides, QUIET, lambda access, state: old if access.name == "prod" else new)  # ty: ignore
    return move, old, new


def test_weights_go_first_and_nothing_else_while_gateways_write(work):
    move, old, new = work
    replace_running(old)
    with pytest.raises(RefusedError, match=r"1 pods of prod still write, such as gateway-blue-1\. Weights are carried"):
        move.run(stop=False)
    assert (old.done, new.done) == ([], [])
    assert list(objects.missing(move.source.weights, move.target.weights)) == []


def replace_running(pods: FakePods) -> None:
    pods.running = [pod for pod in pods.running if pod.app == "gateway"]


def test_a_whole_run_and_a_second_one_that_finds_all_there(work):
    move, old, new = work
    done = move.run(stop=True)
    assert (done.already, done.rows, done.buckets["weights"].copied) == (False, {"penstock_keys.keys": 3}, 3)
    assert (old.done, new.done) == (["dump"], ["restore"])
    again = move.run(stop=False)
    assert (again.already, again.buckets["weights"].copied) == (True, 0)


def test_the_archive_goes_with_every_version_also_where_the_restore_fails(work, monkeypatch: pytest.MonkeyPatch):
    move, _, new = work
    bucket = move.target.weights

    def failing(verb: str, url: str) -> dict[str, Any]:
        bucket.client.put_object(Bucket=bucket.name, Key="moves/prod.zip", Body=b"rows of tenants")
        raise PenstockError("rows are here already")

    monkeypatch.setattr(new, "run", failing)
    with pytest.raises(PenstockError, match="rows are here"):
        move.run(stop=True)
    assert "Versions" not in bucket.client.list_object_versions(Bucket=bucket.name, Prefix="moves/")


def test_an_archive_other_than_the_one_that_was_written_is_no_success(work, monkeypatch: pytest.MonkeyPatch):
    move, _, new = work
    monkeypatch.setattr(new, "run", lambda *_: {"id": "other", "already": False, "rows": {"penstock_keys.keys": 2}})
    with pytest.raises(PenstockError, match="The archive one was written and other was read"):
        move.run(stop=True)


def resource(kind: str, logical: str, **outputs: Any) -> Resource:
    return Resource(f"urn:pulumi:prod::penstock::{kind}::{logical}", kind, "id", outputs)


def test_the_name_is_pointed_in_one_change_and_the_first_stack_forgets_it(buckets):
    record = resource("aws:route53/record:Record", "edge-name", name="llm.example.com", zoneId="Z1")
    proof = resource("aws:route53/record:Record", "certificate-proof", name="_x.llm.example.com", zoneId="Z1")
    balancer = resource("aws:lb/loadBalancer:LoadBalancer", "edge", dnsName="west.elb.test", zoneId="ZLB")
    one, other = FakeSide("prod", buckets[0], proof, record), FakeSide("prod2", buckets[1], balancer)
    found = name.planned(one, other)  # ty: ignore[invalid-argument-type]
    name.point(found, one)  # ty: ignore[invalid-argument-type]
    ((asked,), (forgotten,)) = one.access.asked, one.access.forgotten
    (change,) = asked["ChangeBatch"]["Changes"]
    assert (asked["HostedZoneId"], change["Action"]) == ("Z1", "UPSERT")
    alias = {"HostedZoneId": "ZLB", "DNSName": "west.elb.test", "EvaluateTargetHealth": True}
    assert change["ResourceRecordSet"] == {"Name": "llm.example.com", "Type": "A", "AliasTarget": alias}
    assert forgotten.endswith("::edge-name"), "its destroy would delete the name"


def test_a_name_that_somebody_else_keeps_is_left_to_them(buckets):
    balancer = resource("aws:lb/loadBalancer:LoadBalancer", "edge", dnsName="west.elb.test", zoneId="ZLB")
    one, other = FakeSide("prod", buckets[0]), FakeSide("prod2", buckets[1], balancer)
    found = name.planned(one, other)  # ty: ignore[invalid-argument-type]
    name.point(found, one)  # ty: ignore[invalid-argument-type]
    assert (found.hostname, found.to, one.access.asked) == (None, "west.elb.test", [])


def test_a_side_has_clients_of_its_own_region():
    from infra.ops.stacks import StackAccess

    state = State({"region": "eu-west-1"}, (resource("aws:s3/bucket:Bucket", "weights"),))

    class Deployed(StackAccess):
        def state(self) -> State:
            return state

    side = Side.of(Deployed("prod2", CHECKOUT, CHECKOUT, {"AWS_REGION": "eu-central-1"}))
    bucket = side.bucket("weights")
    assert bucket is not None
    assert bucket.client.meta.region_name == "eu-west-1"
    assert bucket.client.meta.config.signature_version == "s3v4"
    assert side.bucket("files") is None
