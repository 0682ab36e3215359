"""CloudWatch: composite alarms, whose rule moto's PutMetricAlarm already understands."""

from __future__ import annotations

from typing import Any

from moto.cloudwatch.responses import CloudWatchResponse

from infra.local.aws.moto.patching import attach


def put_composite_alarm(self: Any) -> Any:
    return self.put_metric_alarm()


def install() -> None:
    attach(CloudWatchResponse, put_composite_alarm)
