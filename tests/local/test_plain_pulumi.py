"""`eval "$(penstock env)"`, and then Pulumi, kubectl and AWS clients as anywhere else."""

import json
import sys

import pytest

from tests.local.conftest import Platform

pytestmark = [pytest.mark.local, pytest.mark.usefixtures("stack_files_unchanged")]


def test_a_plain_preview_finds_no_changes(platform: Platform):
    platform.run("pulumi", "preview", "-s", "local", "--expect-no-changes", "--non-interactive")


def test_a_plain_up_changes_nothing(platform: Platform):
    platform.run("pulumi", "up", "-s", "local", "--yes", "--expect-no-changes", "--non-interactive")


def test_outputs_are_readable_and_secrets_are_hidden_unless_asked_for(platform: Platform):
    hidden = json.loads(platform.run("pulumi", "stack", "output", "-s", "local", "--json").stdout)
    shown = json.loads(platform.run("pulumi", "stack", "output", "-s", "local", "--json", "--show-secrets").stdout)
    assert hidden["gatewayUrl"] == platform.variables["PENSTOCK_GATEWAY_URL"]
    assert hidden["apiKey"] == "[secret]"
    assert shown["apiKey"] == platform.variables["PENSTOCK_API_KEY"]


def test_configuration_is_readable(platform: Platform):
    config = json.loads(platform.run("pulumi", "config", "-s", "local", "--json").stdout)
    assert "penstock:release" in config


def test_a_preview_passes_the_policy_pack(platform: Platform):
    preview = platform.run("pulumi", "preview", "-s", "local", "--non-interactive")
    assert "penstock@" in preview.stdout.split("Policies:", 1)[-1]


def test_the_components_are_a_package(platform: Platform):
    schema = json.loads(platform.run("pulumi", "package", "get-schema", str(platform.checkout / "components")).stdout)
    assert schema["resources"]


def test_kubectl_sees_the_pods_as_the_platform_does(platform: Platform):
    pods = json.loads(platform.run("kubectl", "get", "pods", "-n", "penstock", "-o", "json").stdout)["items"]
    status = platform.penstock_json("status")
    there = {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] != "Succeeded"}
    assert there == {pod["name"] for pod in status["pods"]}


def test_the_stacks_own_kubeconfig_works_with_its_token_plugin(platform: Platform, tmp_path):
    outputs = json.loads(platform.run("pulumi", "stack", "output", "-s", "local", "--json", "--show-secrets").stdout)
    kubeconfig = tmp_path / "kubeconfig"
    content = outputs["kubeconfig"]
    kubeconfig.write_text(content if isinstance(content, str) else json.dumps(content))
    nodes = platform.run("kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "name").stdout.split()
    assert len(nodes) >= 3


def test_an_aws_client_needs_nothing_but_the_environment(platform: Platform):
    code = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    assert platform.run(sys.executable, "-c", code).stdout.strip() == "123456789012"
