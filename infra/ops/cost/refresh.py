"""Today's list prices from the AWS Price List API, for what one stack uses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

PRICING_REGION = "us-east-1"
"""The Price List API answers in a few regions, for all of them."""

MOST = 1000.0
"""US dollars an hour: no node costs more, and a reply that says so is wrong."""

SERVICES: dict[str, tuple[str, str, dict[str, str]]] = {
    "ec2": (
        "AmazonEC2",
        "instanceType",
        {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"},
    ),
    "rds": ("AmazonRDS", "instanceType", {"databaseEngine": "PostgreSQL", "deploymentOption": "Single-AZ"}),
    "cache": ("AmazonElastiCache", "instanceType", {"cacheEngine": "Valkey"}),
}
"""Beginning of a key -> service code, the attribute of the type, and what else makes one product of it."""


class PriceError(ValueError):
    """A reply without one price. The text says why."""


def ask(client: Any, region: str, keys: Iterable[str]) -> tuple[dict[str, float], list[str]]:
    """Prices an hour by key, and sentences about those without one. Raises botocore's errors."""
    found: dict[str, float] = {}
    remarks: list[str] = []
    for key in keys:
        beginning, _, kind = key.partition(":")
        if beginning not in SERVICES:
            continue
        service, attribute, more = SERVICES[beginning]
        wanted = {attribute: kind, "regionCode": region, **more}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
        reply = client.get_products(ServiceCode=service, Filters=filters, FormatVersion="aws_v1", MaxResults=100)
        try:
            found[key] = price_of(reply.get("PriceList"), wanted)
        except PriceError as error:
            remarks.append(f"{key} in {region}: {error}")
    return found, remarks


def price_of(products: Any, wanted: dict[str, str]) -> float:
    """The one price an hour, on demand, of the products that are what was asked for. Raises PriceError."""
    prices: set[float] = set()
    for text in products if isinstance(products, list) else ():
        try:
            product = json.loads(text) if isinstance(text, str) else text
            attributes = product["product"]["attributes"]
            if any(attributes.get(name) != value for name, value in wanted.items()):
                continue
            for term in product["terms"].get("OnDemand", {}).values():
                for dimension in term["priceDimensions"].values():
                    if dimension.get("unit") == "Hrs":
                        prices.add(float(dimension["pricePerUnit"]["USD"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PriceError(f"the reply cannot be read: {type(error).__name__} {error}") from None
    prices.discard(0.0)  # reservations and free parts of the same product
    if len(prices) != 1:
        raise PriceError(f"{len(prices)} prices were offered, one is wanted")
    price = prices.pop()
    if not 0 < price < MOST:
        raise PriceError(f"{price} US dollars an hour is no price; allowed: above 0, below {MOST:g}")
    return price
