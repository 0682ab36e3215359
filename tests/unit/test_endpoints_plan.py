"""Endpoints that follow from what runs, and images that a network without a way out can pull."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.endpoints import NEEDS, image_sources, interface_endpoints, private_needs
from tests.unit.settings_cases import Values, problems

part_lists = st.lists(st.sampled_from(sorted(NEEDS)))


@given(part_lists)
def test_each_part_finds_what_it_calls_and_nothing_else_is_paid_for(parts: list[str]):
    found = interface_endpoints(parts)
    assert set(found) == {service for part in parts for service in NEEDS[part]}
    assert found == sorted(set(found))


@given(part_lists, st.sampled_from(sorted(NEEDS)))
def test_a_part_more_takes_no_endpoint_away(parts: list[str], more: str):
    assert set(interface_endpoints(parts)) <= set(interface_endpoints([*parts, more]))


def test_an_unknown_part_is_named_with_those_that_are_allowed():
    with pytest.raises(ValueError, match=r"teleport: no such part; allowed: bedrock, .*nodes"):
        interface_endpoints(["nodes", "teleport"])


@pytest.mark.parametrize(
    ("image", "registry", "remedy"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com/penstock/gateway@sha256:0", None, ""),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/penstock/gateway:1", None, ""),
        ("public.ecr.aws/karpenter/controller:1", "public.ecr.aws", "pull-through cache rule for public.ecr.aws"),
        ("redis:7", "docker.io", "pull-through cache rule for docker.io"),
        ("vllm/vllm-openai:v1", "docker.io", "pull-through cache rule for docker.io"),
        ("nvcr.io/nvidia/k8s-device-plugin:1", "nvcr.io", "a copy in a repository"),
        ("123456789012.dkr.ecr.evil.example.com/x:1", "123456789012.dkr.ecr.evil.example.com", "a copy"),
    ],
)
def test_only_private_repositories_are_reached_from_the_inside(image: str, registry: str | None, remedy: str):
    (source,) = image_sources([image])
    assert source.registry == (registry or image.partition("/")[0])
    assert source.reachable == (registry is None)
    assert remedy in source.remedy


def test_the_needs_of_a_private_network_name_what_it_cannot_reach():
    needs = private_needs(["nodes"], ["quay.io/a/b:1", "quay.io/a/c:1"])
    assert needs.interface_endpoints == ("ec2", "ecr.api", "ecr.dkr", "eks", "sts")
    assert needs.gateway_endpoints == ("s3",)
    assert [(it.registry, it.images) for it in needs.unreachable] == [("quay.io", ("quay.io/a/b:1", "quay.io/a/c:1"))]


def private(values: Values) -> None:
    values["network"]["natGateways"] = "none"
    values["network"]["interfaceEndpoints"] = "needed"


def test_a_protected_stack_may_do_without_a_way_out():
    assert problems(private, "prod") == {}


def test_a_network_without_nat_and_endpoints_is_refused():
    def edit(values: Values) -> None:
        private(values)
        values["network"]["interfaceEndpoints"] = "none"

    assert "allowed: needed" in problems(edit, "prod")["network.interfaceEndpoints"]


def test_a_network_without_a_way_out_cannot_download_weights():
    def edit(values: Values) -> None:
        private(values)
        values["models"][0]["source"] = "Qwen/Qwen3-8B"

    assert list(problems(edit, "prod")) == ["models[0].source"]


def test_the_page_on_the_network_names_what_each_part_needs():
    """By their services, since the page has words of its own for the parts."""
    page = (Path(__file__).parents[2] / "docs" / "network.md").read_text()
    table = page.partition("| part | endpoints |")[2].partition("\n\n")[0]
    told = Counter(tuple(re.findall(r"`([a-z0-9.-]+)`", row.split("|")[2])) for row in table.splitlines()[2:])
    assert told == Counter(tuple(services) for services in NEEDS.values())
