"""A small stack on the plug-in, run by the real Pulumi engine. `python pulumi_program.py FOLDER` does one whole life
and prints, as JSON, what each command changed."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import automation

PROJECT, STACK, REGION = "provider", "test", "eu-central-1"


def declare(settings: dict[str, Any]) -> None:
    provider = aws.Provider(
        "aws",
        region=REGION,
        allowed_account_ids=["123456789012"],
        default_tags={"tags": {"project": settings.get("project", "penstock")}},
        skip_credentials_validation=True,
    )
    own = pulumi.ResourceOptions(provider=provider)
    key = aws.kms.Key("data", enable_key_rotation=True, rotation_period_in_days=180, opts=own)
    aws.kms.Alias("data", target_key_id=key.key_id, opts=own)
    vpc = aws.ec2.Vpc("main", cidr_block="10.0.0.0/16", enable_dns_hostnames=True, tags={"Name": "main"}, opts=own)
    subnets = [
        aws.ec2.Subnet(
            f"zone-{zone}",
            vpc_id=vpc.id,
            cidr_block=f"10.0.{n}.0/24",
            availability_zone=REGION + zone,
            opts=own,
        )
        for n, zone in enumerate("abc")
    ]
    subnet_ids = [subnet.id for subnet in subnets]
    gateway = aws.ec2.InternetGateway("door", vpc_id=vpc.id, opts=own)
    table = aws.ec2.RouteTable("public", vpc_id=vpc.id, opts=own)
    out = aws.ec2.Route(
        "out", route_table_id=table.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id, opts=own
    )
    for subnet, zone in zip(subnets, "abc", strict=True):
        aws.ec2.RouteTableAssociation(f"public-{zone}", route_table_id=table.id, subnet_id=subnet.id, opts=own)
    address = aws.ec2.Eip("nat", domain="vpc", opts=own)
    aws.ec2.NatGateway(
        "nat",
        allocation_id=address.id,
        subnet_id=subnets[0].id,
        opts=pulumi.ResourceOptions(provider=provider, depends_on=[out]),
    )
    edge = aws.ec2.SecurityGroup("edge", vpc_id=vpc.id, opts=own)
    aws.vpc.SecurityGroupIngressRule(
        "http", security_group_id=edge.id, ip_protocol="tcp", from_port=80, to_port=80, cidr_ipv4="0.0.0.0/0", opts=own
    )
    balancer = aws.lb.LoadBalancer("edge", subnets=subnet_ids, security_groups=[edge.id], idle_timeout=300, opts=own)
    groups = [
        aws.lb.TargetGroup(colour, port=8080, protocol="HTTP", target_type="ip", vpc_id=vpc.id, opts=own)
        for colour in ("blue", "green")
    ]
    not_found = aws.lb.ListenerDefaultActionFixedResponseArgs(content_type="text/plain", status_code="404")
    listener = aws.lb.Listener(
        "edge",
        load_balancer_arn=balancer.arn,
        port=80,
        protocol="HTTP",
        default_actions=[aws.lb.ListenerDefaultActionArgs(type="fixed-response", fixed_response=not_found)],
        opts=own,
    )
    weights = (100 - settings["green"], settings["green"])
    aws.lb.ListenerRule(
        "release",
        listener_arn=listener.arn,
        priority=10,
        conditions=[{"path_pattern": {"values": ["/v1/*"]}}],
        actions=[
            {
                "type": "forward",
                "forward": {
                    "target_groups": [
                        {"arn": group.arn, "weight": weight} for group, weight in zip(groups, weights, strict=True)
                    ]
                },
            }
        ],
        opts=own,
    )
    secret = aws.secretsmanager.Secret("api-key", recovery_window_in_days=0, kms_key_id=key.arn, opts=own)
    version = aws.secretsmanager.SecretVersion(
        "api-key",
        secret_id=secret.id,
        secret_string=pulumi.Output.secret("sk-" + secrets.token_urlsafe(16)),
        opts=pulumi.ResourceOptions(provider=provider, ignore_changes=["secretString"]),
    )
    database = aws.rds.Instance(
        "data",
        engine="postgres",
        engine_version="17",
        instance_class="db.t4g.medium",
        allocated_storage=20,
        username="penstock",
        manage_master_user_password=True,
        db_subnet_group_name=aws.rds.SubnetGroup("data", subnet_ids=subnet_ids, opts=own).name,
        vpc_security_group_ids=[edge.id],
        skip_final_snapshot=True,
        opts=own,
    )
    pulumi.export("zones", aws.get_availability_zones(opts=pulumi.InvokeOptions(provider=provider)).names)
    pulumi.export("account", aws.get_caller_identity(opts=pulumi.InvokeOptions(provider=provider)).account_id)
    pulumi.export("key", version.secret_string)
    pulumi.export("credentials", database.master_user_secrets[0].secret_arn)
    pulumi.export("dns", balancer.dns_name)


def main(folder: Path) -> None:
    settings: dict[str, Any] = {"green": 0}
    stack = automation.create_or_select_stack(
        STACK,
        project_name=PROJECT,
        program=lambda: declare(settings),
        opts=automation.LocalWorkspaceOptions(work_dir=str(folder / "work"), pulumi_home=str(folder / "home")),
    )
    lines: list[str] = []
    report: dict[str, Any] = {"first preview": dict(stack.preview(on_output=lines.append).change_summary)}
    up = stack.up(on_output=lines.append)
    report["up"] = up.summary.resource_changes
    report["outputs"] = {name: [it.value, it.secret] for name, it in up.outputs.items()}
    report["second preview"] = dict(stack.preview(on_output=lines.append).change_summary)
    report["refresh"] = stack.refresh(on_output=lines.append).summary.resource_changes
    settings |= {"green": 5}
    seen: list[str] = []
    report["shift preview"] = dict(stack.preview(diff=True, on_output=seen.append, color="never").change_summary)
    report["shift diff"] = "\n".join(seen)
    report["shift"] = stack.up(on_output=lines.append).summary.resource_changes
    settings |= {"project": "renamed"}
    report["retag"] = stack.up(on_output=lines.append).summary.resource_changes
    report["preview after"] = dict(stack.preview(on_output=lines.append).change_summary)
    report["key after"] = stack.outputs()["key"].value
    report["state"] = "".join(path.read_text() for path in (folder / "backend").rglob("*.json*"))
    report["destroy"] = stack.destroy(on_output=lines.append).summary.resource_changes
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
