"""Cost Explorer: anomaly monitors and subscriptions, cost allocation tags."""

from __future__ import annotations

import json
from typing import Any

from moto.ce.models import CostExplorerBackend
from moto.ce.responses import CostExplorerResponse
from moto.moto_api._internal import mock_random

from infra.local.aws.moto.patching import attach, wrap


def with_collections(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    self.anomaly = {"monitor": {}, "subscription": {}}
    self.allocation_tags = {}


def create(response: Any, kind: str, key: str, field: str) -> str:
    request, backend = json.loads(response.body), response.ce_backend
    arn = f"arn:aws:ce::{response.current_account}:anomaly{kind}/{mock_random.uuid4()}"
    backend.anomaly[kind][arn] = {**request[field], key: arn, "AccountId": response.current_account}
    backend.tag_resource(arn, request.get("ResourceTags") or [])
    return json.dumps({key: arn})


def read(response: Any, kind: str, key: str, listed: str) -> str:
    wanted, known = json.loads(response.body).get(f"{key}List"), response.ce_backend.anomaly[kind]
    return json.dumps({listed: [item for arn, item in known.items() if not wanted or arn in wanted]})


def update(response: Any, kind: str, key: str) -> str:
    request = json.loads(response.body)
    changes = {name: value for name, value in request.items() if name != key}
    response.ce_backend.anomaly[kind][request[key]].update(changes)
    return json.dumps({key: request[key]})


def delete(response: Any, kind: str, key: str) -> str:
    response.ce_backend.anomaly[kind].pop(json.loads(response.body)[key], None)
    return "{}"


def create_anomaly_monitor(self: Any) -> str:
    return create(self, "monitor", "MonitorArn", "AnomalyMonitor")


def get_anomaly_monitors(self: Any) -> str:
    return read(self, "monitor", "MonitorArn", "AnomalyMonitors")


def update_anomaly_monitor(self: Any) -> str:
    return update(self, "monitor", "MonitorArn")


def delete_anomaly_monitor(self: Any) -> str:
    return delete(self, "monitor", "MonitorArn")


def create_anomaly_subscription(self: Any) -> str:
    return create(self, "subscription", "SubscriptionArn", "AnomalySubscription")


def get_anomaly_subscriptions(self: Any) -> str:
    return read(self, "subscription", "SubscriptionArn", "AnomalySubscriptions")


def update_anomaly_subscription(self: Any) -> str:
    return update(self, "subscription", "SubscriptionArn")


def delete_anomaly_subscription(self: Any) -> str:
    return delete(self, "subscription", "SubscriptionArn")


def update_cost_allocation_tags_status(self: Any) -> str:
    for tag in json.loads(self.body)["CostAllocationTagsStatus"]:
        self.ce_backend.allocation_tags[tag["TagKey"]] = tag["Status"]
    return json.dumps({"Errors": []})


def list_cost_allocation_tags(self: Any) -> str:
    wanted = json.loads(self.body).get("TagKeys")
    return json.dumps(
        {
            "CostAllocationTags": [
                {"TagKey": key, "Type": "UserDefined", "Status": status}
                for key, status in self.ce_backend.allocation_tags.items()
                if not wanted or key in wanted
            ]
        }
    )


def install() -> None:
    wrap(CostExplorerBackend, "__init__", with_collections)
    attach(
        CostExplorerResponse, create_anomaly_monitor, get_anomaly_monitors, update_anomaly_monitor,
        delete_anomaly_monitor, create_anomaly_subscription, get_anomaly_subscriptions, update_anomaly_subscription,
        delete_anomaly_subscription, update_cost_allocation_tags_status, list_cost_allocation_tags,
    )  # fmt: skip
