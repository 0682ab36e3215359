"""EC2's instance type offerings, read a region at a time. moto reads all 30 at its import: 47 MB (measured)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from moto.utilities import utils

from infra.local.aws.moto.patching import redefine

FOLDER = "resources/instance_type_offerings"


class Offerings(dict[str, list[dict[str, str]]]):
    """Region -> offerings of one location type, from moto's files at the first use."""

    def __init__(self, location: str, load: Callable[[str], Any]) -> None:
        super().__init__()
        self._location, self._load = location, load

    def __missing__(self, region: str) -> list[dict[str, str]]:
        """Raises KeyError for a region that moto has no file for."""
        try:
            offered = self._load(f"ec2/{FOLDER}/{self._location}/{region}.json")
        except FileNotFoundError as error:
            raise KeyError(region) from error
        self[region] = [{**item, "LocationType": self._location} for item in offered]
        return self[region]

    def get(self, key: Any, default: Any = None, /) -> Any:
        try:
            return self[key]
        except KeyError:
            return default


def load_ec2() -> None:
    """Imports moto's EC2 without the offerings and puts them within reach. Does nothing where it is imported."""
    load = utils.load_resource
    redefine(utils, load_resource=lambda resource: [] if FOLDER in resource else load(resource))
    try:
        catalogue = importlib.import_module("moto.ec2.models.instance_types")
    finally:
        redefine(utils, load_resource=load)
    for location, read in catalogue.INSTANCE_TYPE_OFFERINGS.items():
        if not any(read.values()):
            catalogue.INSTANCE_TYPE_OFFERINGS[location] = Offerings(location, load)
