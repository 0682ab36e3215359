"""EKS: the paths that moto does not route, tags of every kind of resource, and the installation of all its parts."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from moto.core.responses import ActionResult, EmptyResult
from moto.eks import urls
from moto.eks.responses import EKSResponse

from infra.local.aws.moto import eks_access, eks_addons, eks_clusters, eks_nodegroups
from infra.local.aws.moto.eks_common import missing
from infra.local.aws.moto.patching import attach, wrap

CLUSTER_PATHS = (
    "addons", "addons/(?P<addonName>[^/]+)", "addons/(?P<addonName>[^/]+)/update",
    "pod-identity-associations", "pod-identity-associations/(?P<associationId>[^/]+)",
    "access-entries", "access-entries/(?P<rest>.+)", "updates", "updates/(?P<updateId>[^/]+)",
    "node-groups/(?P<nodegroupName>[^/]+)/update-version", "encryption-config/associate",
)  # fmt: skip
ENTRY_ACTIONS = {"GET": "DescribeAccessEntry", "DELETE": "DeleteAccessEntry", "POST": "UpdateAccessEntry"}
POLICY_ACTIONS = {
    "GET": "ListAssociatedAccessPolicies", "POST": "AssociateAccessPolicy", "DELETE": "DisassociateAccessPolicy",
}  # fmt: skip


def action_of(original: Any, self: Any, request: Any) -> str:
    """A principal's ARN holds a slash, which moto's router does not expect in the middle of a path."""
    found = re.search(r"/clusters/([^/]+)/access-entries/(.+)$", request.raw_path.split("?")[0])
    if not found:
        return original(self, request)
    principal, separator, policy = unquote(found[2]).partition("/access-policies")
    self.uri_match = {"name": unquote(found[1]), "principalArn": principal, "policyArn": policy.lstrip("/")}
    return (POLICY_ACTIONS if separator else ENTRY_ACTIONS)[request.method]


def tags_of(response: Any) -> dict[str, str]:
    """The tags of the resource whose ARN the request's path holds, to read or to change."""
    arn = response._extract_arn_from_path()
    for cluster in response.eks_backend.clusters.values():
        if cluster.arn == arn:
            return cluster.tags
        for group in cluster.nodegroups.values():
            if group.arn == arn:
                return group.tags
        for profile in cluster.fargate_profiles.values():
            if profile.fargate_profile_arn == arn:
                return profile.tags
        for resources, key in (
            (cluster.addons, "addonArn"), (cluster.access_entries, "accessEntryArn"),
            (cluster.pod_identities, "associationArn"),
        ):  # fmt: skip
            for resource in resources.values():
                if resource[key] == arn:
                    return resource["tags"]
    raise missing(f"Resource {arn} was not found")


def tag_resource(self: Any) -> EmptyResult:
    tags_of(self).update(self._get_param("tags"))
    return EmptyResult()


def untag_resource(self: Any) -> EmptyResult:
    tags = tags_of(self)
    for key in self.querystring.get("tagKeys", []):
        tags.pop(key, None)
    return EmptyResult()


def list_tags_for_resource(self: Any) -> ActionResult:
    return ActionResult({"tags": tags_of(self)})


def install() -> None:
    for path in CLUSTER_PATHS:
        urls.url_paths["{0}/clusters/(?P<name>[^/]+)/" + path + "$"] = urls.response.dispatch
    urls.url_paths["{0}/addons/supported-versions$"] = urls.response.dispatch
    urls.url_paths["{0}/cluster-versions$"] = urls.response.dispatch
    wrap(EKSResponse, "_get_action_from_method_and_request_uri", action_of)
    attach(EKSResponse, tag_resource, untag_resource, list_tags_for_resource)
    for part in (eks_clusters, eks_nodegroups, eks_addons, eks_access):
        part.install()
