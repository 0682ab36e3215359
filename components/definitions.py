"""Custom resource types, most with open schemas: the fields that Penstock writes are named, others kept. Pure."""

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
    spec: Manifest | None = None,
) -> Manifest:
    """The `spec` of a CustomResourceDefinition. A controller's own definition may take its place at any time: what is
    not named here is kept as it was written, and no default stands in for what is missing.

    With a schema of `spec` the type is closed: the API server refuses what is not named there (server-side apply).
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
                            "spec": spec or ({**free, "required": list(required)} if required else free),
                            "status": free,
                        },
                    }
                },
            }
        ],
    }
