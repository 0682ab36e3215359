"""Custom resource types with open schemas: the fields that Penstock writes are named, all others are kept. Pure."""

from collections.abc import Sequence

from components.pods import Manifest


def open_definition(
    group: str,
    version: str,
    kind: str,
    plural: str,
    singular: str,
    *,
    required: Sequence[str] = (),
    namespaced: bool = False,
) -> Manifest:
    """The `spec` of a CustomResourceDefinition. A controller's own definition may take its place at any time: what is
    not named here is kept as it was written, and no default stands in for what is missing.
    """
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "group": group,
        "scope": "Namespaced" if namespaced else "Cluster",
        "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": singular},
        "versions": [
            {
                "name": version,
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
                            "spec": {**free, "required": list(required)} if required else free,
                            "status": free,
                        },
                    }
                },
            }
        ],
    }
