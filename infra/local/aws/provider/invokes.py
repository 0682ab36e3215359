"""The functions of package `aws` that the local provider answers, each from the embedded AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.local.aws.provider.engine import Engine
from infra.local.aws.provider.values import UNKNOWN, Values, revealed


class UnknownInvokeError(LookupError):
    """No such function, or an argument of it that is not supported."""


def invoke(engine: Engine, token: str, arguments: Values) -> Values:
    """Answers the function `aws:index/getRegion:getRegion` and the like. Raises UnknownInvokeError."""
    function = _FUNCTIONS.get(token)
    if function is None:
        known = ", ".join(sorted(_FUNCTIONS))
        raise UnknownInvokeError(f"{token} is not supported by the local provider; supported: {known}")
    given = {name: value for name, value in revealed(arguments).items() if value is not UNKNOWN}
    allowed, answer = function
    for name in sorted(set(given) - set(allowed)):
        supported = ", ".join(sorted(allowed)) or "none"
        raise UnknownInvokeError(f'{token}: argument "{name}" is not supported by the local provider; {supported=}')
    return answer(engine, given)


def _caller_identity(engine: Engine, given: Values) -> Values:
    caller = engine.clients.get("sts", engine.region).get_caller_identity()
    account = caller["Account"]
    return {"accountId": account, "arn": caller["Arn"], "id": account, "userId": caller["UserId"]}


def _partition(engine: Engine, given: Values) -> Values:
    caller = engine.clients.get("sts", engine.region).get_caller_identity()
    partition = caller["Arn"].split(":")[1]
    suffix = engine.clients.get("sts", engine.region).meta.region_name.startswith("cn-") and "amazonaws.com.cn"
    dns = suffix or "amazonaws.com"
    return {
        "partition": partition,
        "id": partition,
        "dnsSuffix": dns,
        "reverseDnsPrefix": ".".join(reversed(dns.split("."))),
    }


def _region(engine: Engine, given: Values) -> Values:
    region = given.get("region") or engine.region
    known = engine.clients.get("ec2", engine.region).describe_regions(RegionNames=[region])["Regions"][0]
    return {
        "region": region,
        "name": region,
        "id": region,
        "endpoint": known["Endpoint"],
        "description": region,
    }


def _asked(engine: Engine, given: Values) -> tuple[str, list[dict[str, Any]]]:
    """The region that is asked, and the filters in AWS's own spelling."""
    filters = [{"Name": it["name"], "Values": it["values"]} for it in given.get("filters", [])]
    return given.get("region") or engine.region, filters


def _zones(engine: Engine, given: Values) -> Values:
    region, filters = _asked(engine, given)
    if state := given.get("state"):
        filters.append({"Name": "state", "Values": [state]})
    listed = engine.clients.get("ec2", region).describe_availability_zones(
        Filters=filters, AllAvailabilityZones=bool(given.get("allAvailabilityZones"))
    )["AvailabilityZones"]
    left_out = {*given.get("excludeNames", []), *given.get("excludeZoneIds", [])}
    zones = sorted(
        (zone for zone in listed if not {zone["ZoneName"], zone["ZoneId"]} & left_out), key=lambda it: it["ZoneName"]
    )
    return {
        **given,
        "id": region,
        "region": region,
        "names": [zone["ZoneName"] for zone in zones],
        "zoneIds": [zone["ZoneId"] for zone in zones],
        "groupNames": sorted({zone.get("GroupName") or region for zone in zones}),
    }


def _offerings(engine: Engine, given: Values) -> Values:
    region, filters = _asked(engine, given)
    listed = engine.clients.get("ec2", region).get_paginator("describe_instance_type_offerings")
    pages = listed.paginate(LocationType=given.get("locationType", "region"), Filters=filters)
    offered = [item for page in pages for item in page["InstanceTypeOfferings"]]
    return {
        **given,
        "id": region,
        "region": region,
        "instanceTypes": [item["InstanceType"] for item in offered],
        "locations": [item["Location"] for item in offered],
        "locationTypes": [item["LocationType"] for item in offered],
    }


def _instances(engine: Engine, given: Values) -> Values:
    region, filters = _asked(engine, given)
    pages = engine.clients.get("rds", region).get_paginator("describe_db_instances").paginate(Filters=filters)
    found = [item for page in pages for item in page["DBInstances"]]
    return {
        **given,
        "id": region,
        "region": region,
        "instanceArns": [item["DBInstanceArn"] for item in found],
        "instanceIdentifiers": [item["DBInstanceIdentifier"] for item in found],
    }


def _instance(engine: Engine, given: Values) -> Values:
    region, name = given.get("region") or engine.region, given["dbInstanceIdentifier"]
    found = engine.clients.get("rds", region).describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
    return {
        **given,
        "id": name,
        "region": region,
        "dbInstanceArn": found["DBInstanceArn"],
        "engine": found["Engine"],
        "engineVersion": found["EngineVersion"],
    }


_ZONE_ARGUMENTS = ("allAvailabilityZones", "excludeNames", "excludeZoneIds", "filters", "region", "state")

_FUNCTIONS: dict[str, tuple[tuple[str, ...], Callable[[Engine, Values], dict[str, Any]]]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": ((), _caller_identity),
    "aws:index/getPartition:getPartition": ((), _partition),
    "aws:index/getRegion:getRegion": (("region",), _region),
    "aws:index/getAvailabilityZones:getAvailabilityZones": (_ZONE_ARGUMENTS, _zones),
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": (("filters", "locationType", "region"), _offerings),
    "aws:rds/getInstances:getInstances": (("filters", "region"), _instances),
    "aws:rds/getInstance:getInstance": (("dbInstanceIdentifier", "region"), _instance),
}
