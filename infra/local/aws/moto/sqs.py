"""SQS: the redrive-allow policy, redrive JSON without blanks, a policy that outlives a change of other attributes."""

from __future__ import annotations

import json
from typing import Any

from moto.sqs.models import Queue


def install() -> None:
    original = Queue.attributes.fget
    if original is None:
        raise TypeError("moto's Queue.attributes cannot be read")

    def attributes(self: Any) -> dict[str, Any]:
        values = original(self)
        if values.get("RedrivePolicy"):
            values["RedrivePolicy"] = json.dumps(json.loads(values["RedrivePolicy"]), separators=(",", ":"))
        return {k: v for k, v in values.items() if v is not None and (v or k != "RedriveAllowPolicy")}

    set_attributes = Queue._set_attributes

    def set_attributes_and_keep_policy(self: Any, given: dict[str, Any], now: float | None = None) -> None:
        kept = getattr(self, "_policy_json", None)
        set_attributes(self, given, now)
        if kept is not None and "Policy" not in given:
            self._policy_json = kept

    Queue.BASE_ATTRIBUTES.append("RedriveAllowPolicy")
    for name, value in (
        ("redrive_allow_policy", None),
        ("attributes", property(attributes)),
        ("_set_attributes", set_attributes_and_keep_policy),
    ):
        setattr(Queue, name, value)
