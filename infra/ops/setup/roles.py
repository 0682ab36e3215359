"""GitHub's identity provider and, for a stack, the role that reads and the role that deploys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.setup import documents
from infra.ops.setup.documents import AUDIENCE, GITHUB, Document, Site
from infra.ops.setup.plan import Change, Cloud
from infra.ops.setup.state import key_arn

NOBODY = ("NoSuchEntity",)
MOST_VERSIONS = 5
"""Of a managed policy (IAM quotas)."""


@dataclass(frozen=True)
class Role:
    """`environment`: GitHub's, whose jobs may take it. `hours`: as long as its longest job."""

    name: str
    environment: str
    writes: bool
    hours: int
    policies: Sequence[Document]
    state: bool = True
    """Whether it reads the stack's state."""
    boundary: str | None = None
    """ARN of its permissions boundary; None: what it has is left as it is."""

    @property
    def does(self) -> str:
        return ("deploys" if self.writes else "reads") if self.state else "pushes images"


def roles_of(
    site: Site, reading: Sequence[Document], deploying: Sequence[Document], boundary: str | None = None
) -> tuple[Role, Role]:
    return (
        Role(f"penstock-preview-{site.stack}", f"preview-{site.stack}", False, 1, reading),
        Role(f"penstock-deploy-{site.stack}", site.stack, True, 2, deploying, boundary=boundary),
    )


def release_role(site: Site, pushing: Sequence[Document]) -> Role:
    """For the environment `release` of the repository: a release pushes to the repository of one stack."""
    return Role(f"penstock-release-{site.stack}", "release", True, 1, pushing, state=False)


def boundary_changes(cloud: Cloud, site: Site, document: Document) -> Iterator[Change]:
    """The boundary as a managed policy that no role has attached."""
    name = site.boundary_arn.rpartition("/")[2]
    found = cloud.ask("iam", "get_policy", NOBODY, PolicyArn=site.boundary_arn)
    if found is None:
        action, detail = "create", "what roles of the stack can never do"
    elif _parsed(_document_of(cloud, site.boundary_arn, found)) != document:
        action, detail = "change", "another document"
    else:
        yield Change("keep", "boundary", name, "what roles of the stack can never do")
        return
    yield Change(action, "boundary", name, detail, lambda: _put_document(cloud, site, site.boundary_arn, document))


def boundary_removals(cloud: Cloud, site: Site) -> Iterator[Change]:
    """Where no role bears it any more: those of the stack go with the stack."""
    if cloud.ask("iam", "get_policy", NOBODY, PolicyArn=site.boundary_arn) is None:
        return
    name, own = site.boundary_arn.rpartition("/")[2], f"penstock-deploy-{site.stack}"
    users = cloud.call("iam", "list_entities_for_policy", PolicyArn=site.boundary_arn,
                       PolicyUsageFilter="PermissionsBoundary")["PolicyRoles"]  # fmt: skip
    if others := sorted(row["RoleName"] for row in users if row["RoleName"] != own):
        yield Change("keep", "boundary", name, f"in use by {', '.join(others)}")
        return
    yield Change("delete", "boundary", name, "no role has it", lambda: _drop_policy(cloud, site.boundary_arn))


def changes(cloud: Cloud, site: Site, roles: Sequence[Role]) -> Iterator[Change]:
    yield from _provider(cloud, site)
    for role in roles:
        yield from _role(cloud, site, role)


def _provider(cloud: Cloud, site: Site) -> Iterator[Change]:
    found = cloud.ask("iam", "get_open_id_connect_provider", NOBODY, OpenIDConnectProviderArn=site.provider_arn)
    tags = [{"Key": key, "Value": value} for key, value in site.tags.items()]
    if found is None:
        yield Change(
            "create", "identity provider", GITHUB, "GitHub's workflows prove who they are",
            lambda: cloud.call(
                "iam", "create_open_id_connect_provider", Url=f"https://{GITHUB}", ClientIDList=[AUDIENCE], Tags=tags
            ),
        )  # fmt: skip
    elif AUDIENCE not in found["ClientIDList"]:
        yield Change(
            "change", "identity provider", GITHUB, f"add the audience {AUDIENCE}",
            lambda: cloud.call(
                "iam", "add_client_id_to_open_id_connect_provider",
                OpenIDConnectProviderArn=site.provider_arn, ClientID=AUDIENCE,
            ),
        )  # fmt: skip
    else:
        yield Change("keep", "identity provider", GITHUB, "GitHub's workflows prove who they are")


def _role(cloud: Cloud, site: Site, role: Role) -> Iterator[Change]:
    wanted = documents.trust(site, role.environment)
    found = cloud.ask("iam", "get_role", NOBODY, RoleName=role.name)
    detail = f"environment {role.environment} of {site.repository}; {role.does}"
    if found is None:
        yield Change("create", "role", role.name, detail, lambda: _make_role(cloud, site, role, wanted))
    elif (_parsed(found["Role"]["AssumeRolePolicyDocument"]), found["Role"]["MaxSessionDuration"]) != (
        wanted, role.hours * 3600,
    ):  # fmt: skip
        yield Change("change", "role", role.name, f"trust: {detail}", lambda: _set_role(cloud, role, wanted))
    elif role.boundary and _boundary_of(found) != role.boundary:
        yield Change("change", "role", role.name, f"boundary: {detail}", lambda: _set_role(cloud, role, wanted))
    else:
        yield Change("keep", "role", role.name, detail)
    attached = _attached(cloud, role) if found else {}
    names = []
    for number, document in enumerate(role.policies, 1):
        names.append(f"{role.name}-{number}")
        yield from _policy(cloud, site, role, names[-1], lambda document=document: document, set(attached))
    if role.state:
        names.append(f"{role.name}-state")
        yield from _policy(
            cloud, site, role, names[-1],
            lambda: documents.state_access(site, key_arn(cloud, site) or "", write=role.writes), set(attached),
        )  # fmt: skip
    for name, arn in attached.items():
        if name.startswith(f"{role.name}-") and name not in names:
            yield Change("delete", "policy", name, "no longer needed", _remover(cloud, role.name, arn))


def _policy(cloud: Cloud, site: Site, role: Role, name: str, made: Any, attached: set[str]) -> Iterator[Change]:
    arn = site.policy_arn(name)
    found = cloud.ask("iam", "get_policy", NOBODY, PolicyArn=arn)
    if found is None:
        action, detail = "create", f"for {role.name}"
    else:
        if _parsed(_document_of(cloud, arn, found)) != made():
            action, detail = "change", "another document"
        elif name not in attached:
            action, detail = "change", f"attach to {role.name}"
        else:
            yield Change("keep", "policy", name, f"for {role.name}")
            return
    yield Change(action, "policy", name, detail, lambda: _put_policy(cloud, site, role, name, made()))


def _boundary_of(found: dict[str, Any]) -> str | None:
    return (found["Role"].get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")


def _document_of(cloud: Cloud, arn: str, found: dict[str, Any]) -> Any:
    version = found["Policy"]["DefaultVersionId"]
    return cloud.call("iam", "get_policy_version", PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def _make_role(cloud: Cloud, site: Site, role: Role, trusted: Document) -> None:
    cloud.call(
        "iam", "create_role", RoleName=role.name, AssumeRolePolicyDocument=json.dumps(trusted),
        MaxSessionDuration=role.hours * 3600, Description=f"Penstock, GitHub environment {role.environment}",
        Tags=[{"Key": key, "Value": value} for key, value in site.tags.items()],
        **({"PermissionsBoundary": role.boundary} if role.boundary else {}),
    )  # fmt: skip


def _set_role(cloud: Cloud, role: Role, trusted: Document) -> None:
    cloud.call("iam", "update_assume_role_policy", RoleName=role.name, PolicyDocument=json.dumps(trusted))
    cloud.call("iam", "update_role", RoleName=role.name, MaxSessionDuration=role.hours * 3600)
    if role.boundary:
        cloud.call("iam", "put_role_permissions_boundary", RoleName=role.name, PermissionsBoundary=role.boundary)


def _put_policy(cloud: Cloud, site: Site, role: Role, name: str, document: Document) -> None:
    """Also of a policy that an earlier run has made and not attached."""
    arn = site.policy_arn(name)
    _put_document(cloud, site, arn, document)
    cloud.call("iam", "attach_role_policy", RoleName=role.name, PolicyArn=arn)


def _put_document(cloud: Cloud, site: Site, arn: str, document: Document) -> None:
    name, text = arn.rpartition("/")[2], json.dumps(document, separators=(",", ":"))
    tags = [{"Key": key, "Value": value} for key, value in site.tags.items()]
    there = cloud.ask("iam", "get_policy", NOBODY, PolicyArn=arn)
    if there is None:
        cloud.call("iam", "create_policy", PolicyName=name, PolicyDocument=text, Tags=tags)
    else:
        if _parsed(_document_of(cloud, arn, there)) != document:
            rows = cloud.call("iam", "list_policy_versions", PolicyArn=arn)["Versions"]
            if len(rows) >= MOST_VERSIONS:
                old = min((row for row in rows if not row["IsDefaultVersion"]), key=lambda row: row["CreateDate"])
                cloud.call("iam", "delete_policy_version", PolicyArn=arn, VersionId=old["VersionId"])
            cloud.call("iam", "create_policy_version", PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)


def _attached(cloud: Cloud, role: Role) -> dict[str, str]:
    rows = cloud.call("iam", "list_attached_role_policies", RoleName=role.name)["AttachedPolicies"]
    return {row["PolicyName"]: row["PolicyArn"] for row in rows}


def _remover(cloud: Cloud, role: str, arn: str) -> Any:
    def make() -> None:
        cloud.ask("iam", "detach_role_policy", NOBODY, RoleName=role, PolicyArn=arn)
        _drop_policy(cloud, arn)

    return make


def _drop_policy(cloud: Cloud, arn: str) -> None:
    rows = cloud.ask("iam", "list_policy_versions", NOBODY, PolicyArn=arn)
    for row in rows["Versions"] if rows else []:
        if not row["IsDefaultVersion"]:
            cloud.call("iam", "delete_policy_version", PolicyArn=arn, VersionId=row["VersionId"])
    cloud.ask("iam", "delete_policy", NOBODY, PolicyArn=arn)


def removals(cloud: Cloud, site: Site, roles: Sequence[Role]) -> Iterator[Change]:
    """The stack's roles with their policies; the provider where it is ours and nobody else's role trusts it."""
    made = {row["PolicyName"]: row["Arn"] for row in _listed(cloud, "list_policies", "Policies", Scope="Local")}
    for role in roles:
        there = cloud.ask("iam", "get_role", NOBODY, RoleName=role.name) is not None
        own = re.compile(rf"{re.escape(role.name)}-(\d+|state)")
        ours = {name: arn for name, arn in made.items() if own.fullmatch(name)}
        for name, arn in ours.items():
            yield Change("delete", "policy", name, f"of {role.name}", _remover(cloud, role.name, arn))
        if not there:
            continue
        for name, arn in _attached(cloud, role).items():
            if name not in ours:
                yield Change(
                    "delete", "policy", name, f"detach from {role.name} alone", _detacher(cloud, role.name, arn)
                )
        yield Change("delete", "role", role.name, f"environment {role.environment}", _role_remover(cloud, role.name))
    found = cloud.ask("iam", "get_open_id_connect_provider", NOBODY, OpenIDConnectProviderArn=site.provider_arn)
    if found is None:
        return
    ours = {(tag["Key"], tag["Value"]) for tag in found.get("Tags", [])} >= set(site.tags.items())
    others = sorted(set(_trusting(cloud, site)) - {role.name for role in roles})
    if not ours or others:
        why = f"{', '.join(others)} trust it" if others else "another than Penstock made it"
        yield Change("keep", "identity provider", GITHUB, why)
        return
    yield Change(
        "delete", "identity provider", GITHUB, "no role is left that trusts it",
        lambda: cloud.call("iam", "delete_open_id_connect_provider", OpenIDConnectProviderArn=site.provider_arn),
    )  # fmt: skip


def _detacher(cloud: Cloud, role: str, arn: str) -> Any:
    return lambda: cloud.ask("iam", "detach_role_policy", NOBODY, RoleName=role, PolicyArn=arn)


def _role_remover(cloud: Cloud, name: str) -> Any:
    return lambda: cloud.ask("iam", "delete_role", NOBODY, RoleName=name)


def _trusting(cloud: Cloud, site: Site) -> Iterator[str]:
    for role in _listed(cloud, "list_roles", "Roles"):
        if site.provider_arn in json.dumps(_parsed(role["AssumeRolePolicyDocument"])):
            yield role["RoleName"]


def _listed(cloud: Cloud, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    reply = cloud.call("iam", operation, **arguments)
    yield from reply[key]
    while reply.get("IsTruncated"):
        reply = cloud.call("iam", operation, Marker=reply["Marker"], **arguments)
        yield from reply[key]


def _parsed(document: Any) -> Any:
    return json.loads(document) if isinstance(document, str) else document
