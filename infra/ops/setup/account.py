"""What `penstock init` changes in an account: state, boundary and roles, planned in their order."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infra.ops.context import Context
from infra.ops.errors import UsageError
from infra.ops.setup import plan, roles, state
from infra.ops.setup.documents import PROJECT, Site
from infra.ops.setup.plan import Change, Cloud
from infra.ops.setup.roles import Role, roles_of
from infra.ops.setup.stack_file import Answers
from infra.policy.boundary import Fence, push_images
from infra.policy.boundary import boundary as drawn
from infra.settings import Settings
from infra.settings.regions import partition_of


def bounded(answers: Answers, own: bool) -> Answers:
    """With the ARN of the boundary that is to be made."""
    if not own:
        return answers
    site = Site(partition_of(answers.region), answers.account, answers.region, answers.stack, answers.repository)
    return replace(answers, boundary=site.boundary_arn)


def fence_of(site: Site, settings: Settings) -> Fence:
    """What the boundary of this stack is drawn around."""
    return Fence(
        site.partition,
        site.account,
        settings.aws.allowed_regions,
        site.boundary_arn,
        site.bucket,
        site.key_alias,
        any(provider.kind == "bedrock" for provider in settings.providers),
    )


def planned(
    context: Context,
    cloud: Cloud,
    site: Site,
    chosen: Sequence[str],
    undo: bool,
    draft: str | None,
    boundary: str | None,
    fence: Fence | None = None,
) -> list[Change]:
    """Every change of the account, in order. Asks AWS what is there; changes nothing."""
    with context.progress().step(f"Looking at account {site.account} in {site.region}", 5):
        plan.check_account(cloud, site.account)
        if undo:
            every = [*(roles.roles_of(site, (), ()) if "roles" in chosen else ())]
            every += [roles.release_role(site, ())] if {"roles", "release"} & set(chosen) else []
            changes = list(roles.removals(cloud, site, every)) if every else []
            changes += list(roles.boundary_removals(cloud, site)) if "roles" in chosen else []
            return [*changes, *(state.removals(cloud, site) if "state" in chosen else ())]
        changes = list(state.changes(cloud, site)) if "state" in chosen else []
        if fence and "roles" in chosen:
            changes += roles.boundary_changes(cloud, site, drawn(fence))
        taken: list[Role] = []
        if "roles" in chosen and site.repository:
            taken += policies_of(context, site, draft, boundary, own=fence is not None)
        if "release" in chosen and site.repository:
            image = f"{PROJECT}-{site.stack}/gateway"
            taken.append(roles.release_role(site, [push_images(site.partition, site.region, site.account, image)]))
        if taken:
            changes += roles.changes(cloud, site, taken)
        elif {"roles", "release"} & set(chosen) and "state" not in chosen:
            raise UsageError(
                "--repository is missing.", "Name the repository whose workflows take the roles: OWNER/NAME."
            )
        return changes


def policies_of(
    context: Context, site: Site, draft: str | None, boundary: str | None, *, own: bool = False
) -> tuple[Role, Role]:
    """The policies are those that `penstock policy` prints, for the file as it will be. `own`: the boundary holds for
    the role that deploys as well."""
    if draft is None:
        return _roles(context, site, boundary, own=own)
    with tempfile.TemporaryDirectory(prefix="penstock-init-") as name:
        folder = Path(name)
        (folder / "Pulumi.yaml").write_text("name: penstock\n")
        (folder / f"Pulumi.{site.stack}.yaml").write_text(draft, encoding="utf-8")
        return _roles(Context(checkout=folder), site, boundary, own=own)


def _roles(context: Context, site: Site, boundary: str | None, *, own: bool) -> tuple[Role, Role]:
    from infra.ops.commands.policy import made

    reading, deploying = made(context, site.stack, "preview", None), made(context, site.stack, "deployer", boundary)
    return roles_of(site, reading, deploying, boundary if own else None)
