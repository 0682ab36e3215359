"""KEDA and the device plugin: rights that are enough and no more, and who may speak to them."""

from __future__ import annotations

from typing import Any

import pytest

from components import device_plugin
from components import keda_manifests as keda
from components.pods import DEVICE_PLUGIN_LABEL, device_plugin_label
from tests.unit.settings_cases import Values, problems, put

AMAZON_LINUX = "AL2023_x86_64_NVIDIA"


def written(rules: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for each in rules:
        for resource in each["resources"]:
            verbs = set(each["verbs"]) - {"get", "list", "watch"}
            if verbs:
                found.setdefault((each["apiGroups"][0], resource), set()).update(verbs)
    return found


def test_the_operator_scales_deployments_of_one_namespace_and_changes_no_other_workload():
    there = written(keda.operator_rules_of_the_platform())
    assert there["apps", "deployments/scale"] == {"patch", "update"}
    assert there["autoscaling", "horizontalpodautoscalers"] == {"create", "delete", "patch", "update"}
    assert {group for group, _ in there} == {"keda.sh", "eventing.keda.sh", "apps", "autoscaling", "", "events.k8s.io"}
    assert {resource for group, resource in there if group == ""} == {"events"}
    assert ("apps", "deployments") not in there


def test_no_secret_outside_of_its_namespace_can_be_read_and_none_but_its_own_certificates_changed():
    everywhere = [
        *keda.operator_rules(), *keda.operator_rules_of_the_platform(), *keda.adapter_rules(),
        *keda.adapter_rules_of_the_platform(), *keda.adapter_rules_of_the_api(), *keda.reader_rules(),
    ]  # fmt: skip
    assert not any("secrets" in each["resources"] for each in everywhere)
    own = [each for each in keda.operator_rules_of_its_own() if "secrets" in each["resources"]]
    changing = [each for each in own if set(each["verbs"]) & {"update", "patch", "delete"}]
    assert [each["resourceNames"] for each in changing] == [[keda.CERTIFICATES]]
    assert not any("*" in [*each["verbs"], *each["resources"], *each["apiGroups"]] for each in [*everywhere, *own])


def test_in_the_whole_cluster_only_the_api_of_its_metrics_is_changed():
    named = [each for each in keda.operator_rules() if "apiservices" in each["resources"] and "patch" in each["verbs"]]
    assert [each["resourceNames"] for each in named] == [["v1beta1.external.metrics.k8s.io"]]
    assert ("admissionregistration.k8s.io", "validatingwebhookconfigurations") not in written(keda.operator_rules())


def test_only_the_adapter_asks_the_operator_and_only_the_networks_hosts_ask_the_adapter():
    (asked,) = keda.operator_policy()["ingress"]
    assert asked["from"] == [{"podSelector": {"matchLabels": keda.marks(keda.ADAPTER)}}]
    (asked,) = keda.adapter_policy("10.0.0.0/16")["ingress"]
    assert asked["from"] == [{"ipBlock": {"cidr": "10.0.0.0/16"}}]


def test_the_adapter_looks_for_the_operator_under_its_services_name_and_port():
    adapter = keda.adapter(image="image", replicas=2, watched="penstock")
    (container,) = adapter["spec"]["template"]["spec"]["containers"]
    service = keda.services()["operator"]
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
    port = service["spec"]["ports"][0]["port"]
    assert f"--metrics-service-address={address}:{port}" in container["args"]
    assert keda.api_service()["service"]["name"] == keda.services()["adapter"]["metadata"]["name"]
    operator = keda.operator(image="image", replicas=2, cluster="c", watched="penstock")
    for deployment, optional in ((operator, True), (adapter, False)):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["volumes"][0]["secret"] == {"secretName": keda.CERTIFICATES, "optional": optional}


def test_the_plugin_runs_where_the_image_lacks_it_and_with_no_capability():
    pod = device_plugin.daemon_set("image")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == device_plugin_label(AMAZON_LINUX) == {DEVICE_PLUGIN_LABEL: "needed"}
    for image in ("BOTTLEROCKET_x86_64_NVIDIA", "BOTTLEROCKET_x86_64", "AL2023_x86_64_STANDARD"):
        assert device_plugin_label(image) == {}
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert not pod["automountServiceAccountToken"]
    assert device_plugin.policy().keys() == {"podSelector", "policyTypes"}, "nobody speaks to it, it speaks to nobody"


def with_plugin(enabled: bool, path: str, value: Any) -> dict[str, str]:
    def edit(values: Values) -> None:
        put("controllers.devicePlugin.enabled", enabled)(values)
        put("controllers.karpenter.enabled", True)(values)
        put("controllers.karpenter.maxGpus", 1)(values)
        put(path, value)(values)

    return problems(edit)


@pytest.mark.parametrize(
    ("path", "value"),
    [("nodeGroups.gpu.amiType", AMAZON_LINUX), ("controllers.karpenter.amiAlias", "al2023@v20260714")],
)
def test_amazon_linux_needs_the_plugin_and_is_taken_with_it(path: str, value: str):
    assert with_plugin(True, path, value) == {}
    assert "controllers.devicePlugin.enabled is false" in with_plugin(False, path, value)[path]
