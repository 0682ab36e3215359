"""The Kubernetes objects that a controller has: account, rights, network policy, disruption budget, pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi
import pulumi_kubernetes as k8s

from components import pods
from components.manifests import SYSTEM_POOL, ZONE_LABEL
from components.pods import Manifest

READ = ("get", "list", "watch")


@dataclass(frozen=True)
class Rights:
    """Rules of a Role in one namespace. `short` is a part of the resource's name in Pulumi."""

    short: str
    namespace: pulumi.Input[str]
    rules: Sequence[Manifest]


@dataclass(frozen=True)
class Installation:
    app: str
    """Name of all its objects in Kubernetes."""
    namespace: pulumi.Input[str]
    marks: Mapping[str, str]
    """Labels of its pods, by which policy and budget find them."""
    deployment: Manifest
    policy: Manifest
    """The NetworkPolicy's `spec`."""
    cluster_rules: Sequence[Manifest] = ()
    rights: Sequence[Rights] = ()
    definitions: Mapping[str, Manifest] = field(default_factory=dict)
    """`spec` of each CustomResourceDefinition, by a short name."""


def on_system_nodes(
    name: str, namespace: str, marks: Mapping[str, str], replicas: int, container: Manifest, **more: Any
) -> Manifest:
    """A controller's Deployment: on the system pool, spread over zones, before workloads. `more`: of the pod's spec."""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": marks},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": marks},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": marks},
                "spec": {
                    "serviceAccountName": name,
                    "priorityClassName": "system-cluster-critical",
                    "securityContext": pods.pod_security(),
                    "affinity": pods.only_pools((SYSTEM_POOL,)),
                    "topologySpreadConstraints": [pods.spread(ZONE_LABEL, marks)],
                    "containers": [container],
                    **more,
                },
            },
        },
    }


def rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Manifest:
    found: Manifest = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**found, "resourceNames": list(names)} if names else found


def definitions(
    name: str, specs: Mapping[str, Manifest], opts: pulumi.ResourceOptions
) -> list[k8s.apiextensions.v1.CustomResourceDefinition]:
    return [
        k8s.apiextensions.v1.CustomResourceDefinition(
            f"{name}-{short}",
            metadata={"name": f"{spec['names']['plural']}.{spec['group']}"},
            spec=cast("k8s.apiextensions.v1.CustomResourceDefinitionSpecArgsDict", spec),
            opts=opts,
        )
        for short, spec in specs.items()
    ]


def install(
    name: str, wanted: Installation, opts: pulumi.ResourceOptions, after: Sequence[pulumi.Resource] = ()
) -> k8s.apps.v1.Deployment:
    """Makes all of it; the pods last. `opts` name the parent, `after` is what the pods wait for beside their rights."""
    marks = dict(wanted.marks)
    here: k8s.meta.v1.ObjectMetaArgsDict = {"name": wanted.app, "namespace": wanted.namespace, "labels": marks}
    needed: list[pulumi.Resource] = [k8s.core.v1.ServiceAccount(name, metadata=here, opts=opts), *after]
    needed += definitions(name, wanted.definitions, opts)
    needed += _rights(name, wanted, opts)
    needed.append(
        k8s.networking.v1.NetworkPolicy(
            name,
            metadata=here,
            spec=cast("k8s.networking.v1.NetworkPolicySpecArgsDict", wanted.policy),
            opts=opts,
        )
    )
    if wanted.deployment["spec"]["replicas"] > 1:
        # A budget for a single pod would block every node upgrade.
        needed.append(
            k8s.policy.v1.PodDisruptionBudget(
                name, metadata=here, spec={"max_unavailable": 1, "selector": {"match_labels": marks}}, opts=opts
            )
        )
    return k8s.apps.v1.Deployment(
        name,
        metadata=wanted.deployment["metadata"],
        spec=wanted.deployment["spec"],
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=needed)),
    )


def _rights(name: str, wanted: Installation, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Roles and their bindings; what is returned is waited for."""
    marks = dict(wanted.marks)
    subject: k8s.rbac.v1.SubjectArgsDict = {
        "kind": "ServiceAccount",
        "name": wanted.app,
        "namespace": wanted.namespace,
    }
    made: list[pulumi.Resource] = []
    if wanted.cluster_rules:
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"name": wanted.app, "labels": marks}
        made.append(k8s.rbac.v1.ClusterRole(name, metadata=metadata, rules=_rules(wanted.cluster_rules), opts=opts))
        made.append(
            k8s.rbac.v1.ClusterRoleBinding(
                name,
                metadata=metadata,
                role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": wanted.app},
                subjects=[subject],
                opts=opts,
            )
        )
    for each in wanted.rights:
        place: k8s.meta.v1.ObjectMetaArgsDict = {"name": wanted.app, "namespace": each.namespace, "labels": marks}
        made.append(k8s.rbac.v1.Role(f"{name}-{each.short}", metadata=place, rules=_rules(each.rules), opts=opts))
        made.append(
            k8s.rbac.v1.RoleBinding(
                f"{name}-{each.short}",
                metadata=place,
                role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": wanted.app},
                subjects=[subject],
                opts=opts,
            )
        )
    return made


def _rules(found: Sequence[Manifest]) -> list[k8s.rbac.v1.PolicyRuleArgsDict]:
    return [cast("k8s.rbac.v1.PolicyRuleArgsDict", each) for each in found]
