"""Controllers in the program: each whole or not there, and gone after what it serves."""

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


def test_gateways_are_bound_by_a_controller_that_is_there_before_them_and_goes_after_them(rehearsed: Rehearsed):
    rehearsal = rehearsed("prod")
    controller = rehearsal.one("kubernetes:apps/v1:Deployment", "load-balancer-controller")
    for colour in ("blue", "green"):
        gateway = rehearsal.one("kubernetes:apps/v1:Deployment", f"gateway-{colour}")
        binding = rehearsal.one("kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding", f"gateway-{colour}")
        assert controller.urn in gateway.dependencies
        assert controller.urn in binding.dependencies
        gates = gateway.inputs["spec"]["template"]["spec"]["readinessGates"]
        assert gates == [{"conditionType": f"target-health.elbv2.k8s.aws/{binding.inputs['metadata']['name']}"}]
    assert controller.inputs["spec"]["replicas"] == 2
    identity = rehearsal.one("aws:eks/podIdentityAssociation:PodIdentityAssociation", "load-balancer-controller")
    assert identity.urn in controller.dependencies


def test_target_groups_are_in_use_before_the_traffic_is_sent(stack: str, rehearsed: Rehearsed):
    """Else no gateway that waits for the load balancer would ever get ready, and the traffic waits for gateways."""
    rehearsal = rehearsed(stack)
    standing = rehearsal.one("aws:lb/listenerRule:ListenerRule", "edge-in-use")
    traffic = rehearsal.one("aws:lb/listenerRule:ListenerRule", "traffic")
    groups = {each.urn for each in rehearsal.of_type("aws:lb/targetGroup:TargetGroup")}
    assert groups <= standing.dependencies
    assert standing.inputs["priority"] > traffic.inputs["priority"]
    assert not any("kubernetes:" in urn for urn in standing.dependencies)


def test_a_stack_without_the_controller_binds_by_another_and_has_none_of_its_parts(rehearsed: Rehearsed):
    rehearsal = rehearsed("local")
    assert [each.name for each in rehearsal.registrations if "load-balancer-controller" in each.name] == []
    assert len(rehearsal.of_type("kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding")) == 2
    gateway = rehearsal.one("kubernetes:apps/v1:Deployment", "gateway-blue")
    assert "readinessGates" not in gateway.inputs["spec"]["template"]["spec"]


def test_the_boundary_is_on_every_role(rehearsed_with: Rehearsed):
    boundary = "arn:aws:iam::444455556666:policy/boundary"

    def bound(config: dict) -> None:
        config["penstock:access"]["permissionsBoundaryArn"] = boundary

    roles = rehearsed_with("prod", bound).of_type("aws:iam/role:Role")
    assert len(roles) > 5
    assert {role.inputs.get("permissionsBoundary") for role in roles} == {boundary}
