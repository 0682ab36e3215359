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


def scaled(config: dict) -> None:
    config["penstock:controllers"]["keda"]["enabled"] = True
    config["penstock:controllers"]["devicePlugin"]["enabled"] = True
    config["penstock:nodeGroups"]["gpu"]["amiType"] = "AL2023_x86_64_NVIDIA"


def test_keda_comes_whole_before_what_it_scales_and_its_api_goes_first(rehearsed_with: Rehearsed):
    rehearsal = rehearsed_with("prod", scaled)
    operator = rehearsal.one("kubernetes:apps/v1:Deployment", "keda-operator")
    adapter = rehearsal.one("kubernetes:apps/v1:Deployment", "keda-adapter")
    api = rehearsal.one("kubernetes:apiregistration.k8s.io/v1:APIService", "keda")
    assert operator.urn in adapter.dependencies
    assert adapter.urn in api.dependencies
    types = rehearsal.of_type("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition")
    assert len({each.urn for each in types} & operator.dependencies) == 6
    engines = [each for each in rehearsal.of_type("kubernetes:apps/v1:Deployment") if each.name.startswith("engine-")]
    assert engines
    assert all(api.urn in each.dependencies for each in engines), "which comes after all of it"


def test_kedas_operator_reads_secrets_of_a_namespace_that_holds_nothing_else(rehearsed: Rehearsed):
    rehearsal = rehearsed("prod")
    roles = [
        each.inputs
        for kind in ("Role", "ClusterRole")
        for each in rehearsal.of_type(f"kubernetes:rbac.authorization.k8s.io/v1:{kind}")
        if each.parent_name == "keda"
    ]
    reading = {
        role["metadata"].get("namespace", "everywhere")
        for role in roles
        if any("secrets" in rule["resources"] for rule in role["rules"])
    }
    assert reading == {"keda"}
    beside = [
        each.name
        for each in rehearsal.registrations
        if each.inputs.get("metadata", {}).get("namespace") == "keda" and each.parent_name != "keda"
    ]
    assert not beside
    home = rehearsal.one("kubernetes:core/v1:Namespace", "keda")
    assert home.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    here = [each for each in rehearsal.registrations if each.inputs.get("metadata", {}).get("namespace") == "keda"]
    assert len(here) > 8
    assert all(home.urn in each.dependencies for each in here), "nothing is made before its namespace"
    closed = rehearsal.one("kubernetes:networking.k8s.io/v1:NetworkPolicy", "keda-default-deny")
    assert closed.inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_device_plugin_meets_the_nodes_that_need_it(rehearsed_with: Rehearsed):
    rehearsal = rehearsed_with("prod", scaled)
    plugin = rehearsal.one("kubernetes:apps/v1:DaemonSet", "device-plugin").inputs["spec"]["template"]["spec"]
    matching = {
        each.name
        for each in rehearsal.of_type("aws:eks/nodeGroup:NodeGroup")
        if plugin["nodeSelector"].items() <= each.inputs["labels"].items()
    }
    assert matching == {"nodes-gpu"}


def test_images_of_what_is_not_wanted_have_no_repository(rehearsed: Rehearsed, rehearsed_with: Rehearsed):
    def repositories(rehearsal: Rehearsal) -> set[str]:
        return {each.name for each in rehearsal.of_type("aws:ecr/repository:Repository")}

    more = repositories(rehearsed_with("prod", scaled)) - repositories(rehearsed("prod"))
    assert more == {"registry-device-plugin"}
    scaler = {"registry-keda", "registry-keda-metrics-apiserver"}
    assert repositories(rehearsed("prod")) - repositories(rehearsed("dev")) == scaler
    assert repositories(rehearsed("local")) == {"registry-gateway", "registry-engine", "registry-karpenter"}
