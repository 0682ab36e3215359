"""The price table: figures with their source, from the package and from the user's cache."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).with_name("prices.json")


class TableError(ValueError):
    """A price table that cannot be used. The text names the file and the entry."""


@dataclass(frozen=True)
class Price:
    usd: float
    """For the key's unit: an hour, a GiB and month, a month."""
    source: str
    date: str
    by_hand: bool = False
    """Nobody asked AWS for it: look it up before you rely on it."""


@dataclass(frozen=True)
class Table:
    """Prices of one region, by key such as `ec2:g6.xlarge` or `vpc:nat-hour`."""

    region: str
    prices: Mapping[str, Price]

    def get(self, key: str) -> Price | None:
        return self.prices.get(key)

    @property
    def sources(self) -> list[str]:
        return sorted({f"{price.date}: {price.source}" for price in self.prices.values()})


def parse(content: Any, region: str, name: str) -> dict[str, Price]:
    """The figures for a region. Raises TableError where any figure, also of another region, is not a price."""
    try:
        date, sources = str(content["date"]), content["sources"]
        by_hand = set(content.get("by_hand", ()))
        found: dict[str, Price] = {}
        for block in content["figures"]:
            for key, usd in block["prices"].items():
                if isinstance(usd, bool) or not isinstance(usd, int | float) or not math.isfinite(usd) or usd <= 0:
                    raise TableError(f"{name}: {key} in {block['region']}: {usd!r} is no price; allowed: above 0")
                if block["region"] == region:
                    found[key] = Price(float(usd), str(sources[block["source"]]), date, block["source"] in by_hand)
    except (KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{name}: not a price table: {type(error).__name__} {error}") from None
    return found


def cache_file(region: str, environment: Mapping[str, str] | None = None) -> Path:
    """Where `--refresh` leaves a region's prices: XDG's cache folder, else ~/.cache."""
    variables = os.environ if environment is None else environment
    folder = variables.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(folder) / "penstock" / f"prices-{region}.json"


def load(region: str, cache: Path) -> tuple[Table, list[str]]:
    """The packaged table with the cached figures over it, and sentences about what could not be read."""
    prices = parse(json.loads(PACKAGED.read_text(encoding="utf-8")), region, PACKAGED.name)
    remarks: list[str] = []
    try:
        prices |= parse(json.loads(cache.read_text(encoding="utf-8")), region, cache.name)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        remarks.append(f"The refreshed prices are left out: {error}")
    return Table(region, prices), remarks


def save(cache: Path, region: str, date: str, prices: Mapping[str, float], source: str) -> None:
    """Whole or not at all. Raises OSError."""
    content = {
        "date": date,
        "sources": {"api": source},
        "figures": [{"region": region, "source": "api", "prices": dict(sorted(prices.items()))}],
    }
    cache.parent.mkdir(parents=True, exist_ok=True)
    draft = cache.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(cache)
