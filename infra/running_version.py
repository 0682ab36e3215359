"""Which PostgreSQL a stack runs, asked of RDS at preview: another major version is refused unless it is allowed.

RDS itself refuses it too, but in the middle of the update.
"""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.settings import Settings


def refused_jump(running: str, wanted: str, *, allowed: bool) -> str | None:
    """Why this change of version cannot be, as a sentence; None where it can. Versions such as `17.6` and `18`."""
    before, after = (int(version.split(".")[0]) for version in (running, wanted))
    if after < before:
        return (
            f"penstock:data.database.engineVersion: {wanted} is older than {running}, which runs, and there is no way "
            f"back in place; allowed: {before} or newer, or a restore of a snapshot"
        )
    if after > before and not allowed:
        return (
            f"penstock:data.database.engineVersion: {wanted} is another major version than {running}, which runs, and "
            f"penstock:data.database.allowMajorUpgrade is false; allowed: {before}, or true there (docs/day-two.md)"
        )
    return None


def version_may_come(settings: Settings, identifier: str, provider: pulumi.ProviderResource) -> pulumi.Output[str]:
    """The wanted version, once RDS said what runs: at preview already. A stack without an instance takes any.

    Fails with pulumi.RunError for a jump that is not allowed.
    """
    wanted, opts = settings.data.database.engine_version, pulumi.InvokeOutputOptions(provider=provider)
    there = aws.rds.get_instances_output(filters=[{"name": "db-instance-id", "values": [identifier]}], opts=opts)

    def running(found: aws.rds.GetInstancesResult) -> pulumi.Output[str]:
        if not found.instance_identifiers:
            return pulumi.Output.from_input(wanted)
        return aws.rds.get_instance_output(db_instance_identifier=identifier, opts=opts).engine_version.apply(judged)

    def judged(version: str) -> str:
        if sentence := refused_jump(version, wanted, allowed=settings.data.database.allow_major_upgrade):
            raise pulumi.RunError(sentence)
        return wanted

    return there.apply(running)
