"""Auto Scaling: no role, queue or predictive block that nobody asked for."""

from __future__ import annotations

from typing import Any

from moto.autoscaling.models import FakeScalingPolicy, LifecycleHook

from infra.local.aws.moto.patching import wrap


def new_hook(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    self.role_arn = self.notification_target_arn = None


def new_policy(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    self.enabled = True
    self.predictive_scaling_configuration = self.predictive_scaling_configuration or None


def install() -> None:
    wrap(LifecycleHook, "__init__", new_hook)
    wrap(FakeScalingPolicy, "__init__", new_policy)
