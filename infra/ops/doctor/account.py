"""Checks of a stack's account: caller, clock, state, identity provider and roles, quotas, backend, cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from infra.ops.doctor.findings import Line, fail, ok, warn
from infra.ops.doctor.machine import run
from infra.ops.errors import PenstockError
from infra.ops.preflight.findings import Finding, Status
from infra.ops.setup import documents, roles, state
from infra.ops.setup.documents import Site
from infra.ops.setup.plan import Cloud
from infra.policy import held

MOST_SKEW_SECONDS = 60
"""AWS refuses a signature that is more than five minutes off; a minute already tells of a clock that nobody sets."""


def checks(
    cloud: Cloud,
    site: Site,
    environment: Mapping[str, str],
    preflight: Callable[[], list[Finding]],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    execute: Callable[[list[str], Mapping[str, str]], tuple[int, str]] = run,
) -> Iterator[Line]:
    """In this order; without the right caller nothing else of the account is asked."""
    caller, line = _caller(cloud, site)
    yield line
    yield from _backend(site, environment)
    yield _policies(environment)
    if caller is None:
        return
    yield from _clock(caller, now())
    yield from _state(cloud, site)
    yield from _roles(cloud, site)
    yield from _fits(preflight)
    yield from _cluster(site, environment, execute)


def _caller(cloud: Cloud, site: Site) -> tuple[dict[str, Any] | None, Line]:
    try:
        found = cloud.call("sts", "get_caller_identity")
    except PenstockError as error:
        return None, fail("Caller", error.cause, "Log in: `aws sso login`, or set AWS_PROFILE.")
    if found["Account"] != site.account:
        told = f"{found['Arn']}; the stack {site.stack} is of account {site.account}"
        return None, fail("Caller", told, "Take credentials of that account (AWS_PROFILE).")
    return found, ok("Caller", str(found["Arn"]))


def _clock(caller: Mapping[str, Any], now: datetime) -> Iterator[Line]:
    date = caller.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not date:
        yield warn("Clock", "the reply had no date", "Compare `date -u` with another clock.")
        return
    skew = (now - parsedate_to_datetime(date).astimezone(UTC)).total_seconds()
    if abs(skew) > MOST_SKEW_SECONDS:
        yield fail(
            "Clock", f"{skew:+.0f} s off AWS's: signatures will be refused", "Set it: `timedatectl set-ntp true`."
        )
    else:
        yield ok("Clock", f"{skew:+.0f} s off AWS's")


def _backend(site: Site, environment: Mapping[str, str]) -> Iterator[Line]:
    backend = environment.get("PULUMI_BACKEND_URL", "")
    if not backend:
        yield warn(
            "Pulumi backend", "PULUMI_BACKEND_URL is not set: `pulumi` uses what it is logged in to",
            f"export PULUMI_BACKEND_URL='{site.backend}'",
        )  # fmt: skip
    elif backend.startswith("s3://") and not re.match(rf"s3://{re.escape(site.bucket)}([?/]|$)", backend):
        yield warn("Pulumi backend", f"{backend}, not the bucket of `penstock init`", "Check that it is meant.")
    else:
        yield ok("Pulumi backend", backend)


def _policies(environment: Mapping[str, str]) -> Line:
    if held.reason_against(environment, (Path.cwd(),)):
        return warn(
            "Policies", f"{held.VARIABLE} does not name infra/policy: a plain `pulumi` is refused",
            f"export {held.VARIABLE}=infra/policy",
        )  # fmt: skip
    if why := environment.get(held.WITHOUT):
        return warn("Policies", f"{held.WITHOUT} is set: {why}", f"unset {held.WITHOUT}")
    return ok("Policies", "infra/policy looks at every preview and update")


def _state(cloud: Cloud, site: Site) -> Iterator[Line]:
    step = f"penstock init state --stack {site.stack}"
    try:
        found = list(state.changes(cloud, site))
    except PenstockError as error:
        yield fail("State", error.cause, "Allow reading it to these credentials.")
        return
    for kind in ("KMS key", "S3 bucket"):
        own = [each for each in found if each.kind == kind]
        missing = [each for each in own if each.action == "create"]
        wrong = [each.detail for each in own if each.action == "change"]
        if missing:
            yield fail(kind, f"{own[0].name} is not there", step)
        elif wrong:
            yield fail(kind, f"{own[0].name}: {', '.join(wrong)}", step)
        else:
            yield ok(kind, own[0].name)


def _roles(cloud: Cloud, site: Site) -> Iterator[Line]:
    step = f"penstock init roles --stack {site.stack} --repository OWNER/NAME"
    try:
        provider = cloud.ask(
            "iam", "get_open_id_connect_provider", roles.NOBODY, OpenIDConnectProviderArn=site.provider_arn
        )
        if provider is None:
            yield warn("GitHub OIDC", "no identity provider: workflows cannot deploy", step)
        else:
            yield ok("GitHub OIDC", documents.GITHUB)
        for role in roles.roles_of(site, (), ()):
            found = cloud.ask("iam", "get_role", roles.NOBODY, RoleName=role.name)
            if found is None:
                yield warn(f"Role {role.name}", "is not there: workflows cannot take it", step)
                continue
            trusted = re.findall(r"repo:[^\"]+", str(found["Role"]["AssumeRolePolicyDocument"]).replace("'", '"'))
            if any("*" in each for each in trusted) or not trusted:
                yield fail(f"Role {role.name}", f"trusts {', '.join(trusted) or 'another than GitHub'}", step)
            else:
                yield ok(f"Role {role.name}", trusted[0])
    except PenstockError as error:
        yield warn("Roles", error.cause, "Allow reading them to these credentials.")


def _fits(preflight: Callable[[], list[Finding]]) -> Iterator[Line]:
    """What `penstock preflight` finds, in doctor's words."""
    try:
        found = preflight()
    except PenstockError as error:
        yield warn("Quotas", error.cause, "See `penstock preflight`.")
        return
    for each in found:
        if each.check == "Account":
            continue
        told = f"{each.asked}: {each.there}"
        if each.status is Status.LACKS:
            yield fail(each.check, told, each.request)
        elif each.status in (Status.UNKNOWN, Status.NOTE):
            yield warn(each.check, told, each.request)
        else:
            yield ok(each.check, told)


def _cluster(
    site: Site,
    environment: Mapping[str, str],
    execute: Callable[[list[str], Mapping[str, str]], tuple[int, str]],
) -> Iterator[Line]:
    status, said = execute(["kubectl", "get", "--raw", "/readyz", "--request-timeout=4s"], environment)
    if status == 0:
        yield ok("Kubernetes", "the API server of the current context is ready")
    else:
        yield warn(
            "Kubernetes", said or f"kubectl ended with {status}", f"Only once {site.stack} is deployed: set KUBECONFIG."
        )
