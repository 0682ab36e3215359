"""KMS: the rotation period of a key."""

from __future__ import annotations

import json
from typing import Any

from moto.kms.responses import KmsResponse

from infra.local.aws.moto.patching import extend

DEFAULT_PERIOD_DAYS = 365


def key_of(response: Any) -> Any:
    backend = response.kms_backend
    return backend.keys[backend.get_key_id(response._get_param("KeyId"))]


def enable_key_rotation(original: Any, self: Any) -> Any:
    answer = original(self)
    key_of(self).rotation_days = self._get_param("RotationPeriodInDays") or DEFAULT_PERIOD_DAYS
    return answer


def get_key_rotation_status(original: Any, self: Any) -> str:
    status = json.loads(original(self))
    if status["KeyRotationEnabled"]:
        status["RotationPeriodInDays"] = getattr(key_of(self), "rotation_days", DEFAULT_PERIOD_DAYS)
    return json.dumps(status)


def install() -> None:
    extend(KmsResponse, enable_key_rotation, get_key_rotation_status)
