"""ElastiCache: parameter groups, subnet groups, users and user groups."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models import ec2_backends
from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.models import CacheSubnetGroup
from moto.elasticache.responses import ElastiCacheResponse

from infra.local.aws.moto.patching import attach, extend, wrap

FAMILIES = ("redis6.x", "redis7", "valkey7", "valkey8", "memcached1.6")


def refusal(code: str, message: str) -> ElastiCacheException:
    return ElastiCacheException(code, message)


def arn(backend: Any, kind: str, name: str) -> str:
    return f"arn:aws:elasticache:{backend.region_name}:{backend.account_id}:{kind}:{name}"


def tag(response: Any, resource: str) -> None:
    if tags := response._get_param("Tags"):
        response.elasticache_backend.tagging_service.tag_resource(resource, tags)


def parameter_group(response: Any) -> dict[str, Any]:
    name, groups = response._get_param("CacheParameterGroupName"), response.elasticache_backend.parameter_groups
    if name not in groups:
        raise refusal("CacheParameterGroupNotFound", f"CacheParameterGroup {name} not found.")
    return groups[name]


def create_cache_parameter_group(self: Any) -> ActionResult:
    name, family = self._get_param("CacheParameterGroupName"), self._get_param("CacheParameterGroupFamily")
    backend = self.elasticache_backend
    if family not in FAMILIES:
        raise refusal("InvalidParameterValue", f"CacheParameterGroupFamily {family} is not one of {FAMILIES}.")
    if name in backend.parameter_groups:
        raise refusal("CacheParameterGroupAlreadyExists", f"Cache parameter group {name} already exists")
    group = {
        "CacheParameterGroupName": name,
        "CacheParameterGroupFamily": family,
        "Description": self._get_param("Description"),
        "IsGlobal": False,
        "ARN": arn(backend, "parametergroup", name),
        "values": {},
    }
    backend.parameter_groups[name] = group
    tag(self, group["ARN"])
    return ActionResult({"CacheParameterGroup": group})


def describe_cache_parameter_groups(self: Any) -> ActionResult:
    every = list(self.elasticache_backend.parameter_groups.values())
    named = self._get_param("CacheParameterGroupName")
    return ActionResult({"CacheParameterGroups": [parameter_group(self)] if named else every})


def modify_cache_parameter_group(self: Any) -> ActionResult:
    group = parameter_group(self)
    for item in self._get_param("ParameterNameValues") or []:
        group["values"][item["ParameterName"]] = item["ParameterValue"]
    return ActionResult({"CacheParameterGroupName": group["CacheParameterGroupName"]})


def reset_cache_parameter_group(self: Any) -> ActionResult:
    group = parameter_group(self)
    for item in self._get_param("ParameterNameValues") or []:
        group["values"].pop(item["ParameterName"], None)
    return ActionResult({"CacheParameterGroupName": group["CacheParameterGroupName"]})


def describe_cache_parameters(self: Any) -> ActionResult:
    values = parameter_group(self)["values"]
    return ActionResult(
        {"Parameters": [{"ParameterName": k, "ParameterValue": v, "Source": "user"} for k, v in values.items()]}
    )


def delete_cache_parameter_group(self: Any) -> EmptyResult:
    del self.elasticache_backend.parameter_groups[parameter_group(self)["CacheParameterGroupName"]]
    return EmptyResult()


def check_subnets(response: Any, identifiers: list[str]) -> None:
    ec2 = ec2_backends[response.current_account][response.region]
    known = {identifier for by_zone in ec2.subnets.values() for identifier in by_zone}
    for identifier in identifiers:
        if identifier not in known:
            raise refusal("InvalidSubnet", f"Some input subnets in :[{identifier}] are invalid.")


def create_cache_subnet_group(original: Any, self: Any) -> ActionResult:
    check_subnets(self, self._get_param("SubnetIds") or [])
    return original(self)


def modify_cache_subnet_group(self: Any) -> ActionResult:
    backend, name = self.elasticache_backend, self._get_param("CacheSubnetGroupName")
    group = backend.describe_cache_subnet_groups(name)[0]
    check_subnets(self, self._get_param("SubnetIds") or [])
    description = self._get_param("CacheSubnetGroupDescription") or group.cache_subnet_group_description
    backend.cache_subnet_groups[name] = CacheSubnetGroup(
        backend.account_id, backend.region_name, name, description,
        self._get_param("SubnetIds") or group.subnet_ids, group.tags,
    )  # fmt: skip
    return ActionResult({"CacheSubnetGroup": backend.cache_subnet_groups[name]})


def delete_cache_subnet_group(self: Any) -> EmptyResult:
    backend, name = self.elasticache_backend, self._get_param("CacheSubnetGroupName")
    backend.describe_cache_subnet_groups(name)
    if any(group.cache_subnet_group_name == name for group in backend.replication_groups.values()):
        raise refusal("CacheSubnetGroupInUse", f"Cache subnet group {name} is currently in use by a cache cluster.")
    del backend.cache_subnet_groups[name]
    return EmptyResult()


def user_group(response: Any) -> dict[str, Any]:
    name, groups = response._get_param("UserGroupId"), response.elasticache_backend.user_groups
    if name not in groups:
        raise refusal("UserGroupNotFound", f"User group {name} not found.")
    return groups[name]


def create_user_group(self: Any) -> ActionResult:
    backend, name, users = self.elasticache_backend, self._get_param("UserGroupId"), self._get_param("UserIds") or []
    for user in users:
        backend.describe_users(user)
    engine = (self._get_param("Engine") or "").lower()
    if engine == "redis" and "default" not in [backend.users[user].name for user in users]:
        raise refusal("DefaultUserRequired", "User group needs to contain a user with the user name default.")
    group = {
        "UserGroupId": name,
        "Status": "active",
        "Engine": engine,
        "UserIds": users,
        "MinimumEngineVersion": "6.0",
        "ReplicationGroups": [],
        "ARN": arn(backend, "usergroup", name),
    }
    backend.user_groups[name] = group
    for user in users:
        backend.users[user].user_group_ids.append(name)
    tag(self, group["ARN"])
    return ActionResult(group)


def describe_user_groups(self: Any) -> ActionResult:
    every = list(self.elasticache_backend.user_groups.values())
    return ActionResult({"UserGroups": [user_group(self)] if self._get_param("UserGroupId") else every})


def modify_user_group(self: Any) -> ActionResult:
    group, removed = user_group(self), self._get_param("UserIdsToRemove") or []
    kept = [user for user in group["UserIds"] if user not in removed]
    group["UserIds"] = kept + (self._get_param("UserIdsToAdd") or [])
    return ActionResult(group)


def delete_user_group(self: Any) -> ActionResult:
    backend, group = self.elasticache_backend, user_group(self)
    name = group["UserGroupId"]
    if any(name in other.user_group_ids for other in backend.replication_groups.values()):
        raise refusal("InvalidUserGroupState", "User group is associated with a replication group")
    return ActionResult({**backend.user_groups.pop(name), "Status": "deleting"})


def modify_user(self: Any) -> ActionResult:
    user = self.elasticache_backend.describe_users(self._get_param("UserId"))[0]
    user.access_string = self._get_param("AccessString") or user.access_string
    mode = self._get_param("AuthenticationMode") or {}
    user.passwords = self._get_param("Passwords") or mode.get("Passwords") or user.passwords
    return ActionResult(user)


def install(backend: type, with_collections: Any) -> None:
    wrap(backend, "__init__", with_collections)
    extend(ElastiCacheResponse, create_cache_subnet_group)
    attach(
        ElastiCacheResponse, create_cache_parameter_group, describe_cache_parameter_groups,
        modify_cache_parameter_group, reset_cache_parameter_group, describe_cache_parameters,
        delete_cache_parameter_group, modify_cache_subnet_group, delete_cache_subnet_group, create_user_group,
        describe_user_groups, modify_user_group, delete_user_group, modify_user,
    )  # fmt: skip
