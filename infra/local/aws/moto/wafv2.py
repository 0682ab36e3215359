"""AWS WAF: a resource has one ACL, an ACL in use stays, and logs go only where AWS WAF may write."""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.wafv2.models import WAFV2Backend

from infra.local.aws.moto.patching import extend

LOG_PREFIX = "aws-waf-logs-"


class WAFAssociatedItemException(JsonRESTError):  # noqa: N818 - the name that AWS gives to the error
    code = 400

    def __init__(self, name: str) -> None:
        super().__init__("WAFAssociatedItemException", f"AWS WAF cannot delete {name}: a resource still uses it.")


class WAFInvalidParameterException(JsonRESTError):  # noqa: N818 - the name that AWS gives to the error
    code = 400

    def __init__(self, message: str) -> None:
        super().__init__("WAFInvalidParameterException", message)


def associate_web_acl(original: Any, self: Any, web_acl_arn: str, resource_arn: str) -> Any:
    if web_acl_arn in self.wacls:
        self.disassociate_web_acl(resource_arn)  # moto would list the resource with both
    return original(self, web_acl_arn, resource_arn)


def delete_web_acl(original: Any, self: Any, name: str, scope: str, _id: str, lock_token: str) -> Any:
    for acl in self.wacls.values():
        if acl.id == _id and acl.associated_resources:
            raise WAFAssociatedItemException(name)
        if acl.id == _id:
            self.logging_configurations.pop(acl.arn, None)  # it goes with its ACL
    return original(self, name, scope, _id, lock_token)


def put_logging_configuration(
    original: Any, self: Any, arn: str, log_destination_configs: list[str], *rest: Any
) -> Any:
    for destination in log_destination_configs:
        if not destination.split(":")[-1].split("/")[-1].startswith(LOG_PREFIX):
            raise WAFInvalidParameterException(
                f"Error reason: The ARN isn't valid. A valid ARN begins with arn: and includes other information "
                f"separated by colons or slashes., field: LOG_DESTINATION, parameter: {destination}"
            )
    return original(self, arn, log_destination_configs, *rest)


def install() -> None:
    extend(WAFV2Backend, associate_web_acl, delete_web_acl, put_logging_configuration)
