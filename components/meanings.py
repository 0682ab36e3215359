"""What a name means that many components have, said once. A field's own docstring goes before. Pure functions."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.arns import PARTITIONS

SHARED: Mapping[str, str] = {
    "accountId": "The AWS account, 12 digits, in which all of it is made: policies and ARNs name it.",
    "blueTargetGroupArn": "Target group, by ARN, of the gateways of the colour blue.",
    "clusterName": "The EKS cluster's name as `Cluster` gives it out, so that this waits for the cluster.",
    "cpuMillicores": "CPU that each pod asks for, in thousandths of a core.",
    "databaseTls": (
        "How the database is connected to: `prefer` and `require` verify nothing, `verify-full` takes AWS's own roots "
        "alone."
    ),
    "greenTargetGroupArn": "Target group, by ARN, of the gateways of the colour green.",
    "instanceType": "EC2 instance type that is reserved, such as p5.48xlarge.",
    "listenerArn": "The load balancer's listener, by ARN, on which rules are set.",
    "loadBalancerDimension": "The load balancer's name in CloudWatch metrics: the end of its ARN, `app/<name>/<id>`.",
    "logRetentionDays": "How long its logs are kept, in days: a number that CloudWatch takes, such as 30 or 365.",
    "logsKeyArn": "KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`).",
    "memoryMib": "Memory of each pod in MiB: what it asks for, and its limit.",
    "namespace": "The Kubernetes namespace of gateways and engines, as `Ground` gives it out.",
    "partition": f"The AWS partition, the second part of every ARN: {' or '.join(PARTITIONS)}.",
    "region": "The AWS region, such as eu-central-1, in which the provider makes it.",
    "reservationId": "Id of the capacity reservation in EC2, such as cr-0123456789abcdef0.",
    "stack": "The stack's name, as the tag `stack` of its resources has it.",
    "topicArn": "SNS topic, by ARN, on which it speaks (`topicArn` of `Events`).",
    "volumeGib": "Volume of each node for images and pods, in GiB of gp3, 20 or more.",
    "volumesKeyArn": "KMS key that encrypts the nodes' volumes (`volumes` of `DataKeys`).",
    "vpcId": "Id of the VPC, as `Network` gives it out.",
}
"""By the name that the schema has."""
KINDS = ("inputProperties", "properties")
"""Inputs of a component; its outputs, and the properties of a type."""


def with_shared_meanings(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema: what is not described and has a name of the table is described by it."""
    described = {
        each: {
            token: {**row, **{kind: _described(row[kind]) for kind in KINDS if kind in row}}
            for token, row in schema[each].items()
        }
        for each in ("resources", "types")
    }
    return {**schema, **described}


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Token, name and schema of each input, output and property."""
    for token, row in (*schema["resources"].items(), *schema["types"].items()):
        for kind in KINDS:
            yield from ((token, name, field) for name, field in row.get(kind, {}).items())


def _described(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**({"description": SHARED[name]} if name in SHARED else {}), **field}
        for name, field in properties.items()
    }
