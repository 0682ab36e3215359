"""The AWS Load Balancer Controller's Kubernetes objects, as plain data. Pure functions.

It does one thing here: it registers the gateways' pods with the target groups that the program made, and opens their
readiness gates. Ingresses, services of type LoadBalancer, the Gateway API, firewalls and security groups are switched
off, and its rights are for that one thing (its source and chart, version 3.5).
"""

import pulumi

from components import pods
from components.controller import READ, on_system_nodes, rule
from components.definitions import open_definition
from components.ground import BINDING_GROUP, BINDING_VERSION
from components.manifests import PART_OF
from components.network_policies import to_aws
from components.pods import Manifest

NAME = "aws-load-balancer-controller"
NAMESPACE = "kube-system"
LEADER = "aws-load-balancer-controller-leader"
HEALTH_PORT = 61779
WEBHOOK_PORT = 9443
METRICS_PORT = 8080
CERTIFICATE_FOLDER = "/etc/penstock/webhook"
NO_CLASS = "penstock-takes-no-ingress"
MARKS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": PART_OF}
GATES_OFF = (
    "EnableServiceController", "NLBGatewayAPI", "ALBGatewayAPI", "GatewayListenerSet", "GlobalAcceleratorController",
    "ALBTargetControlAgent",
)  # fmt: skip
"""Features of version 3.5 that make or watch what is not a TargetGroupBinding."""


def definitions() -> dict[str, Manifest]:
    """The controller watches this type whenever the cluster knows ingress classes, and stops where it is missing."""
    return {
        "ingress-class-params": open_definition(
            BINDING_GROUP, BINDING_VERSION, "IngressClassParams", "ingressclassparams", "ingressclassparams"
        )
    }


def cluster_rules() -> list[Manifest]:
    """Reading alone: nodes, and the types that its ingress part watches though it never acts on one."""
    return [
        rule("", ["nodes", "namespaces"], READ),
        rule("networking.k8s.io", ["ingressclasses"], READ),
        rule(BINDING_GROUP, ["ingressclassparams"], READ),
    ]


def rules_of_the_platform() -> list[Manifest]:
    """In the namespace of gateways, the only one that it watches."""
    return [
        rule(BINDING_GROUP, ["targetgroupbindings"], [*READ, "patch", "update"]),
        rule(BINDING_GROUP, ["targetgroupbindings/status"], ["patch", "update"]),
        rule("", ["pods", "services", "endpoints"], READ),
        rule("discovery.k8s.io", ["endpointslices"], READ),
        rule("networking.k8s.io", ["ingresses"], READ),
        # The readiness gates of gateways are conditions of their pods.
        rule("", ["pods/status"], ["patch", "update"]),
        rule("", ["events"], ["create", "patch"]),
    ]


def rules_of_its_own() -> list[Manifest]:
    """The lease by which one replica leads."""
    return [
        rule("coordination.k8s.io", ["leases"], ["create"]),
        rule("coordination.k8s.io", ["leases"], ["get", "update", "patch"], [LEADER]),
        rule("", ["events"], ["create", "patch"]),
    ]


def policy() -> Manifest:
    """Nobody opens a connection to it but its node, for probes; it reaches the API server, AWS and DNS."""
    return {
        "podSelector": {"matchLabels": MARKS},
        "policyTypes": ["Ingress", "Egress"],
        "egress": to_aws(),
    }


def deployment(
    *,
    image: pulumi.Input[str],
    replicas: int,
    cluster: str,
    region: str,
    vpc_id: pulumi.Input[str],
    watched_namespace: pulumi.Input[str],
    certificate_secret: pulumi.Input[str],
) -> Manifest:
    """It runs on the system nodes. Its webhook server always starts and wants a certificate; no webhook is registered,
    so nobody calls it."""
    container = {
        "name": "controller",
        "image": image,
        "args": [
            f"--cluster-name={cluster}",
            f"--aws-region={region}",
            # Both are given, for pods cannot reach the node's metadata.
            pulumi.Output.concat("--aws-vpc-id=", vpc_id),
            pulumi.Output.concat("--watch-namespace=", watched_namespace),
            f"--ingress-class={NO_CLASS}",
            "--disable-ingress-class-annotation=true",
            "--enable-backend-security-group=false",
            "--enable-endpoint-slices=true",
            # Gateways declare their gates themselves.
            "--enable-pod-readiness-gate-inject=false",
            "--enable-shield=false",
            "--enable-waf=false",
            "--enable-wafv2=false",
            "--feature-gates=" + ",".join(f"{gate}=false" for gate in GATES_OFF),
            f"--leader-election-id={LEADER}",
            f"--metrics-bind-addr=:{METRICS_PORT}",
            f"--webhook-bind-port={WEBHOOK_PORT}",
            f"--webhook-cert-dir={CERTIFICATE_FOLDER}",
        ],
        "ports": [
            {"name": "http-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "livenessProbe": _probe("/healthz", 30),
        "readinessProbe": _probe("/readyz", 5),
        "resources": {"requests": pods.size(100, 128), "limits": {"memory": "256Mi"}},
        "securityContext": pods.container_security(read_only=True),
        "volumeMounts": [{"name": "certificate", "mountPath": CERTIFICATE_FOLDER, "readOnly": True}],
    }
    return on_system_nodes(
        NAME,
        NAMESPACE,
        MARKS,
        replicas,
        container,
        terminationGracePeriodSeconds=10,
        volumes=[{"name": "certificate", "secret": {"secretName": certificate_secret}}],
    )


def _probe(path: str, delay: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "health"},
        "initialDelaySeconds": delay,
        "timeoutSeconds": 10,
        "failureThreshold": 2,
    }
