"""Hands the rules to Pulumi as policies."""

from __future__ import annotations

from typing import Protocol

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from infra.policy.rules import RULES, STACK_RULES, Rule, StackRule, Subject


class Named(Protocol):
    __name__: str
    __doc__: str | None


def titles(rule: Named) -> tuple[str, str]:
    """The function's name, in Pulumi's spelling, and the first line of its docstring."""
    return rule.__name__.replace("_", "-"), (rule.__doc__ or "").partition("\n")[0]


def policy_of(rule: Rule) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        subject = Subject(
            args.resource_type, args.props, stack_of(args.urn), args.name, args.urn, protected=args.opts.protect
        )
        for message in rule(subject):
            report(f"{args.name}: {message}", None)

    return ResourceValidationPolicy(*titles(rule), validate=validate)


def stack_policy_of(rule: StackRule) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        subjects = [
            Subject(
                each.resource_type,
                each.props,
                stack_of(each.urn),
                each.name,
                each.urn,
                frozenset(other.urn for other in each.dependencies),
                each.opts.protect,
            )
            for each in args.resources
        ]
        for message in rule(subjects):
            report(message, None)

    return StackValidationPolicy(*titles(rule), validate=validate)


def stack_of(urn: str) -> str:
    """`prod` of `urn:pulumi:prod::penstock::...`."""
    return urn.split("::", 1)[0].rsplit(":", 1)[-1]


def serve() -> None:
    """Starts the pack's server; does not return while the engine needs it."""
    PolicyPack(
        name="penstock",
        enforcement_level=EnforcementLevel.MANDATORY,
        policies=[*map(policy_of, RULES), *map(stack_policy_of, STACK_RULES)],
    )
