"""aws:ec2: route table, route, route table association."""

from __future__ import annotations

import zlib

from infra.local.aws.provider.resources.ec2_tags import EC2_TAGS
from infra.local.aws.provider.row import Row, Scope, arn_output, creating, deleting, dig, finding
from infra.local.aws.provider.schema import block_set, out, text
from infra.local.aws.provider.values import Values

TARGETS = {
    "gatewayId": text(computed=True),
    "natGatewayId": text(computed=True),
    "networkInterfaceId": text(computed=True),
    "transitGatewayId": text(computed=True),
    "vpcPeeringConnectionId": text(computed=True),
    "egressOnlyGatewayId": text("EgressOnlyInternetGatewayId", computed=True),
    "vpcEndpointId": text(computed=True),
}
DESTINATIONS = {
    "destinationCidrBlock": text(replace=True),
    "destinationIpv6CidrBlock": text(replace=True),
    "destinationPrefixListId": text(replace=True),
}
INLINE = {
    "cidrBlock": text("DestinationCidrBlock"),
    "ipv6CidrBlock": text("DestinationIpv6CidrBlock"),
    "destinationPrefixListId": text(),
    **TARGETS,
}
WIRES = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")


def _made_by_hand(raw: Values) -> list[Values]:
    """The table's routes less the local ones and those of gateway endpoints, which no route resource makes."""
    return [
        route
        for route in raw.get("Routes", [])
        if route.get("GatewayId") != "local" and not str(route.get("GatewayId", "")).startswith("vpce-")
    ]


def _put_inline_routes(
    scope: Scope, table: str, values: Values, changed: frozenset[str] = frozenset({"routes"})
) -> None:
    if "routes" not in changed:
        return
    live = dig(scope.api.describe_route_tables(RouteTableIds=[table]), "RouteTables.0")
    for route in _made_by_hand(live):
        scope.api.delete_route(RouteTableId=table, **{wire: route[wire] for wire in WIRES if route.get(wire)})
    for route in scope.request(values, {"routes"}).get("Routes", []):
        scope.api.create_route(RouteTableId=table, **route)


def _table_outputs(scope: Scope, table: str, raw: Values, state: Values) -> Values:
    outputs: Values = {"arn": scope.arn("ec2", f"route-table/{table}"), "ownerId": raw.get("OwnerId", scope.account)}
    # Routes of resources of their own must not look like drift of a table that has no inline routes.
    routes = [{name: route.get(_wire(name)) for name in INLINE} for route in _made_by_hand(raw)]
    inline = [{name: value for name, value in route.items() if value} for route in routes]
    return {**outputs, "routes": inline if state.get("routes") else None}


def _wire(name: str) -> str:
    wire = INLINE[name].wire
    return wire if isinstance(wire, str) else name[0].upper() + name[1:]


ROUTE_TABLE = Row(
    kind="aws:ec2/routeTable:RouteTable",
    service="ec2",
    fields={
        "vpcId": text(required=True, replace=True),
        "routes": block_set(INLINE),
        "arn": arn_output(),
        "ownerId": out(text(False)),
    },
    create=creating("create_route_table", "RouteTable.RouteTableId", resource_type="route-table", omit=("routes",)),
    settle=_put_inline_routes,
    find=finding("describe_route_tables", "RouteTables.0", lambda table: {"RouteTableIds": [table]}),
    derive=_table_outputs,
    update=_put_inline_routes,
    delete=deleting("delete_route_table", lambda table: {"RouteTableId": table}),
    tagging=EC2_TAGS,
)


def _destination(values: Values) -> str:
    return next((values[name] for name in DESTINATIONS if values.get(name)), "")


def _route_id(table: str, destination: str) -> str:
    # The same id as pulumi-aws gives: the table and a CRC-32 of the destination.
    return f"r-{table}{zlib.crc32(destination.encode())}"


def _create_route(scope: Scope, values: Values) -> str:
    scope.api.create_route(**scope.request(values))
    return _route_id(values["routeTableId"], _destination(values))


def _find_route(scope: Scope, resource_id: str, state: Values) -> Values | None:
    table, destination = state.get("routeTableId"), _destination(state)
    if not table:  # an import: `<table>_<destination>`
        table, _, destination = resource_id.partition("_")
    raw = dig(scope.api.describe_route_tables(RouteTableIds=[table]), "RouteTables.0") or {}
    routes = (route for route in _made_by_hand(raw) if destination in [route.get(wire) for wire in WIRES])
    found = next(routes, None)
    return {**found, "RouteTableId": table} if found else None


def _route_key(scope: Scope, values: Values) -> Values:
    return scope.request(values, ("routeTableId", *DESTINATIONS))


ROUTE = Row(
    kind="aws:ec2/route:Route",
    service="ec2",
    fields={
        "routeTableId": text(required=True, replace=True),
        **DESTINATIONS,
        **TARGETS,
        "origin": out(text()),
        "state": out(text()),
    },
    create=_create_route,
    find=_find_route,
    derive=lambda scope, route, raw, state: {"id": _route_id(raw["RouteTableId"], _destination_of(raw))},
    update=lambda scope, route, values, changed: scope.api.replace_route(**scope.request(values)),
    delete=lambda scope, route, state: scope.api.delete_route(**_route_key(scope, state)),
    delete_before_replace=True,
)


def _destination_of(raw: Values) -> str:
    return next(raw[wire] for wire in WIRES if raw.get(wire))


def _find_association(scope: Scope, association: str, state: Values) -> Values | None:
    wanted = [{"Name": "association.route-table-association-id", "Values": [association]}]
    table = dig(scope.api.describe_route_tables(Filters=wanted), "RouteTables.0")
    listed = (table or {}).get("Associations", [])
    return next((it for it in listed if it["RouteTableAssociationId"] == association), None)


ROUTE_TABLE_ASSOCIATION = Row(
    kind="aws:ec2/routeTableAssociation:RouteTableAssociation",
    service="ec2",
    fields={
        # AWS can move an association to another table, but gives it a new id then, which only a new resource can have.
        "routeTableId": text(required=True, replace=True),
        "subnetId": text(replace=True),
        "gatewayId": text(replace=True),
    },
    create=creating("associate_route_table", "AssociationId"),
    find=_find_association,
    delete=deleting("disassociate_route_table", lambda association: {"AssociationId": association}),
    delete_before_replace=True,
)

ROWS = (ROUTE_TABLE, ROUTE, ROUTE_TABLE_ASSOCIATION)
