"""Hands the rules to Pulumi as policies."""

from __future__ import annotations

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)

from infra.policy.rules import RULES, Rule, Subject


def policy_of(rule: Rule) -> ResourceValidationPolicy:
    """The function's name is the policy's name, in Pulumi's spelling."""
    name = rule.__name__.replace("_", "-")

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for message in rule(Subject(args.resource_type, args.props, stack_of(args.urn))):
            report(f"{args.name}: {message}", None)

    return ResourceValidationPolicy(name=name, description=name.replace("-", " ").capitalize() + ".", validate=validate)


def stack_of(urn: str) -> str:
    """`prod` of `urn:pulumi:prod::penstock::...`."""
    return urn.split("::", 1)[0].rsplit(":", 1)[-1]


def serve() -> None:
    """Starts the pack's server; does not return while the engine needs it."""
    PolicyPack(
        name="penstock",
        enforcement_level=EnforcementLevel.MANDATORY,
        policies=[policy_of(rule) for rule in RULES],
    )
