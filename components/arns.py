"""What an ARN tells: its partition, and the last part that names of resources end in. Pure functions."""

from collections.abc import Sequence

PARTITIONS = ("aws", "aws-us-gov")
"""Those in which what the components make can work. In China (`aws-cn`) service principals, hosts and the sender of
load balancers' logs have other names than policies and trusts here give them."""


def supported(partition: str) -> str:
    """The same name. Raises ValueError for a partition that is none of `PARTITIONS`."""
    if partition not in PARTITIONS:
        raise ValueError(f"partition: {partition!r} is not supported; allowed: {' or '.join(PARTITIONS)}")
    return partition


def last_parts(arns: Sequence[str]) -> list[tuple[str, str]]:
    """Each ARN behind its last part, the `Admin` of `arn:aws:iam::111122223333:role/team/Admin`.

    Raises ValueError where two end alike. A longer name for one of them would be another resource as soon as the other
    joins the list or leaves it, and AWS has one entry for both: the one that goes would take the new one's with it.
    """
    found: dict[str, str] = {}
    for arn in arns:
        last = arn.rsplit("/", 1)[-1]
        if last in found:
            raise ValueError(f"{found[last]} and {arn} both end in {last!r}; allowed: ARNs with different last parts")
        found[last] = arn
    return list(found.items())
