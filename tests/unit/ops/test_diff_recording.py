"""The record-only providers: real checks and comparisons, invented answers, no cloud."""

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider.clients import RefusedError
from infra.local.aws.provider.table import all_rows
from infra.local.aws.provider.values import UNKNOWN, contains, from_struct, to_struct
from infra.local.kubernetes.provider.values import decode, encode
from infra.ops.diff import recording
from infra.ops.diff.record_aws import NoCloud, RecordingServicer
from infra.ops.diff.record_kubernetes import RecordingProvider

RDS, FORKS_OWN = "aws:rds/instance:Instance", "aws:forks/own:Own"
DATABASE = {"identifier": "penstock", "instanceClass": "db.m7g.large", "engine": "postgres", "username": "penstock"}


def urn(kind, name="thing"):
    return f"urn:pulumi:dev::penstock::{kind}::{name}"


@pytest.fixture
def aws():
    servicer = RecordingServicer({})
    servicer.Configure(
        provider_pb2.ConfigureRequest(args=to_struct({"region": "eu-central-1", "allowedAccountIds": '["1"]'})), None
    )
    return servicer


def diff(servicer, kind, old, new, state=None):
    request = provider_pb2.DiffRequest(
        urn=urn(kind), type=kind, old_inputs=to_struct(old), olds=to_struct(state or old), news=to_struct(new)
    )
    return servicer.Diff(request, None)


def create(servicer, kind, inputs, *, preview=False):
    return servicer.Create(
        provider_pb2.CreateRequest(urn=urn(kind), type=kind, properties=to_struct(inputs), preview=preview), None
    )


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.kind)
def test_a_recorded_state_has_nothing_that_is_unknown(row):
    planned = dict.fromkeys(row.fields, UNKNOWN)
    assert not contains(recording.recorded(row, "thing", {"vpcConfig": {}}, planned), type(UNKNOWN))


def test_what_is_created_has_an_id_and_outputs_without_a_cloud(aws):
    made = create(aws, RDS, DATABASE)
    assert (made.id, from_struct(made.properties)["address"]) == ("thing-id", "thing.database.invalid")


def test_a_preview_leaves_open_what_only_a_cloud_can_tell(aws):
    made = create(aws, RDS, DATABASE, preview=True)
    assert (made.id, from_struct(made.properties)["address"]) == ("", UNKNOWN)


def test_the_rows_still_know_what_replaces(aws):
    state = from_struct(create(aws, RDS, DATABASE).properties)
    same = diff(aws, RDS, DATABASE, DATABASE, state)
    larger = diff(aws, RDS, DATABASE, {**DATABASE, "instanceClass": "db.m7g.xlarge"}, state)
    renamed = diff(aws, RDS, DATABASE, {**DATABASE, "username": "owner"}, state)
    assert same.changes == provider_pb2.DiffResponse.DIFF_NONE
    assert (list(larger.diffs), list(larger.replaces)) == (["instanceClass"], [])
    assert (list(renamed.replaces), renamed.deleteBeforeReplace) == (["username"], True)


def test_a_type_of_a_fork_is_taken_as_it_is(aws):
    checked = aws.Check(provider_pb2.CheckRequest(urn=urn(FORKS_OWN), news=to_struct({"a": 1})), None)
    assert from_struct(checked.inputs) == {"a": 1}
    assert create(aws, FORKS_OWN, {"a": 1}).id == "thing-id"
    found = diff(aws, FORKS_OWN, {"a": 1, "b": 1}, {"a": 2, "c": 1})
    assert list(found.diffs) == ["a", "b", "c"]


def test_a_property_of_a_fork_is_compared_too(aws):
    kind = "aws:sqs/queue:Queue"
    request = provider_pb2.CheckRequest(urn=urn(kind), type=kind, news=to_struct({"name": "q", "forksOwn": 1}))
    checked = aws.Check(request, None)
    assert not checked.failures
    assert from_struct(checked.inputs)["forksOwn"] == 1
    assert list(diff(aws, kind, {"name": "q", "forksOwn": 1}, {"name": "q", "forksOwn": 2}).diffs) == ["forksOwn"]


def test_a_call_to_aws_is_refused():
    with pytest.raises(RefusedError, match="cannot ask AWS"):
        NoCloud().get("sts", "eu-central-1")


def test_the_cluster_is_never_asked():
    provider = RecordingProvider()
    arguments = encode({"kubeconfig": "not even YAML: [", "clusterIdentifier": "x"})
    provider.Configure(provider_pb2.ConfigureRequest(args=arguments), None)
    kind = "kubernetes:core/v1:ConfigMap"
    inputs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": "v"}}
    made = provider.Create(
        provider_pb2.CreateRequest(urn=urn(kind), type=kind, properties=encode(inputs), preview=False), None
    )
    assert (made.id, decode(made.properties)["data"]) == ("n/a", {"k": "v"})
    assert provider.session.access is None


def test_a_diff_takes_every_instance_type_as_offered():
    filters = [{"name": "instance-type", "values": ["g6.xlarge"]}, {"name": "location", "values": ["z-a", "z-b"]}]
    answer = recording.all_offered({"locationType": "availability-zone", "filters": filters})
    assert list(zip(answer["instanceTypes"], answer["locations"], answer["locationTypes"], strict=True)) == [
        ("g6.xlarge", "z-a", "availability-zone"),
        ("g6.xlarge", "z-b", "availability-zone"),
    ]
