"""How traffic is shared by the colours. Pure: settings and components judge by the same words."""

from collections.abc import Mapping

COLOURS = ("blue", "green")


def breach(weights: Mapping[str, int]) -> str | None:
    """What is wrong with weights in per cent, by colour; None where nothing is."""
    if set(weights) != set(COLOURS):
        return f"has {', '.join(sorted(weights)) or 'nothing'}; allowed: {' and '.join(COLOURS)}, both of them"
    given = [weights[colour] for colour in COLOURS]
    if sum(given) != 100 or min(given) < 0:
        said = " and ".join(f"{colour} {weights[colour]}" for colour in COLOURS)
        return f"{said} make {sum(given)}; allowed: 0 to 100 each, 100 together"
    return None


def checked(name: str, weights: Mapping[str, int]) -> Mapping[str, int]:
    """The same weights. Raises ValueError that begins with the input's `name`."""
    if problem := breach(weights):
        raise ValueError(f"{name}: {problem}")
    return weights
