"""Kubernetes quantities (`500m`, `2Gi`) as numbers. Pure."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40,
}  # fmt: skip


def quantity(text: str) -> Decimal:
    """The number behind a quantity. Raises ValueError for what is none."""
    number = text.rstrip("numkMGTPKi")
    suffix = text[len(number) :]
    try:
        return Decimal(number) * _SUFFIXES[suffix]
    except (KeyError, InvalidOperation):
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 4Gi") from None


def in_units(text: str, divisor: str = "1") -> str:
    """`text` counted in `divisor`, rounded up, as resourceFieldRef gives it."""
    return str(int((quantity(text) / (quantity(divisor) or 1)).to_integral_value(ROUND_CEILING)))
