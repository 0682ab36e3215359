"""Karpenter in the program: all of it or nothing, and its pools go before their controller."""

from __future__ import annotations

from collections.abc import Callable

from infra.rehearsal import Rehearsal

Rehearsed = Callable[..., Rehearsal]


def belongs(rehearsal: Rehearsal) -> list[str]:
    return [each.name for each in rehearsal.registrations if "Karpenter" in each.urn or "karpenter.sh" in each.type]


def test_a_stack_leaves_karpenter_out_by_a_setting_alone(rehearsed_with: Rehearsed):
    def leave_out(config: dict) -> None:
        config["penstock:controllers"]["karpenter"]["enabled"] = False

    assert belongs(rehearsed_with("prod", leave_out)) == []


def test_pools_are_made_after_the_controller_that_ends_their_nodes(rehearsed: Rehearsed):
    rehearsal = rehearsed("prod")
    controller = rehearsal.one("kubernetes:apps/v1:Deployment", "karpenter")
    node_class = rehearsal.one("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass", "karpenter-node-class")
    assert controller.urn in node_class.dependencies
    for pool in rehearsal.of_type("kubernetes:karpenter.sh/v1:NodePool"):
        assert node_class.urn in pool.dependencies
    definitions = {
        each.urn for each in rehearsal.of_type("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition")
    }
    assert len(definitions & controller.dependencies) == 3


def test_every_interruption_reaches_the_queue_that_karpenter_reads(rehearsed: Rehearsed):
    rehearsal = rehearsed("prod")
    queue = rehearsal.one("aws:sqs/queue:Queue", "karpenter-interruptions")
    targets = rehearsal.of_type("aws:cloudwatch/eventTarget:EventTarget")
    assert len(targets) == 4
    assert all(queue.urn in each.dependencies for each in targets)
    pod = rehearsal.one("kubernetes:apps/v1:Deployment", "karpenter").inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = {each["name"]: each.get("value") for each in container["env"]}
    assert settings["INTERRUPTION_QUEUE"] == "karpenter-interruptions-0000000"
