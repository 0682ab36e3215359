"""What the gateways may do at the events' queue."""

from __future__ import annotations

from typing import Any

import pulumi

from components import policies
from infra.foundation import Foundation
from infra.settings import Settings

QUEUE_URL = "PENSTOCK_EVENTS_QUEUE_URL"


def events_access(
    settings: Settings, foundation: Foundation
) -> tuple[dict[str, pulumi.Output[str]], list[pulumi.Output[list[dict[str, Any]]]]]:
    """Variables of the gateways, and statements of their role."""
    if not settings.budget.actions.enabled:
        return {}, []
    statements = pulumi.Output.all(foundation.events_queue_arn, foundation.keys.messages).apply(
        lambda arns: policies.read_queue(arns[0], arns[1])
    )
    return {QUEUE_URL: foundation.events_queue_url}, [statements]
