"""Kinds of values that the keys of a stack share, and the base of their models."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.arns import PARTITIONS
from infra.settings.regions import partition_of


def _whole(value: Any) -> Any:
    """`pulumi config set` may store a number as text: take `50` and "50", refuse `50.0`, `true` and "50s"."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"must be a whole number, not {value!r}")


def _decimal(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"must be a number, not {value!r}")


def _truth(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(f"must be true or false, not {value!r}")


def _account(value: Any) -> Any:
    """An id that was set without quotes arrives as a number; one with a leading zero is then already damaged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _region(value: Any) -> Any:
    if isinstance(value, str) and (partition := partition_of(value)) not in PARTITIONS:
        raise ValueError(
            f"{value!r} is of the partition {partition}, which is not supported; allowed: a region of "
            f"{' or '.join(PARTITIONS)}, such as eu-central-1"
        )
    return value


def _cidr(value: str) -> str:
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError as problem:
        raise ValueError(f"must be an IPv4 range such as 10.0.0.0/16: {problem}") from None


Whole = Annotated[int, BeforeValidator(_whole)]
Decimal = Annotated[float, BeforeValidator(_decimal)]
Truth = Annotated[bool, BeforeValidator(_truth)]
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_CIDR_FORM = rf"^{_BYTE}(\.{_BYTE}){{3}}(/(3[0-2]|[12]?[0-9]))?$"
Cidr = Annotated[str, AfterValidator(_cidr), Field(json_schema_extra={"pattern": _CIDR_FORM})]
Usd = Annotated[Whole, Field(ge=1, le=100_000_000)]
Percents = Annotated[tuple[Annotated[Whole, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=5)]
Percent = Annotated[Whole, Field(ge=0, le=100)]
Tokens = Annotated[Whole, Field(ge=1, le=10_000_000)]
Zone = Literal["a", "b", "c", "d", "e", "f"]
AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$"), BeforeValidator(_account)]
Image = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$")]
_REGION_FORM = "[a-z]{2}(-[a-z]+)+-[0-9]$"
Region = Annotated[
    str,
    Field(pattern=f"^{_REGION_FORM}", json_schema_extra={"pattern": f"^(?!cn-){_REGION_FORM}"}),
    BeforeValidator(_region),
]
InstanceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
AddonVersion = Annotated[str, Field(pattern=r"^v[0-9]+\.[0-9]+\.[0-9]+-eksbuild\.[0-9]+$")]
Principal = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[\w+=,.@/-]+$")]
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
]
"""The retention periods that CloudWatch Logs accepts (PutRetentionPolicy)."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_alias=True)
