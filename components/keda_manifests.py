"""KEDA's Kubernetes objects, as plain data (its chart, version 2.20). Pure functions.

Two deployments: the operator, which reads triggers and makes autoscalers, and the adapter, which answers the
autoscalers' questions by way of the API server. The operator makes their certificates itself and writes the authority
into the APIService. Its admission webhooks and its own event sources are left out.
"""

from collections.abc import Sequence

import pulumi

from components import pods
from components.controller import READ, rule
from components.definitions import open_definition
from components.manifests import PART_OF, SYSTEM_POOL, ZONE_LABEL
from components.network_policies import SCALER, SCALER_NAMESPACE, scaler_egress, to_aws
from components.pods import Manifest

OPERATOR, ADAPTER = SCALER, "keda-operator-metrics-apiserver"
NAMESPACE = SCALER_NAMESPACE
"""Of its own: its operator lists every secret beside it before it starts."""
SYSTEM_NAMESPACE = "kube-system"
CERTIFICATES = "kedaorg-certs"
FOLDER = "/certs"
GRPC_PORT, ADAPTER_PORT, METRICS_PORT, HEALTH_PORT = 9666, 6443, 8080, 8081
GROUP = "keda.sh"
EXTERNAL_METRICS = "external.metrics.k8s.io"
CHANGE = (*READ, "create", "delete", "patch", "update")
ADJUST = (*READ, "patch", "update")


def marks(app: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": PART_OF}


def home() -> Manifest:
    """Metadata of its namespace."""
    labels = {"app.kubernetes.io/part-of": PART_OF, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"name": NAMESPACE, "labels": labels}


def definitions() -> dict[str, Manifest]:
    """All types that the operator watches: it stops where one is missing."""
    events = "eventing.keda.sh"
    return {
        "scaled-objects": open_definition(
            GROUP, "v1alpha1", "ScaledObject", "scaledobjects", "scaledobject",
            required=["scaleTargetRef", "triggers"], namespaced=True,
        ),
        "scaled-jobs": open_definition(
            GROUP, "v1alpha1", "ScaledJob", "scaledjobs", "scaledjob", required=["triggers"], namespaced=True
        ),
        "trigger-authentications": open_definition(
            GROUP, "v1alpha1", "TriggerAuthentication", "triggerauthentications", "triggerauthentication",
            namespaced=True,
        ),
        "cluster-trigger-authentications": open_definition(
            GROUP, "v1alpha1", "ClusterTriggerAuthentication", "clustertriggerauthentications",
            "clustertriggerauthentication",
        ),
        "cloud-event-sources": open_definition(
            events, "v1alpha1", "CloudEventSource", "cloudeventsources", "cloudeventsource", namespaced=True
        ),
        "cluster-cloud-event-sources": open_definition(
            events, "v1alpha1", "ClusterCloudEventSource", "clustercloudeventsources", "clustercloudeventsource"
        ),
    }  # fmt: skip


def operator_rules() -> list[Manifest]:
    """In the whole cluster: types without a namespace, and the APIService that takes its authority."""
    return [
        rule(GROUP, ["clustertriggerauthentications", "clustertriggerauthentications/status"], ADJUST),
        rule("eventing.keda.sh", ["clustercloudeventsources", "clustercloudeventsources/status"], ADJUST),
        rule("apiregistration.k8s.io", ["apiservices"], READ),
        rule("apiregistration.k8s.io", ["apiservices"], ["patch", "update"], [f"v1beta1.{EXTERNAL_METRICS}"]),
        rule("admissionregistration.k8s.io", ["validatingwebhookconfigurations"], READ),
    ]


def operator_rules_of_the_platform() -> list[Manifest]:
    """In the namespace of gateways and engines: it scales deployments there, and reads no secret."""
    own = ["scaledobjects", "scaledjobs", "triggerauthentications"]
    return [
        rule(GROUP, [*own, *(f"{each}/status" for each in own), *(f"{each}/finalizers" for each in own)], ADJUST),
        rule("eventing.keda.sh", ["cloudeventsources", "cloudeventsources/status"], ADJUST),
        rule("", ["pods", "services", "configmaps", "serviceaccounts", "limitranges"], READ),
        rule("discovery.k8s.io", ["endpointslices"], READ),
        rule("apps", ["deployments", "replicasets", "statefulsets"], READ),
        rule("apps", ["deployments/scale"], ADJUST),
        rule("autoscaling", ["horizontalpodautoscalers"], CHANGE),
        rule("batch", ["jobs"], READ),
        rule("", ["events"], ["create", "patch"]),
        rule("events.k8s.io", ["events"], ["create", "patch"]),
    ]


def operator_rules_of_its_own() -> list[Manifest]:
    """The lease by which one leads, and the certificates that it makes. A secret's name cannot limit its creation, nor
    the list of all that are here, which the operator takes before it starts (its `secretInformer`, 2.20.2)."""
    return [
        rule("coordination.k8s.io", ["leases"], ["create"]),
        rule("coordination.k8s.io", ["leases"], ["get", "patch", "update"], ["operator.keda.sh"]),
        rule("", ["secrets"], ["create"]),
        rule("", ["secrets"], READ),
        rule("", ["secrets"], ["update"], [CERTIFICATES]),
        rule("", ["events"], ["create", "patch"]),
    ]


def adapter_rules() -> list[Manifest]:
    """To ask the API server who is asking: what the role system:auth-delegator allows."""
    return [
        rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
        rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
    ]


def adapter_rules_of_the_api() -> list[Manifest]:
    """In kube-system: the authority of the API server's own requests."""
    return [rule("", ["configmaps"], READ, ["extension-apiserver-authentication"])]


def adapter_rules_of_the_platform() -> list[Manifest]:
    return [rule(GROUP, ["scaledobjects"], READ)]


def reader_rules() -> list[Manifest]:
    """What Kubernetes' autoscaler may read through the adapter."""
    return [rule(EXTERNAL_METRICS, ["externalmetrics"], ["get"])]


def operator_policy() -> Manifest:
    """The adapter asks it; it asks the API server, gateways for their demand, and whatever else its triggers name by
    HTTPS, in or outside the VPC."""
    return {
        "podSelector": {"matchLabels": marks(OPERATOR)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": marks(ADAPTER)}}],
                "ports": [{"port": GRPC_PORT, "protocol": "TCP"}],
            }
        ],
        "egress": scaler_egress(),
    }


def adapter_policy(vpc_cidr: str) -> Manifest:
    """The API server asks it, from an address of the cluster's subnets."""
    return {
        "podSelector": {"matchLabels": marks(ADAPTER)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": vpc_cidr}}], "ports": [{"port": ADAPTER_PORT, "protocol": "TCP"}]}],
        "egress": [
            *to_aws(),
            {
                "to": [{"podSelector": {"matchLabels": marks(OPERATOR)}}],
                "ports": [{"port": GRPC_PORT, "protocol": "TCP"}],
            },
        ],
    }


def operator(*, image: pulumi.Input[str], replicas: int, cluster: str, watched: pulumi.Input[str]) -> Manifest:
    arguments = [
        "--leader-elect",
        "--zap-log-level=info",
        "--zap-encoder=json",
        "--enable-webhook-patching=false",
        f"--cert-dir={FOLDER}",
        "--enable-cert-rotation=true",
        f"--cert-secret-name={CERTIFICATES}",
        f"--operator-service-name={OPERATOR}",
        f"--metrics-server-service-name={ADAPTER}",
        f"--k8s-cluster-name={cluster}",
        "--enable-prometheus-metrics=true",
        f"--metrics-bind-address=:{METRICS_PORT}",
    ]
    return _deployment(
        OPERATOR,
        replicas,
        {
            "image": image,
            "command": ["/keda"],
            "args": arguments,
            "env": [
                {"name": "WATCH_NAMESPACE", "value": watched},
                pods.from_field("POD_NAME", "metadata.name"),
                pods.from_field("POD_NAMESPACE", "metadata.namespace"),
                {"name": "OPERATOR_NAME", "value": OPERATOR},
                {"name": "KEDA_HTTP_MIN_TLS_VERSION", "value": "TLS12"},
                # Triggers that need a secret name one by a TriggerAuthentication in this namespace alone.
                {"name": "KEDA_RESTRICT_SECRET_ACCESS", "value": "true"},
            ],
            "ports": [
                {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
                {"name": "http-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
                {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
            ],
            "livenessProbe": _probe("/healthz", "health", "HTTP", 25),
            "readinessProbe": _probe("/readyz", "health", "HTTP", 20),
            "resources": {"requests": pods.size(100, 128), "limits": {"memory": "1000Mi"}},
        },
        made_later=True,
    )


def adapter(*, image: pulumi.Input[str], replicas: int, watched: pulumi.Input[str]) -> Manifest:
    arguments = [
        f"--port={METRICS_PORT}",
        f"--secure-port={ADAPTER_PORT}",
        "--logtostderr=true",
        f"--metrics-service-address={OPERATOR}.{NAMESPACE}.svc.cluster.local:{GRPC_PORT}",
        f"--client-ca-file={FOLDER}/ca.crt",
        f"--tls-cert-file={FOLDER}/tls.crt",
        f"--tls-private-key-file={FOLDER}/tls.key",
        f"--cert-dir={FOLDER}",
        "--v=0",
    ]
    return _deployment(
        ADAPTER,
        replicas,
        {
            "image": image,
            "command": ["/keda-adapter"],
            "args": arguments,
            "env": [
                {"name": "WATCH_NAMESPACE", "value": watched},
                pods.from_field("POD_NAMESPACE", "metadata.namespace"),
                {"name": "KEDA_RESTRICT_SECRET_ACCESS", "value": "true"},
            ],
            "ports": [
                {"name": "https", "containerPort": ADAPTER_PORT, "protocol": "TCP"},
                {"name": "http-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            ],
            "livenessProbe": _probe("/healthz", "https", "HTTPS", 5),
            "readinessProbe": _probe("/readyz", "https", "HTTPS", 5),
            "resources": {"requests": pods.size(100, 128), "limits": {"memory": "1000Mi"}},
        },
        made_later=False,
    )


def service(app: str, ports: Sequence[Manifest]) -> Manifest:
    return {
        "metadata": {"name": app, "namespace": NAMESPACE, "labels": marks(app)},
        "spec": {"type": "ClusterIP", "selector": marks(app), "ports": list(ports)},
    }


def services() -> dict[str, Manifest]:
    grpc = {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "protocol": "TCP"}
    https = {"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}
    return {"operator": service(OPERATOR, [grpc]), "adapter": service(ADAPTER, [https])}


def api_service() -> Manifest:
    """The `spec` of the APIService. The operator adds the authority."""
    return {
        "service": {"name": ADAPTER, "namespace": NAMESPACE, "port": 443},
        "group": EXTERNAL_METRICS,
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }


def _deployment(app: str, replicas: int, container: Manifest, *, made_later: bool) -> Manifest:
    """`made_later`: the certificates' secret may be missing when the pod starts, for this one makes it."""
    own = marks(app)
    mounted = {"name": "certificates", "mountPath": FOLDER, "readOnly": True}
    return {
        "metadata": {"name": app, "namespace": NAMESPACE, "labels": own},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": own},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": own},
                "spec": {
                    "serviceAccountName": app,
                    "priorityClassName": "system-cluster-critical",
                    "securityContext": pods.pod_security(),
                    "affinity": pods.only_pools((SYSTEM_POOL,)),
                    "topologySpreadConstraints": [pods.spread(ZONE_LABEL, own)],
                    "containers": [
                        {
                            "name": app,
                            "securityContext": pods.container_security(read_only=True),
                            "volumeMounts": [mounted],
                            **container,
                        }
                    ],
                    "volumes": [
                        {"name": "certificates", "secret": {"secretName": CERTIFICATES, "optional": made_later}}
                    ],
                },
            },
        },
    }


def _probe(path: str, port: str, scheme: str, delay: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": port, "scheme": scheme},
        "initialDelaySeconds": delay,
        "timeoutSeconds": 3,
    }
