"""What keeps a stack reviewable: empty previews, no drift, no secret in the open, changes in place."""

import json
import re
from pathlib import Path

import pytest

from tests.local.conftest import Platform

pytestmark = pytest.mark.local


@pytest.mark.usefixtures("stack_files_unchanged")
def test_a_second_preview_is_empty(platform: Platform):
    assert platform.penstock_json("preview", "--expect-no-changes") == []


@pytest.mark.usefixtures("stack_files_unchanged")
def test_a_refresh_finds_no_drift(platform: Platform):
    platform.run(
        "pulumi", "refresh", "-s", "local", "--preview-only", "--expect-no-changes", "--non-interactive"
    )  # fmt: skip


@pytest.mark.usefixtures("stack_files_unchanged")
def test_a_second_up_changes_nothing(platform: Platform):
    again = platform.penstock_json("up")
    assert again["api_key"] == platform.variables["PENSTOCK_API_KEY"], "the first key stays"


def test_no_secret_is_in_the_state_in_plain_text(platform: Platform):
    arguments = ("pulumi", "stack", "output", "-s", "local", "--json")
    hidden, shown = (json.loads(platform.run(*arguments, *more).stdout) for more in ((), ("--show-secrets",)))
    secrets = {name: shown[name] for name, value in hidden.items() if value == "[secret]"}
    assert {"apiKey", "kubeconfig"} <= set(secrets)
    passphrase = Path(platform.variables["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text().strip()
    texts = {"passphrase": passphrase, "apiKey": secrets["apiKey"]}
    backend = Path(platform.variables["PULUMI_BACKEND_URL"].removeprefix("file://"))
    for file in (path for path in backend.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for name, text in texts.items():
            assert text.encode() not in content, f"{name} is in {file.name}"


def test_what_holds_secrets_is_for_its_owner_alone(platform: Platform):
    for path in (platform.state, Path(platform.variables["PULUMI_CONFIG_PASSPHRASE_FILE"])):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_change_of_scale_is_made_in_place(platform: Platform, stack_file_restored: Path):
    def green_gateways() -> set[str]:
        pods = platform.penstock_json("status")["pods"]
        return {pod["name"] for pod in pods if (pod["app"], pod["colour"]) == ("gateway", "green")}

    before = green_gateways()
    text = stack_file_restored.read_text()
    head, green = text.split("    green:\n", 1)
    count = re.search(r"gatewayReplicas: (\d+)", green)
    assert count is not None
    more = int(count[1]) + 1
    stack_file_restored.write_text(f"{head}    green:\n{green.replace(count[0], f'gatewayReplicas: {more}', 1)}")

    changes = platform.penstock_json("preview")
    assert [(change["operation"], change["type"]) for change in changes] == [
        ("update", "kubernetes:apps/v1:Deployment")
    ], changes
    assert [prop["path"] for prop in changes[0]["properties"]] == ["spec.replicas"]
    platform.penstock("up", "--json")
    after = green_gateways()
    assert len(after) == more
    assert before < after, "the pods that ran still run"
