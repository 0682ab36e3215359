"""The network policies, judged as Kubernetes does: what a pod may open and who may open a connection to it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from components.manifests import labels
from components.network_policies import network_policies

VPC = "10.64.0.0/16"
EDGE = ["10.64.192.0/22", "10.64.196.0/22"]
POLICIES = network_policies(VPC, EDGE)
PODS: dict[str, dict[str, Any]] = {
    "gateway": {"labels": labels("gateway", "blue"), "namespace": "penstock"},
    "engine": {"labels": labels("engine", "green", "tiny"), "namespace": "penstock"},
    "other": {"labels": {"app.kubernetes.io/name": "other"}, "namespace": "penstock"},
    "dns": {"labels": {"k8s-app": "kube-dns"}, "namespace": "kube-system"},
    "stranger": {"labels": labels("gateway", "blue"), "namespace": "elsewhere"},
}


def selects(selector: dict[str, Any], found: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= found.items()


def peer_fits(peer: dict[str, Any], end: str) -> bool:
    if "ipBlock" in peer:
        if end in PODS:
            return False
        address = ip_address(end)
        block = peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(each) for each in block.get("except", [])
        )
    pod = PODS.get(end)
    if pod is None or not selects(peer["podSelector"], pod["labels"]):
        return False
    spaces = peer.get("namespaceSelector")
    if spaces is None:
        return pod["namespace"] == "penstock"
    return selects(spaces, {"kubernetes.io/metadata.name": pod["namespace"]})


def allowed(direction: str, pod: str, end: str, port: int, protocol: str = "TCP") -> bool:
    """Whether any policy that selects `pod` allows it; all pods of the namespace are selected by `default-deny`."""
    chosen = [spec for spec in POLICIES.values() if selects(spec["podSelector"], PODS[pod]["labels"])]
    assert chosen
    return any(
        {"port": port, "protocol": protocol} in rule["ports"] and any(peer_fits(peer, end) for peer in rule[side])
        for spec in chosen
        for side in [{"ingress": "from", "egress": "to"}[direction]]
        for rule in spec.get(direction, [])
    )


@pytest.mark.parametrize(
    ("pod", "source", "port"),
    [("engine", "gateway", 8000), ("gateway", "10.64.192.7", 8080), ("gateway", "10.64.199.7", 8080)],
)
def test_engines_are_reached_by_gateways_and_gateways_by_the_load_balancer(pod: str, source: str, port: int):
    assert allowed("ingress", pod, source, port)


@pytest.mark.parametrize(
    ("pod", "source", "port"),
    [
        ("engine", "engine", 8000),
        ("engine", "other", 8000),
        ("engine", "stranger", 8000),
        ("engine", "10.64.192.7", 8000),
        ("gateway", "engine", 8080),
        ("gateway", "10.64.0.7", 8080),
        ("other", "gateway", 8080),
    ],
)
def test_nobody_else_reaches_a_pod(pod: str, source: str, port: int):
    assert not allowed("ingress", pod, source, port)


@pytest.mark.parametrize(
    ("pod", "end", "port", "protocol"),
    [
        ("gateway", "engine", 8000, "TCP"),
        ("gateway", "10.64.224.9", 6379, "TCP"),
        ("gateway", "10.64.224.9", 5432, "TCP"),
        ("gateway", "10.64.3.4", 443, "TCP"),
        ("gateway", "198.51.100.4", 443, "TCP"),
        ("gateway", "dns", 53, "UDP"),
        ("engine", "dns", 53, "TCP"),
        ("engine", "169.254.170.23", 80, "TCP"),
        ("engine", "198.51.100.4", 443, "TCP"),
    ],
)
def test_a_pod_opens_what_it_needs(pod: str, end: str, port: int, protocol: str):
    assert allowed("egress", pod, end, port, protocol)


@pytest.mark.parametrize(
    ("pod", "end", "port"),
    [
        ("engine", "gateway", 8080),
        ("engine", "10.64.224.9", 5432),
        ("engine", "10.64.224.9", 6379),
        ("engine", "10.64.3.4", 443),
        ("engine", "169.254.169.254", 80),
        ("gateway", "169.254.169.254", 80),
        ("gateway", "198.51.100.4", 80),
        ("other", "198.51.100.4", 443),
        ("other", "dns", 53),
    ],
)
def test_a_pod_opens_nothing_else(pod: str, end: str, port: int):
    assert not allowed("egress", pod, end, port)
