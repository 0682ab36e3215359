"""The rules of a network without a way out."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings.errors import Problem
from infra.settings.model import Shape

WEIGHTS_SCHEME = "weights://"
UNFIT_ZONE_IDS = frozenset({"use1-az3", "usw1-az2", "cac1-az3"})
"""Where EKS takes no control-plane subnets (EKS user guide, network requirements). Each account has letters of its own
for these, so that a stack file alone cannot tell."""


def a_private_network_has_endpoints(shape: Shape) -> Iterator[Problem]:
    if shape.network.nat_gateways == "none" and shape.network.interface_endpoints != "needed":
        yield Problem(
            "network.interfaceEndpoints",
            f"{shape.network.interface_endpoints!r} leaves nodes without AWS, for network.natGateways is none; "
            "allowed: needed",
        )


def a_private_network_holds_its_weights(shape: Shape) -> Iterator[Problem]:
    """A source with an owner (`owner/model`) is downloaded from a model hub, which needs a way out."""
    if shape.network.nat_gateways != "none":
        return
    for index, model in enumerate(shape.models):
        inside = model.source.startswith((WEIGHTS_SCHEME, "/")) or "/" not in model.source
        if not inside:
            yield Problem(
                f"models[{index}].source",
                f"{model.source!r} is outside, and network.natGateways is none; allowed: {WEIGHTS_SCHEME}<prefix>, "
                "or a path in the engine's image",
            )


NETWORK_RULES = (a_private_network_has_endpoints, a_private_network_holds_its_weights)
