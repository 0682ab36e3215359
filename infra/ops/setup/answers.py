"""What `penstock init` has to know: from options, else asked on a terminal, else from the example."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from infra.ops.errors import UsageError
from infra.ops.setup.stack_file import EXAMPLES, Answers

FORMS: Mapping[str, tuple[str, str]] = {
    "stack": (r"[a-z][a-z0-9-]{0,30}", "small letters, digits and -, such as dev"),
    "account": (r"[0-9]{12}", "twelve digits"),
    "region": (r"[a-z]{2}(-[a-z]+)+-[0-9]", "a region such as eu-central-1"),
    "zones": (r"[a-f](,[a-f]){1,5}", "zone letters such as a,b,c"),
    "budget": (r"[1-9][0-9]{0,7}", "whole US dollars a month"),
    "clients": (r"[0-9./]+(,[0-9./]+)*", "IPv4 ranges such as 203.0.113.0/24"),
    "hostname": (r"[a-z0-9-]+(\.[a-z0-9-]+)+", "a name such as llm.example.com"),
    "hosted_zone": (r"Z[A-Z0-9]+", "the id of a Route 53 zone, such as Z0123456789"),
    "repository": (r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", "OWNER/NAME"),
    "boundary": (r"arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+", "a policy's ARN"),
}
OPTIONAL = ("hostname", "hosted_zone", "repository", "boundary")
QUESTIONS: Mapping[str, str] = {
    "models": "Which models",
    "account": "AWS account",
    "region": "Region",
    "zones": "Zones",
    "budget": "US dollars a month",
    "clients": "Who may reach it",
    "hostname": "Host name (empty: the load balancer's own)",
    "hosted_zone": "Route 53 zone of that name (empty: none, and no TLS)",
    "repository": "Repository at GitHub that deploys it (empty: none)",
}


def gather(given: Mapping[str, Any], defaults: Mapping[str, Any], *, ask: bool) -> Answers:
    """Raises UsageError for a value that cannot be right, and for one that is missing where nobody can be asked."""
    found: dict[str, Any] = {}
    for name in ("stack", *QUESTIONS, "boundary"):
        value = given.get(name)
        if value is None and ask and name in QUESTIONS and not (name == "hosted_zone" and not found.get("hostname")):
            value = _asked(name, defaults.get(name))
        elif value is None:
            value = defaults.get(name)
        if value in (None, ""):
            if name not in OPTIONAL:
                raise UsageError(f"--{name} is missing, and nobody can be asked.", f"Give {FORMS[name][1]}.")
            value = None
        found[name] = checked(name, value)
    return Answers(
        stack=found["stack"],
        models=found["models"],
        account=found["account"],
        region=found["region"],
        zones=tuple(sorted(found["zones"].split(","))),
        budget_usd=int(found["budget"]),
        clients=tuple(found["clients"].split(",")),
        hostname=found["hostname"],
        hosted_zone=found["hosted_zone"],
        administrators=tuple(given.get("administrators") or ()),
        copy_region=given.get("copy_region") or defaults.get("copy_region"),
        boundary=found["boundary"],
        repository=found["repository"],
    )


def checked(name: str, value: Any) -> Any:
    """Raises UsageError."""
    if value is None or name == "models":
        return value
    pattern, allowed = FORMS[name]
    if not re.fullmatch(pattern, str(value)):
        raise UsageError(f"--{name.replace('_', '-')}: {value!r} is not allowed.", f"Give {allowed}.")
    return str(value)


def _asked(name: str, default: Any) -> Any:
    while True:
        if name == "models":
            for key, (_, about) in EXAMPLES.items():
                click.echo(f"  {key:12} {about}", err=True)
            return click.prompt(QUESTIONS[name], default=default, type=click.Choice(list(EXAMPLES)), err=True)
        shown = "" if default is None and name in OPTIONAL else default
        value = click.prompt(QUESTIONS[name], default=shown, show_default=bool(shown), err=True)
        try:
            return checked(name, value or None)
        except UsageError as error:
            click.echo(str(error), err=True)


def can_ask(yes: bool) -> bool:
    return not yes and sys.stdin.isatty()


def copies_of(region: str, regions: Sequence[str] = ()) -> str:
    """Another region of the same part of the world, for copies of data."""
    pairs = {"eu-central-1": "eu-west-1", "us-east-1": "us-west-2", "ap-northeast-1": "ap-southeast-1"}
    others = {"eu": "eu-central-1", "us": "us-east-1", "ap": "ap-northeast-1"}
    return pairs.get(region) or others.get(region[:2]) or "us-east-1"
