"""Budgets: updates, tags, subscribers and actions."""

from __future__ import annotations

import json
from typing import Any

from moto.budgets.exceptions import NotFoundException
from moto.budgets.models import BudgetsBackend
from moto.budgets.responses import BudgetsResponse
from moto.moto_api._internal import mock_random

from infra.local.aws.moto.patching import attach, extend, given, wrap

NOTIFICATION_KEY = ("NotificationType", "ComparisonOperator", "Threshold")


def with_actions(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    self.actions = {}


def budget_of(response: Any) -> Any:
    """The stored budget that the request names. Raises NotFoundException."""
    account, name = response._get_param("AccountId"), response._get_param("BudgetName")
    response.backend.describe_budget(account, name)
    return response.backend.budgets[account][name]


def notification_of(response: Any, parameter: str = "Notification") -> Any:
    wanted = response._get_param(parameter)
    for notification in budget_of(response).notifications:
        if all(notification.details[key] == wanted[key] for key in NOTIFICATION_KEY):
            return notification
    raise NotFoundException("Unable to get notification: the notification does not exist.")


def create_budget(original: Any, self: Any) -> Any:
    budget = self._get_param("Budget")
    if not budget.get("CostFilters"):
        budget.pop("CostFilters", None)
    answer = original(self)
    stored = self.backend.budgets[self._get_param("AccountId")][budget["BudgetName"]]
    stored.tags = self._get_param("ResourceTags") or []
    for notification in stored.notifications:
        notification.details.setdefault("ThresholdType", "PERCENTAGE")
    return answer


def update_budget(self: Any) -> str:
    account, changed = self._get_param("AccountId"), self._get_param("NewBudget")
    self.backend.describe_budget(account, changed["BudgetName"])
    self.backend.budgets[account][changed["BudgetName"]].budget.update(changed)
    return "{}"


def describe_subscribers_for_notification(self: Any) -> str:
    return json.dumps({"Subscribers": notification_of(self).subscribers})


def update_notification(self: Any) -> str:
    notification_of(self, "OldNotification").details = self._get_param("NewNotification")
    return "{}"


def create_subscriber(self: Any) -> str:
    notification_of(self).subscribers.append(self._get_param("Subscriber"))
    return "{}"


def delete_subscriber(self: Any) -> str:
    subscribers = notification_of(self).subscribers
    if self._get_param("Subscriber") not in subscribers:
        raise NotFoundException("Unable to delete subscriber: it does not exist.")
    subscribers.remove(self._get_param("Subscriber"))
    return "{}"


def tagged(response: Any) -> Any:
    name = response._get_param("ResourceARN").split("budget/")[-1].split("/")[0]
    for budgets in response.backend.budgets.values():
        if name in budgets:
            return budgets[name]
    raise NotFoundException(f"Unable to find budget: {name}")


def list_tags_for_resource(self: Any) -> str:
    return json.dumps({"ResourceTags": tagged(self).tags})


def tag_resource(self: Any) -> str:
    budget = tagged(self)
    budget.tags = list({tag["Key"]: tag for tag in budget.tags + self._get_param("ResourceTags")}.values())
    return "{}"


def untag_resource(self: Any) -> str:
    budget = tagged(self)
    budget.tags = [tag for tag in budget.tags if tag["Key"] not in self._get_param("ResourceTagKeys")]
    return "{}"


def action_of(response: Any) -> dict[str, Any]:
    action = response.backend.actions.get(response._get_param("ActionId"))
    if action is None:
        raise NotFoundException("Unable to get action: it does not exist.")
    return action


def described(response: Any, action: dict[str, Any]) -> str:
    names = {"AccountId": response._get_param("AccountId"), "BudgetName": action["BudgetName"]}
    return json.dumps({**names, "Action": action})


def create_budget_action(self: Any) -> str:
    action = {
        **given(
            self, "BudgetName", "NotificationType", "ActionType", "ActionThreshold", "Definition",
            "ExecutionRoleArn", "ApprovalModel", "Subscribers",
        ),
        "ActionId": str(mock_random.uuid4()),
        "Status": "STANDBY",
    }  # fmt: skip
    self.backend.actions[action["ActionId"]] = action
    names = {"AccountId": self._get_param("AccountId"), "BudgetName": action["BudgetName"]}
    return json.dumps({**names, "ActionId": action["ActionId"]})


def describe_budget_action(self: Any) -> str:
    return described(self, action_of(self))


def delete_budget_action(self: Any) -> str:
    action = action_of(self)
    del self.backend.actions[action["ActionId"]]
    return described(self, action)


def install() -> None:
    wrap(BudgetsBackend, "__init__", with_actions)
    extend(BudgetsResponse, create_budget)
    attach(
        BudgetsResponse, update_budget, describe_subscribers_for_notification, update_notification, create_subscriber,
        delete_subscriber, list_tags_for_resource, tag_resource, untag_resource, create_budget_action,
        describe_budget_action, delete_budget_action,
    )  # fmt: skip
