"""What a cluster holds before a colour is released into it: namespace, identities, rights, the binding's type."""

from typing import TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components.migration import APP as MIGRATION
from components.pods import PART_OF, Manifest

BINDING_GROUP = "elbv2.k8s.aws"
BINDING_VERSION = "v1beta1"


class GroundArgs(TypedDict):
    namespace: str
    """Name of the Kubernetes namespace that is made; another name replaces it with all that is in it."""


def binding_definition() -> Manifest:
    """The TargetGroupBinding type, with the fields that Penstock writes.

    The AWS Load Balancer Controller brings the same type with more fields; unknown ones are kept, so either may be
    there first.
    """
    return {
        "metadata": {"name": f"targetgroupbindings.{BINDING_GROUP}"},
        "spec": {
            "group": BINDING_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "TargetGroupBinding",
                "listKind": "TargetGroupBindingList",
                "plural": "targetgroupbindings",
                "singular": "targetgroupbinding",
            },
            "versions": [
                {
                    "name": BINDING_VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": {
                                    "type": "object",
                                    "required": ["serviceRef", "targetGroupARN"],
                                    "x-kubernetes-preserve-unknown-fields": True,
                                    "properties": {
                                        "serviceRef": {
                                            "type": "object",
                                            "required": ["name", "port"],
                                            "properties": {
                                                "name": {"type": "string"},
                                                "port": {"x-kubernetes-int-or-string": True},
                                            },
                                        },
                                        "targetGroupARN": {"type": "string", "minLength": 1},
                                        "targetType": {"type": "string", "enum": ["instance", "ip"]},
                                    },
                                },
                                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            },
                        }
                    },
                }
            ],
        },
    }


class Ground(pulumi.ComponentResource):
    """A namespace with restricted pod security, service accounts, and the gateway's right to watch pods."""

    namespace: pulumi.Output[str]
    """The same name, known once the namespace is there."""

    def __init__(self, name: str, args: GroundArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Ground", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        marks = {"app.kubernetes.io/part-of": PART_OF}
        namespace = k8s.core.v1.Namespace(
            name,
            metadata={
                "name": args["namespace"],
                "labels": marks | {"pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=child,
        )
        here = namespace.metadata["name"]
        accounts = {
            app: k8s.core.v1.ServiceAccount(
                f"{name}-{app}",
                metadata={"name": app, "namespace": here, "labels": marks},
                # The others have no business with the API server.
                automount_service_account_token=app == "gateway",
                opts=child,
            )
            for app in ("gateway", "engine", MIGRATION)
        }
        role = k8s.rbac.v1.Role(
            f"{name}-gateway",
            metadata={"name": "gateway", "namespace": here, "labels": marks},
            rules=[{"api_groups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
            opts=child,
        )
        k8s.rbac.v1.RoleBinding(
            f"{name}-gateway",
            metadata={"name": "gateway", "namespace": here, "labels": marks},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": "gateway"},
            subjects=[{"kind": "ServiceAccount", "name": "gateway", "namespace": here}],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role, accounts["gateway"]]),
        )
        definition = binding_definition()
        k8s.apiextensions.v1.CustomResourceDefinition(
            f"{name}-target-group-binding", metadata=definition["metadata"], spec=definition["spec"], opts=child
        )
        self.namespace = here
        self.register_outputs({"namespace": here})
