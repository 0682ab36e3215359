"""SSM: the public parameters that name EKS and Bottlerocket images answer with an image id that stays the same."""

from __future__ import annotations

import hashlib
from typing import Any

from moto.core.utils import utcnow
from moto.ssm.models import Parameter, ParameterDict

from infra.local.aws.moto.patching import wrap

IMAGE_PARAMETERS = ("/aws/service/eks/optimized-ami/", "/aws/service/bottlerocket/")


def image_id(name: str) -> str:
    return "ami-" + hashlib.sha256(name.encode()).hexdigest()[:17]


def with_images(original: Any, self: Any, key: Any) -> None:
    original(self, key)
    name = str(key or "")
    if name.startswith(IMAGE_PARAMETERS) and not dict.get(self, name):
        parameter_class: Any = Parameter
        parameter = parameter_class(
            account_id=self.account_id, name=name, value=image_id(name), parameter_type="String", description=None,
            allowed_pattern=None, keyid=None, last_modified_date=utcnow(), version=1, data_type="text",
        )  # fmt: skip
        dict.__setitem__(self, name, [parameter])


def install() -> None:
    wrap(ParameterDict, "_check_loading_status", with_images)
