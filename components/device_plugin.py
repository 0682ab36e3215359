"""NVIDIA's device plugin, for node images that do not carry it: Amazon Linux's. Bottlerocket's have it built in."""

from typing import TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s

from components import pods
from components.manifests import PART_OF
from components.options import child_of
from components.pods import DEVICE_PLUGIN_LABEL, Manifest

NAME = "nvidia-device-plugin"
NAMESPACE = "kube-system"
FOLDER = "/var/lib/kubelet/device-plugins"
"""Where the kubelet listens for plugins."""
MARKS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": PART_OF}


class DevicePluginArgs(TypedDict):
    image: pulumi.Input[str]
    """Image of NVIDIA's device plugin, with tag or digest; the daemon set is that of version 0.20."""


def daemon_set(image: pulumi.Input[str]) -> Manifest:
    """One pod on each node whose group or pool says that it needs one (its published manifest, version 0.20).

    It runs as root, for the kubelet's folder is root's, with every capability dropped. On AL2023 the NVIDIA runtime is
    the default one, so no runtime class is named. It asks the API server for nothing.
    """
    container = {
        "name": "plugin",
        "image": image,
        # A GPU that fails must not take the node's other GPUs with it.
        "env": [{"name": "FAIL_ON_INIT_ERROR", "value": "true"}, {"name": "DEVICE_LIST_STRATEGY", "value": "envvar"}],
        "resources": {"requests": pods.size(50, 64), "limits": {"memory": "256Mi"}},
        "securityContext": pods.container_security(read_only=True),
        "volumeMounts": [{"name": "device-plugins", "mountPath": FOLDER}],
    }
    return {
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": MARKS},
        "spec": {
            "selector": {"matchLabels": MARKS},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": MARKS},
                "spec": {
                    "priorityClassName": "system-node-critical",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "nodeSelector": {DEVICE_PLUGIN_LABEL: "needed"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                    "volumes": [{"name": "device-plugins", "hostPath": {"path": FOLDER, "type": "Directory"}}],
                },
            },
        },
    }


def policy() -> Manifest:
    """It speaks to the kubelet by a socket and to nobody else."""
    return {"podSelector": {"matchLabels": MARKS}, "policyTypes": ["Ingress", "Egress"]}


class DevicePlugin(pulumi.ComponentResource):
    """A daemon set that tells the kubelet of its node's GPUs."""

    def __init__(self, name: str, args: DevicePluginArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:DevicePlugin", name, None, opts)
        child = child_of(self, opts)
        k8s.networking.v1.NetworkPolicy(
            name,
            metadata={"name": NAME, "namespace": NAMESPACE, "labels": MARKS},
            spec=cast("k8s.networking.v1.NetworkPolicySpecArgsDict", policy()),
            opts=child,
        )
        wanted = daemon_set(args["image"])
        k8s.apps.v1.DaemonSet(
            name,
            metadata=wanted["metadata"],
            spec=wanted["spec"],
            # Its pods come with the nodes that need them: there may be none yet.
            opts=child,
        )
        self.register_outputs({})
