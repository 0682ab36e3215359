"""Serving: models, releases, gateways, traffic, alarms, budget."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import manifests, migration, policies
from components.certificate import Certificate
from components.edge import Edge, EdgeArgs, Traffic
from components.firewall import Firewall
from components.ground import Ground
from components.guard import Guard
from components.isolation import Isolation
from components.options import numbered
from components.release import Release, encoded
from components.role import ServiceRole
from components.subnets import plan
from infra.budget_events import events_access
from infra.cluster import Cluster
from infra.controllers import bind_targets, build_keda
from infra.drills import build_drills
from infra.engines import engine_shape, groups, image
from infra.foundation import Foundation
from infra.gateway_config import gateway_config, key_file
from infra.jobs import build_jobs_base, build_workers
from infra.outside import build_outside, gateway_role
from infra.outside_config import gateway_files
from infra.retention import build_retention
from infra.settings import Settings
from infra.telemetry import build_telemetry
from infra.watching import build_watch

KEY_BYTES = 32
SHORTEST_HEALTH_PERIOD_SECONDS = 5
"""The shortest that a target group takes."""
RECOVERY_DAYS = 7
"""The shortest wait that Secrets Manager offers before a deleted secret is gone for good."""


@dataclass(frozen=True)
class Serving:
    gateway_url: pulumi.Output[str]
    api_key: pulumi.Output[str]
    """Secret."""
    admin_key: pulumi.Output[str]
    """Secret. It opens the admin API, and no model."""
    provider_secrets: dict[str, pulumi.Output[str]]
    """ARN of the secret for each outside provider's key, by the provider's name."""


def build_serving(
    settings: Settings,
    foundation: Foundation,
    cluster: Cluster,
    stack: str,
    provider: pulumi.ProviderResource,
    made: Sequence[pulumi.Resource],
) -> Serving:
    """`made`: every resource of the program so far; it grows as more are made."""
    on_aws = pulumi.ResourceOptions(providers=[provider])
    on_kubernetes = pulumi.ResourceOptions(providers=[cluster.provider])
    edge = Edge("edge", _edge_args(settings, foundation, on_aws), on_aws)
    Firewall(
        "firewall",
        {
            "load_balancer_arn": edge.load_balancer_arn,
            "requests_per_five_minutes_per_ip": settings.edge.requests_per_five_minutes_per_ip,
            "log_name": f"penstock-{stack}",
            "log_retention_days": settings.cluster.log_retention_days,
            "logs_key_arn": foundation.keys.logs,
        },
        on_aws,
    )
    watch = build_watch(settings, foundation, edge, cluster.name, stack, on_aws)
    build_drills(settings, foundation, edge, stack, on_aws)
    api_key = _made_once("api-key", "API key of the first client", "pk-", settings, foundation, provider)
    turns = settings.rotation
    admin_key = _made_once("admin-key", "Key of the admin API", "pa-", settings, foundation, provider, turns.admin_key)
    password = _made_once(
        "gateway-login",
        "The gateways' password in the database",
        "",
        settings,
        foundation,
        provider,
        turns.database_logins,
    )

    ground = Ground("ground", {"namespace": settings.namespace}, on_kubernetes)
    isolation = Isolation(
        "isolation",
        {
            "namespace": ground.namespace,
            "vpc_cidr": settings.network.cidr,
            "edge_cidrs": [zone.public for zone in plan(settings.network.cidr, settings.network.zones)],
            "scaled": any(model.scaling for model in settings.models),
            "grouped": any(model.nodes > 1 for model in settings.models),
        },
        on_kubernetes,
    )
    outside = build_outside(settings, foundation, provider)
    jobs = build_jobs_base(
        settings,
        foundation,
        cluster,
        lambda name, description, turn: _made_once(name, description, "", settings, foundation, provider, turn),
        lambda name, values: _secret(name, ground, values, cluster.provider),
        provider,
    )
    events_variables, events_statements = events_access(settings, foundation)
    keys_secret = _secret(
        "keys",
        ground,
        {"keys.json": pulumi.Output.all(api_key, admin_key).apply(lambda keys: key_file(*keys))},
        cluster.provider,
    )
    addresses_secret = _secret(
        "addresses",
        ground,
        {
            "PENSTOCK_CACHE_ADDRESS": foundation.cache_address,
            "PENSTOCK_CACHE_TOKEN": foundation.cache_token,
            "PENSTOCK_CACHE_TLS": pulumi.Output.from_input(str(settings.data.cache.tls).lower()),
            "PENSTOCK_DATABASE_ADDRESS": foundation.database_address,
            "PENSTOCK_DATABASE_USER": pulumi.Output.from_input(migration.GATEWAY_LOGIN),
            migration.PASSWORD_KEY: password,
            "PENSTOCK_KEYS_DATABASE": pulumi.Output.from_input("true"),
            **outside.environment,
            **jobs.environment,
            **events_variables,
        },
        cluster.provider,
    )
    target_groups = {"blue": edge.blue_target_group_arn, "green": edge.green_target_group_arn}
    owner = _owner_of_the_database(settings, foundation, cluster, provider)
    waited: list[pulumi.Resource] = [ground, isolation, owner]
    statements = [*([outside.statements] if outside.statements else []), *jobs.statements, *events_statements]
    waited += gateway_role(settings, cluster, statements, provider)
    before_pods = len(made)
    if controller := bind_targets(settings, foundation, cluster, ground.namespace, target_groups, provider):
        waited.append(controller)
    if scaler := build_keda(settings, foundation, cluster, ground.namespace):
        waited.append(scaler.ready)
    waited += groups(settings, cluster.provider)
    pods_can_run = pulumi.ResourceOptions(providers=[cluster.provider], depends_on=waited)
    build_telemetry(settings, foundation, cluster, watch, [ground, isolation], stack, provider)
    build_retention(settings, foundation, cluster, ground.namespace, [owner, isolation])
    releases = []
    for colour, release in (("blue", settings.release.blue), ("green", settings.release.green)):
        releases.append(
            Release(
                colour,
                {
                    "colour": colour,
                    "namespace": ground.namespace,
                    "zones": len(settings.network.zones),
                    "gateway_image": image(foundation.image_urls["gateway"], release.gateway_image),
                    "gateway_replicas": release.gateway_replicas,
                    "gateway_cpu_millicores": settings.gateway.cpu_millicores,
                    "gateway_memory_mib": settings.gateway.memory_mib,
                    "gateway_config": gateway_config(settings, colour).model_dump_json(indent=2),
                    "gateway_files": gateway_files(settings),
                    "keys_secret": keys_secret,
                    "addresses_secret": addresses_secret,
                    "migration": {
                        "database_address": foundation.database_address,
                        "database_tls": settings.data.database.tls,
                        "owner_secret_arn": foundation.database_secret_arn,
                        "login_secret": addresses_secret,
                        "keep_days": settings.gateway.ledger.keep_days,
                        "semantic_cache": settings.gateway.cache.semantic is not None,
                        **({"jobs_secret": jobs.secret} if jobs.secret is not None else {}),
                        "retrieval": settings.retrieval.enabled,
                    },
                    "spool_mib": settings.gateway.ledger.spool_mib,
                    "engine_image": image(foundation.image_urls["engine"], release.engine_image),
                    "engines": [engine_shape(model, release, settings, foundation) for model in settings.models],
                    "target_group_arn": target_groups[colour],
                    "waits_for_load_balancer": settings.controllers.load_balancer.readiness_gates,
                    "drain": {
                        "pre_stop_seconds": settings.drain.pre_stop_seconds,
                        "engine_shutdown_seconds": settings.drain.engine_shutdown_seconds,
                        "grace_seconds": settings.drain.grace_seconds,
                    },
                    "probes": {
                        "period_seconds": settings.probes.period_seconds,
                        "timeout_seconds": settings.probes.timeout_seconds,
                        "failure_threshold": settings.probes.failure_threshold,
                        "gateway_startup_seconds": settings.probes.gateway_startup_seconds,
                    },
                },
                pods_can_run,
            )
        )
    newest = settings.release.blue if settings.release.blue.gateway_replicas else settings.release.green
    worker_image = image(foundation.image_urls["gateway"], newest.gateway_image)
    build_workers(settings, cluster, jobs, ground.namespace, worker_image, [*releases, *jobs.waited])
    Traffic(
        "traffic",
        {
            "listener_arn": edge.listener_arn,
            "blue_target_group_arn": edge.blue_target_group_arn,
            "green_target_group_arn": edge.green_target_group_arn,
            "weights": settings.weights,
            "protected": settings.protected,
            "probe_token": _made_once(
                "release-probe", "Header value of `penstock release`", "", settings, foundation, provider
            ),
        },
        # Traffic moves after the pods of both colours are ready and bound, never before.
        pulumi.ResourceOptions(providers=[provider], depends_on=releases),
    )
    # What comes with the pods is guarded by the traffic's rule, but for what holds logs, metrics and keys. Were all of
    # it named here, Pulumi would take minutes to refuse: it follows every path of dependencies from what it may not
    # delete, also those that it knows already (dependency_graph.go, 3.259).
    holding = (aws.amp.Workspace, aws.cloudwatch.LogGroup, aws.secretsmanager.Secret, aws.secretsmanager.SecretVersion)
    guarded = [*made[:before_pods], *(each for each in made[before_pods:] if isinstance(each, holding))]
    Guard("guard", {"protected": settings.protected}, pulumi.ResourceOptions(depends_on=guarded))
    return Serving(gateway_url=edge.url, api_key=api_key, admin_key=admin_key, provider_secrets=outside.secrets)


def _edge_args(settings: Settings, foundation: Foundation, opts: pulumi.ResourceOptions) -> EdgeArgs:
    args: EdgeArgs = {
        "vpc_id": foundation.vpc_id,
        "subnet_ids": foundation.public_subnet_ids,
        "security_group_id": foundation.security_groups.edge_id,
        "port": settings.edge.port,
        "access_logs_bucket": foundation.access_logs_bucket,
        "idle_timeout_seconds": settings.edge.idle_timeout_seconds,
        "deregistration_delay_seconds": settings.drain.deregistration_delay_seconds,
        "health_period_seconds": max(SHORTEST_HEALTH_PERIOD_SECONDS, settings.probes.period_seconds),
        "protected": settings.protected,
        "admin_cidrs": settings.edge.admin_cidrs,
        "admin_weights": _admin_weights(settings),
    }
    hostname, zone = settings.edge.hostname, settings.edge.hosted_zone_id
    if hostname:
        args["hostname"] = hostname
    if zone:
        args["hosted_zone_id"] = zone
    if settings.edge.certificate_arn:
        args["certificate_arn"] = settings.edge.certificate_arn
    elif zone and hostname:
        certificate = Certificate("certificate", {"hostname": hostname, "zone_id": zone}, opts)
        args["certificate_arn"] = certificate.certificate_arn
    return args


def _admin_weights(settings: Settings) -> dict[str, int]:
    """Any gateway can answer an admin. It does not follow the traffic, which a release moves by one rule alone."""
    blue, green = bool(settings.release.blue.gateway_replicas), bool(settings.release.green.gateway_replicas)
    share = {(True, True): 50, (True, False): 100, (False, True): 0, (False, False): 100}[blue, green]
    return {"blue": share, "green": 100 - share}


def _made_once(
    name: str,
    description: str,
    prefix: str,
    settings: Settings,
    foundation: Foundation,
    provider: pulumi.ProviderResource,
    turn: int = 1,
) -> pulumi.Output[str]:
    """A random text in Secrets Manager: the program offers a new one each time, and the first that was taken stays
    until `turn` is raised."""
    secret = aws.secretsmanager.Secret(
        name,
        description=description,
        kms_key_id=foundation.keys.credentials,
        recovery_window_in_days=RECOVERY_DAYS if settings.protected else 0,
        opts=pulumi.ResourceOptions(provider=provider),
    )
    version = aws.secretsmanager.SecretVersion(
        numbered(name, turn),
        secret_id=secret.id,
        secret_string=pulumi.Output.secret(prefix + secrets.token_urlsafe(KEY_BYTES)),
        opts=pulumi.ResourceOptions(provider=provider, ignore_changes=["secretString"]),
    )
    return pulumi.Output.secret(version.secret_string.apply(lambda text: text or ""))


def _owner_of_the_database(
    settings: Settings, foundation: Foundation, cluster: Cluster, provider: pulumi.ProviderResource
) -> aws.eks.PodIdentityAssociation:
    """Lets the migration's pods, and nobody else in the cluster, read the owner's password."""
    role = ServiceRole(
        migration.APP,
        {
            "services": ["pods.eks.amazonaws.com"],
            "description": "Migration: read the password of the database's owner",
            "managed_policies": [],
            "policy": foundation.database_secret_arn.apply(lambda arn: policies.dumps(policies.read_secret(arn))),
        },
        pulumi.ResourceOptions(providers=[provider]),
    )
    return aws.eks.PodIdentityAssociation(
        migration.APP,
        cluster_name=cluster.control_plane_name,
        namespace=settings.namespace,
        service_account=migration.APP,
        role_arn=role.arn,
        opts=pulumi.ResourceOptions(provider=provider),
    )


def _secret(
    name: str, ground: Ground, values: dict[str, pulumi.Output[str]], provider: k8s.Provider
) -> pulumi.Output[str]:
    """A Secret without a name of its own, so that new content is a new object. Returns the name it got."""
    secret = k8s.core.v1.Secret(
        name,
        metadata={"namespace": ground.namespace, "labels": {"app.kubernetes.io/part-of": manifests.PART_OF}},
        type="Opaque",
        data=pulumi.Output.secret({key: value.apply(encoded) for key, value in values.items()}),
        opts=pulumi.ResourceOptions(provider=provider),
    )
    return secret.metadata["name"]
