"""EKS access entries, their policies, and pod identity associations."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.eks.exceptions import InvalidRequestException
from moto.eks.responses import EKSResponse
from moto.moto_api._internal import mock_random

from infra.local.aws.moto.eks_common import check_role, cluster_of, in_use, invalid, missing, role_exists
from infra.local.aws.moto.patching import attach, given

POLICY_ARN = ":eks::aws:cluster-access-policy/"


def default_username(principal: str) -> str:
    """As EKS makes it: a role's sessions keep their names, a user is itself."""
    if ":role/" not in principal:
        return principal
    return principal.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/{{SessionName}}"


def find_entry(response: Any) -> dict[str, Any]:
    principal, entries = response._get_param("principalArn"), cluster_of(response).access_entries
    if principal not in entries:
        raise missing(f"The specified principalArn could not be found: {principal}")
    return entries[principal]


def create_access_entry(self: Any) -> ActionResult:
    cluster, principal = cluster_of(self), self._get_param("principalArn")
    if cluster.access_config["authenticationMode"] == "CONFIG_MAP":
        raise InvalidRequestException(
            message="The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] "
            "to perform this operation."
        )
    if ":role/" in principal and not role_exists(self.eks_backend, principal):
        raise invalid("The specified principalArn is invalid: invalid principal")
    if principal in cluster.access_entries:
        raise in_use(cluster, "The specified access entry resource is already in use on this cluster.")
    entry = new_entry(cluster, principal)
    entry.update(given(self, "type", "kubernetesGroups", "username", "tags"))
    return ActionResult({"accessEntry": entry})


def new_entry(cluster: Any, principal: str) -> dict[str, Any]:
    """Stores and returns a standard entry for the principal. `policies` maps a policy's ARN to its association."""
    now = utcnow()
    kind, _, name = principal.split(":")[-1].partition("/")
    prefix = cluster.arn.replace(":cluster/", ":access-entry/")
    cluster.access_entries[principal] = {
        "clusterName": cluster.name,
        "principalArn": principal,
        "type": "STANDARD",
        "kubernetesGroups": [],
        "tags": {},
        "createdAt": now,
        "modifiedAt": now,
        "username": default_username(principal),
        "accessEntryArn": f"{prefix}/{kind}/{principal.split(':')[4]}/{name}/{mock_random.uuid4()}",
        "policies": {},
    }
    return cluster.access_entries[principal]


def associate(entry: dict[str, Any], policy: str, scope: dict[str, Any]) -> dict[str, Any]:
    now = utcnow()
    entry["policies"][policy] = {
        "policyArn": policy, "accessScope": scope, "associatedAt": now, "modifiedAt": now,
    }  # fmt: skip
    return entry["policies"][policy]


def describe_access_entry(self: Any) -> ActionResult:
    return ActionResult({"accessEntry": find_entry(self)})


def update_access_entry(self: Any) -> ActionResult:
    entry = find_entry(self)
    entry.update(given(self, "kubernetesGroups", "username"), modifiedAt=utcnow())
    return ActionResult({"accessEntry": entry})


def delete_access_entry(self: Any) -> EmptyResult:
    del cluster_of(self).access_entries[find_entry(self)["principalArn"]]
    return EmptyResult()


def list_access_entries(self: Any) -> ActionResult:
    return ActionResult({"accessEntries": list(cluster_of(self).access_entries)})


def associate_access_policy(self: Any) -> ActionResult:
    entry, policy = find_entry(self), self._get_param("policyArn")
    if POLICY_ARN not in policy:
        raise invalid(f"The policyArn parameter format is not valid: {policy}")
    associated = associate(entry, policy, self._get_param("accessScope"))
    names = {"clusterName": entry["clusterName"], "principalArn": entry["principalArn"]}
    return ActionResult({**names, "associatedAccessPolicy": associated})


def list_associated_access_policies(self: Any) -> ActionResult:
    entry = find_entry(self)
    names = {"clusterName": entry["clusterName"], "principalArn": entry["principalArn"]}
    return ActionResult({**names, "associatedAccessPolicies": list(entry["policies"].values())})


def disassociate_access_policy(self: Any) -> EmptyResult:
    if find_entry(self)["policies"].pop(self._get_param("policyArn"), None) is None:
        raise missing(f"No policy association found: {self._get_param('policyArn')}")
    return EmptyResult()


def find_association(response: Any) -> dict[str, Any]:
    identifier, associations = response._get_param("associationId"), cluster_of(response).pod_identities
    if identifier not in associations:
        raise missing(f"Association {identifier} was not found")
    return associations[identifier]


def create_pod_identity_association(self: Any) -> ActionResult:
    cluster = cluster_of(self)
    check_role(self.eks_backend, self._get_param("roleArn"))
    account = (self._get_param("namespace"), self._get_param("serviceAccount"))
    if any((other["namespace"], other["serviceAccount"]) == account for other in cluster.pod_identities.values()):
        raise in_use(cluster, f"Association already exists: {account[0]}/{account[1]}")
    identifier, now = "a-" + mock_random.get_random_hex(17), utcnow()
    cluster.pod_identities[identifier] = {
        "clusterName": cluster.name,
        "associationId": identifier,
        "associationArn": cluster.arn.replace(":cluster/", ":podidentityassociation/") + f"/{identifier}",
        "tags": {},
        "disableSessionTags": False,
        "createdAt": now,
        "modifiedAt": now,
        **given(self, "namespace", "serviceAccount", "roleArn", "tags", "disableSessionTags", "targetRoleArn"),
    }
    return ActionResult({"association": cluster.pod_identities[identifier]})


def describe_pod_identity_association(self: Any) -> ActionResult:
    return ActionResult({"association": find_association(self)})


def update_pod_identity_association(self: Any) -> ActionResult:
    association = find_association(self)
    if role := self._get_param("roleArn"):
        check_role(self.eks_backend, role)
    association.update(given(self, "roleArn", "disableSessionTags", "targetRoleArn"), modifiedAt=utcnow())
    return ActionResult({"association": association})


def delete_pod_identity_association(self: Any) -> ActionResult:
    association = find_association(self)
    del cluster_of(self).pod_identities[association["associationId"]]
    return ActionResult({"association": association})


def list_pod_identity_associations(self: Any) -> ActionResult:
    namespace, account = self._get_param("namespace"), self._get_param("serviceAccount")
    return ActionResult(
        {
            "associations": [
                association
                for association in cluster_of(self).pod_identities.values()
                if namespace in (None, association["namespace"]) and account in (None, association["serviceAccount"])
            ]
        }
    )


def install() -> None:
    attach(
        EKSResponse, create_access_entry, describe_access_entry, update_access_entry, delete_access_entry,
        list_access_entries, associate_access_policy, list_associated_access_policies, disassociate_access_policy,
        create_pod_identity_association, describe_pod_identity_association, update_pod_identity_association,
        delete_pod_identity_association, list_pod_identity_associations,
    )  # fmt: skip
