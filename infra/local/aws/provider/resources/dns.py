"""aws:route53: record sets."""

from __future__ import annotations

from typing import Any

from infra.local.aws.provider.row import Row, Scope
from infra.local.aws.provider.schema import blocks, flag, integer, out, same_letters, text, text_set
from infra.local.aws.provider.values import Values


def _dotted(name: str) -> str:
    return name.lower().rstrip(".") + "."


def _same_name(a: Any, b: Any) -> bool:
    """A name with and without the root's dot is one name."""
    return isinstance(a, str) and isinstance(b, str) and same_letters(a.rstrip("."), b.rstrip("."))


def _record_set(values: Values) -> Values:
    record: Values = {"Name": _dotted(values["name"]), "Type": values["type"]}
    if values.get("aliases"):
        alias = values["aliases"][0]
        record["AliasTarget"] = {
            "DNSName": alias["name"],
            "HostedZoneId": alias["zoneId"],
            "EvaluateTargetHealth": alias["evaluateTargetHealth"],
        }
    else:
        record["TTL"] = values["ttl"]
        record["ResourceRecords"] = [{"Value": value} for value in values.get("records") or []]
    return record


def _change(scope: Scope, zone: str, action: str, record: Values) -> None:
    changes = [{"Action": action, "ResourceRecordSet": record}]
    change = scope.api.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})["ChangeInfo"]
    scope.wait(
        f"record {record['Name']} {record['Type']} in all name servers",
        lambda: scope.api.get_change(Id=change["Id"])["ChangeInfo"]["Status"] == "INSYNC",
    )


def _create(scope: Scope, values: Values) -> str:
    # CREATE refuses a record that somebody else made; only an owner who says so takes it over.
    _change(scope, values["zoneId"], "UPSERT" if values.get("allowOverwrite") else "CREATE", _record_set(values))
    return f"{values['zoneId']}_{values['name']}_{values['type']}"


def _find(scope: Scope, record: str, state: Values) -> Values | None:
    zone, name, kind = record.split("_", 1)[0], *record.split("_", 1)[1].rsplit("_", 1)
    listed = scope.api.list_resource_record_sets(
        HostedZoneId=zone, StartRecordName=_dotted(name), StartRecordType=kind, MaxItems="1"
    )["ResourceRecordSets"]
    return next((it for it in listed if it["Name"] == _dotted(name) and it["Type"] == kind), None)


def _outputs(scope: Scope, record: str, raw: Values, state: Values) -> Values:
    alias = raw.get("AliasTarget")
    return {
        "zoneId": record.split("_", 1)[0],
        "name": raw["Name"].rstrip("."),
        "fqdn": raw["Name"].rstrip("."),
        "ttl": raw.get("TTL"),
        "records": sorted(it["Value"] for it in raw.get("ResourceRecords") or []) or None,
        "aliases": alias
        and [
            {
                "name": alias["DNSName"].rstrip("."),
                "zoneId": alias["HostedZoneId"],
                "evaluateTargetHealth": alias["EvaluateTargetHealth"],
            }
        ],
    }


def _update(scope: Scope, record: str, values: Values, changed: frozenset[str]) -> None:
    _change(scope, values["zoneId"], "UPSERT", _record_set(values))


def _delete(scope: Scope, record: str, state: Values) -> None:
    found = _find(scope, record, state)
    if found is not None:
        _change(scope, record.split("_", 1)[0], "DELETE", found)  # AWS wants to see the record as it is


RECORD = Row(
    kind="aws:route53/record:Record",
    service="route53",
    regional=False,
    fields={
        "zoneId": text(False, required=True, replace=True),
        "name": text(False, required=True, replace=True, same=_same_name),
        "type": text(required=True, replace=True),
        "ttl": integer(False),
        "records": text_set(False),
        "aliases": blocks(
            {
                "name": text(required=True, same=_same_name),
                "zoneId": text(required=True),
                "evaluateTargetHealth": flag(required=True),
            },
            False,
        ),
        "allowOverwrite": flag(False, default=False, write_only=True),
        "fqdn": out(text(False)),
    },
    create=_create,
    find=_find,
    derive=_outputs,
    update=_update,
    delete=_delete,
    delete_before_replace=True,  # a name has one record of a kind
)

ROWS = (RECORD,)
