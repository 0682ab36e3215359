"""The deployer's actions against the calls that the plug-in really makes for every resource type."""

from __future__ import annotations

from pathlib import Path

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider.calls import VARIABLE
from infra.local.aws.provider.servicer import Servicer
from infra.local.aws.provider.values import to_struct
from infra.policy.actions import iam_action
from infra.policy.needs_services import NEEDS
from tests.unit.aws_provider.conftest import REGION, Plugin, embedded_aws
from tests.unit.aws_provider.test_life_cycles import EVERY_CASE
from tests.unit.aws_provider.world import World

TAGS = '{"tags": {"project": "penstock"}}'


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Resource type to the IAM actions of its life: made, read, changed, deleted."""
    file = tmp_path_factory.mktemp("calls") / "calls.txt"
    # An account of its own: other tests keep what they share under the same names.
    with embedded_aws() as endpoint:
        plugin = Plugin(Servicer({"AWS_ENDPOINT_URL": endpoint, VARIABLE: str(file)}))
        request = provider_pb2.ConfigureRequest(args=to_struct({"region": REGION, "defaultTags": TAGS}))
        plugin.servicer.Configure(request, plugin.context)
        world = World(plugin)
        found: dict[str, set[str]] = {}
        for case in EVERY_CASE:
            # What a resource stands on is made before the record begins.
            inputs = case.inputs(world)
            changed = {**inputs, **case.change(world)} if case.change else None
            file.write_text("")
            made = plugin.create(case.kind, "recorded", inputs)
            plugin.read(made)
            made = plugin.update(made, changed) if changed else made
            plugin.delete(made)
            found.setdefault(case.kind, set()).update(map(iam_action, file.read_text().split()))
    return found


def test_the_deployer_may_make_every_recorded_call(recorded: dict[str, set[str]]) -> None:
    assert recorded.keys() <= NEEDS.keys(), "a new type needs a row in infra/policy/needs.py or needs_services.py"
    missing = {
        token: sorted(actions - NEEDS[token].reads() - NEEDS[token].writes()) for token, actions in recorded.items()
    }
    assert {token: actions for token, actions in missing.items() if actions} == {}


def test_what_is_granted_as_recorded_is_recorded(recorded: dict[str, set[str]]) -> None:
    """Everything else stands under `more`, with its reason."""
    idle = {token: sorted({*NEEDS[token].read, *NEEDS[token].write} - actions) for token, actions in recorded.items()}
    assert {token: actions for token, actions in idle.items() if actions} == {}


def test_the_record_is_one_operation_a_line(tmp_path: Path, endpoint: str) -> None:
    file = tmp_path / "calls.txt"
    plugin = Plugin(Servicer({"AWS_ENDPOINT_URL": endpoint, VARIABLE: str(file)}))
    plugin.servicer.Configure(provider_pb2.ConfigureRequest(args=to_struct({"region": REGION})), plugin.context)
    assert file.read_text() == "sts:GetCallerIdentity\n"
