"""What the API server takes in a NodePool and an EC2NodeClass: every field of Karpenter 1.14 by name and type. Pure.

A field that Karpenter does not know, a value outside an enumeration or a missing part is refused where the object is
written, and not found in a controller's log. Fields, types and bounds are those of Karpenter's own definitions
(sigs.k8s.io/karpenter and github.com/aws/karpenter-provider-aws, v1.14.1). Their defaults are left out, for our objects
name every value, and so are most of their rules across fields.
"""

from collections.abc import Sequence
from typing import Any

from components.pods import Manifest

DURATION = r"^([0-9]+(s|m|h))+$"
DURATION_OR_NEVER = r"^(([0-9]+(s|m|h))+|Never)$"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte")
SWITCH = ("enabled", "disabled")
VOLUME_SIZE = r"^[1-9][0-9]{0,4}(Gi|G|Ti|T)$"
VOLUMES = ("standard", "io1", "io2", "gp2", "sc1", "st1", "gp3")


def text(pattern: str = "", *, among: Sequence[str] = ()) -> Manifest:
    return {
        "type": "string",
        **({"pattern": pattern} if pattern else {}),
        **({"enum": list(among)} if among else {}),
    }


def whole(least: int | None = None, most: int | None = None) -> Manifest:
    bounds = {"minimum": least, "maximum": most}
    return {"type": "integer", **{name: value for name, value in bounds.items() if value is not None}}


def object_of(
    fields: dict[str, Manifest], *, required: Sequence[str] = (), rules: dict[str, str] | None = None
) -> Manifest:
    """`rules`: a rule in CEL -> what is said where it does not hold."""
    return {
        "type": "object",
        "properties": fields,
        **({"required": list(required)} if required else {}),
        **({"x-kubernetes-validations": _rules(rules)} if rules else {}),
    }


def list_of(item: Manifest, least: int = 0, most: int = 50, rules: dict[str, str] | None = None) -> Manifest:
    return {
        "type": "array",
        "items": item,
        "maxItems": most,
        **({"minItems": least} if least else {}),
        **({"x-kubernetes-validations": _rules(rules)} if rules else {}),
    }


def mapping_of(value: Manifest) -> Manifest:
    return {"type": "object", "additionalProperties": value, "maxProperties": 100}


def _rules(rules: dict[str, str]) -> list[dict[str, Any]]:
    return [{"rule": rule, "message": message} for rule, message in rules.items()]


FLAG: Manifest = {"type": "boolean"}
QUANTITY: Manifest = {"x-kubernetes-int-or-string": True}
TEXTS = mapping_of(text())


def node_pool() -> Manifest:
    """The schema of `spec`."""
    taint = object_of(
        {"key": text(), "value": text(), "effect": text(among=EFFECTS), "timeAdded": text()}, required=["key", "effect"]
    )
    requirement = object_of(
        {
            "key": {**text(), "maxLength": 316},
            "operator": text(among=OPERATORS),
            "values": list_of({**text(LABEL_VALUE), "maxLength": 63}, most=100),
            "minValues": whole(1, 50),
        },
        required=["key", "operator"],
        rules={"self.operator != 'In' || (has(self.values) && size(self.values) > 0)": "In needs values"},
    )
    budget = object_of(
        {
            "nodes": text(r"^((100|[0-9]{1,2})%|[0-9]+)$"),
            "schedule": text(),
            "duration": text(r"^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$"),
            "reasons": list_of(text(among=("Underutilized", "Empty", "Drifted"))),
        },
        required=["nodes"],
        rules={"has(self.schedule) == has(self.duration)": "schedule and duration stand together"},
    )
    template = object_of(
        {
            "metadata": object_of({"labels": mapping_of(text(LABEL_VALUE)), "annotations": TEXTS}),
            "spec": object_of(
                {
                    "nodeClassRef": object_of(
                        {"group": text("^[^/]+$"), "kind": text("."), "name": text(".")},
                        required=["group", "kind", "name"],
                    ),
                    "requirements": list_of(requirement, most=100),
                    "taints": list_of(taint),
                    "startupTaints": list_of(taint),
                    "expireAfter": text(DURATION_OR_NEVER),
                    "terminationGracePeriod": text(DURATION),
                },
                required=["nodeClassRef", "requirements"],
            ),
        },
        required=["spec"],
    )
    policies = ("WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced")
    disruption = object_of(
        {
            "consolidationPolicy": text(among=policies),
            "consolidateAfter": text(DURATION_OR_NEVER),
            "budgets": list_of(budget),
        },
        required=["consolidateAfter"],
    )
    return object_of(
        {
            "template": template,
            "disruption": disruption,
            "limits": mapping_of(QUANTITY),
            "weight": whole(1, 100),
            "replicas": whole(0),
        },
        required=["template"],
    )


def node_class() -> Manifest:
    """The schema of `spec`."""
    ebs = object_of(
        {
            "deleteOnTermination": FLAG,
            "encrypted": FLAG,
            "iops": whole(),
            "kmsKeyID": text(),
            "snapshotID": text(),
            "throughput": whole(),
            "volumeInitializationRate": whole(100, 300),
            "volumeSize": text(VOLUME_SIZE),
            "volumeType": text(among=VOLUMES),
        },
        rules={"has(self.snapshotID) || has(self.volumeSize)": "volumeSize or snapshotID is needed"},
    )
    image = {key: text() for key in ("alias", "name", "owner", "ssmParameter")}
    reservation = {
        "id": text("^cr-[0-9a-z]+$"),
        "tags": TEXTS,
        "ownerID": text("^[0-9]{12}$"),
        "instanceMatchCriteria": text(among=("open", "targeted")),
    }
    metadata = {
        "httpEndpoint": text(among=SWITCH),
        "httpProtocolIPv6": text(among=SWITCH),
        "httpPutResponseHopLimit": whole(1, 64),
        "httpTokens": text(among=("required", "optional")),
    }
    card = {
        "deviceIndex": whole(0),
        "interfaceType": text(among=("interface", "efa-only")),
        "networkCardIndex": whole(0),
    }
    return object_of(
        {
            "amiFamily": text(),
            "amiSelectorTerms": list_of(object_of({**image, "id": text("ami-[0-9a-z]+"), "tags": TEXTS}), 1, 30),
            "associatePublicIPAddress": FLAG,
            "blockDeviceMappings": list_of(object_of({"deviceName": text(), "ebs": ebs, "rootVolume": FLAG})),
            "capacityReservationSelectorTerms": list_of(object_of(reservation), most=30),
            "connectionTracking": object_of(
                {
                    "tcpEstablishedTimeout": whole(60, 432_000),
                    "udpStreamTimeout": whole(60, 180),
                    "udpTimeout": whole(30, 60),
                }
            ),
            "context": text(),
            "cpuOptions": object_of({"nestedVirtualization": text(among=SWITCH)}),
            "detailedMonitoring": FLAG,
            "instanceProfile": text("."),
            "instanceStorePolicy": text(among=("RAID0",)),
            "ipPrefixCount": whole(0),
            "kubelet": _kubelet(),
            "metadataOptions": object_of(metadata),
            "networkInterfaces": list_of(object_of(card, required=[*card]), most=150),
            "placementGroupSelector": object_of({"id": text("^pg-[0-9a-z]+$"), "name": text()}),
            "role": text("."),
            "securityGroupSelectorTerms": list_of(
                object_of({"id": text("sg-[0-9a-z]+"), "name": text(), "tags": TEXTS}), 1, 30
            ),
            "subnetSelectorTerms": list_of(object_of({"id": text("subnet-[0-9a-z]+"), "tags": TEXTS}), 1, 30),
            "tags": TEXTS,
            "userData": text(),
        },
        required=["amiSelectorTerms", "securityGroupSelectorTerms", "subnetSelectorTerms"],
        rules={"has(self.role) != has(self.instanceProfile)": "either role or instanceProfile is needed"},
    )


def _kubelet() -> Manifest:
    reserves = dict.fromkeys(("evictionHard", "evictionSoft", "evictionSoftGracePeriod"), TEXTS)
    return object_of(
        {
            **reserves,
            "clusterDNS": list_of(text()),
            "cpuCFSQuota": FLAG,
            "evictionMaxPodGracePeriod": whole(),
            "imageGCHighThresholdPercent": whole(0, 100),
            "imageGCLowThresholdPercent": whole(0, 100),
            "kubeReserved": TEXTS,
            "systemReserved": TEXTS,
            "maxPods": whole(0),
            "podsPerCore": whole(0),
        }
    )
