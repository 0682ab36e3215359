"""SQS: the redrive-allow policy, and redrive JSON without blanks, as SQS returns it."""

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

    Queue.BASE_ATTRIBUTES.append("RedriveAllowPolicy")
    for name, value in (("redrive_allow_policy", None), ("attributes", property(attributes))):
        setattr(Queue, name, value)
