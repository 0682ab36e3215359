"""Which providers the components need, as the package says and the reference prints, and as the program shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from infra.rehearsal import Rehearsal

OURS = "penstock"


def with_all_there_is(config: dict) -> None:
    """prod leaves out what only some clusters and names need."""
    config["penstock:edge"] |= {"certificateArn": None, "hostedZoneId": "Z0123456789ABC"}
    config["penstock:controllers"]["devicePlugin"]["enabled"] = True


def test_a_component_needs_the_providers_of_what_it_registers(rehearsed_with: Callable[..., Rehearsal]):
    from components.package import COMPONENTS, PROVIDERS

    found: dict[str, set[str]] = defaultdict(set)
    for each in rehearsed_with("prod", with_all_there_is).registrations:
        *above, own = each.urn.split("::")[2].split("$")
        for token in (*above, own):
            if token.startswith(f"{OURS}:"):
                found[token.rpartition(":")[2]] |= {own.partition(":")[0]} - {OURS}
    assert found == {component.__name__: set(needs) for component, needs in PROVIDERS.items()}
    assert set(PROVIDERS) == set(COMPONENTS), "a component without its providers, or one that is not offered"
