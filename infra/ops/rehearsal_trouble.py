"""What goes wrong when real stacks are destroyed, made to happen in a rehearsal.

A node claim whose controller does not answer any more, an interface that the cluster's networking forgot, and a volume
that nobody deletes: the destroy has to get past the first two, and to name the last with its price. Bindings have a
living controller here: the node agent keeps the promise of their finalizers.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.ops.errors import PenstockError

if TYPE_CHECKING:
    from infra.ops.cost.prices import Table
    from infra.ops.destroy.run import Report
    from infra.ops.kube import Cluster
    from infra.ops.stacks import State

CLAIM = "rehearsal-stuck"
INTERFACE_TEXT = "aws-K8S-i-0123456789abcdef0"
VOLUME_GIB = 100
NODE_CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
CLAIM_FINALIZER = "karpenter.sh/termination"


@dataclass(frozen=True)
class Trouble:
    """`instance` is empty where the stack has no Karpenter."""

    instance: str
    interface: str
    volume: str

    def missed(self, report: Report, table: Table) -> list[str]:
        """What the destroy should have reported and did not. Not every region's table has the price of a volume."""
        freed = {(each.object, each.finalizer) for each in report.freed}
        wrong = []
        if self.instance and (f"nodeclaims/{CLAIM}", CLAIM_FINALIZER) not in freed:
            wrong.append("the stuck NodeClaim was not freed")
        if self.interface not in {each.id for each in report.interfaces}:
            wrong.append("the forgotten interface was not deleted")
        found = [each for each in report.left if each.arn.endswith(self.volume)]
        price = table.get("ebs:gp3-gib-month")
        if not found:
            wrong.append("the orphaned volume was not named")
        elif found[0].usd != (None if price is None else round(price.usd * VOLUME_GIB, 2)):
            wrong.append(f"the orphaned volume was named with a price of {found[0].usd} USD a month")
        if others := [each.arn for each in report.left if each not in found]:
            wrong.append(f"more is left: {', '.join(others)}")
        return wrong


def plant(cluster: Cluster, aws: Any, state: State, stack: str) -> Trouble:
    """`aws` makes a client for a service. Raises PenstockError where the stack has no network."""
    ec2 = aws("ec2")
    subnets = [each for each in state.resources if each.type == "aws:ec2/subnet:Subnet"]
    if not subnets:
        raise PenstockError("The stack has no subnets.")
    subnet = str(subnets[0].id)
    tags = [{"Key": "project", "Value": "penstock"}, {"Key": "stack", "Value": stack}]
    interface = ec2.create_network_interface(SubnetId=subnet, Description=INTERFACE_TEXT)
    zone = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailabilityZone"]
    volume = ec2.create_volume(
        AvailabilityZone=zone,
        Size=VOLUME_GIB,
        VolumeType="gp3",
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )
    return Trouble(
        _claim(cluster, ec2, zone) if cluster.items("/apis/karpenter.sh/v1/nodepools") else "",
        interface["NetworkInterface"]["NetworkInterfaceId"],
        volume["VolumeId"],
    )


def _claim(cluster: Cluster, ec2: Any, zone: str) -> str:
    """A node claim with its instance, as Karpenter leaves them when it is killed."""
    image = ec2.register_image(Name=CLAIM, RootDeviceName="/dev/xvda")["ImageId"]
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="m7i.large")
    instance = made["Instances"][0]["InstanceId"]
    cluster.send(
        "POST",
        NODE_CLAIMS,
        {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodeClaim",
            "metadata": {"name": CLAIM, "finalizers": [CLAIM_FINALIZER]},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"},
                "requirements": [],
            },
        },
    )
    cluster.send("PATCH", f"{NODE_CLAIMS}/{CLAIM}/status", {"status": {"providerID": f"aws:///{zone}/{instance}"}})
    return instance


def clear(aws: Any, trouble: Trouble) -> None:
    """Deletes what a destroy is right to leave."""
    ec2 = aws("ec2")
    with contextlib.suppress(ec2.exceptions.ClientError):
        ec2.delete_volume(VolumeId=trouble.volume)
