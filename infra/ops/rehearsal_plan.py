"""What a rehearsal deploys and changes: a stack file's copy, the edits made to it, and what each may change. Pure.

Configurations are the plain data under `config:` of a stack file, keys as written there (`penstock:models`).
"""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Iterable
from typing import Any, get_args

import yaml

from infra.local.layout import ACCOUNT
from infra.ops import rehearsal_day_two as day_two
from infra.ops.changes import WEIGHT_PATH
from infra.ops.errors import PenstockError
from infra.ops.rehearsal_edit import (
    BUDGET,
    CLUSTER,
    CONFIG_MAP,
    DEPLOYMENT,
    NODE_GROUP,
    SERVICE,
    Config,
    Edit,
    Expected,
)
from infra.settings import Settings, model_slug
from infra.settings.accelerators import gpus_of
from infra.settings.model import NAMESPACE, RetentionDays

MODEL = "rehearsal"
"""Name of the model that is added."""
SHIFT_PERCENT = 10
OLDER_DATABASE = "16"
"""What a rehearsal of an upgrade begins with: a major version that this machine has."""


def rehearsed(text: str, *, version: str | None = None) -> Config:
    """The configuration of a stack file, for the embedded AWS: its account stands wherever the file's own did.

    `version` is the Kubernetes version to begin with, where it is not the file's. Raises PenstockError for a text
    that is not a stack file.
    """
    try:
        account = str(yaml.safe_load(text)["config"]["penstock:aws"]["accountId"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise PenstockError(f"The stack file has no config.penstock:aws.accountId: {error}.") from None
    config = yaml.safe_load(re.sub(rf"(?<![0-9A-Za-z]){account}(?![0-9A-Za-z])", ACCOUNT, text))["config"]
    if version:
        config["penstock:cluster"]["version"] = version
        # kube-proxy and nodes may be older than the API server and never newer.
        config["penstock:cluster"]["addonVersions"]["kubeProxy"] = f"v{version}.0-eksbuild.1"
        for name in day_two.GROUPS:
            config["penstock:nodeGroups"][name] |= {"version": version, "releaseVersion": None}
        config["penstock:data"]["database"] |= {"engineVersion": OLDER_DATABASE, "allowMajorUpgrade": False}
    return config


def stack_file(config: Config) -> str:
    return yaml.safe_dump({"config": config}, sort_keys=False, width=120)


def settings_of(config: Config) -> Settings:
    """Raises SettingsError."""
    return Settings.parse({key.removeprefix(f"{NAMESPACE}:"): value for key, value in config.items()}, "the rehearsal")


def edits(config: Config, target: Config) -> list[Edit]:
    """The changes to go through, each on top of the one before. `target`: what the stack file itself says.

    The logs' retention is changed where the version is the file's already. Models and colours are staged with one
    engine each, and nodes for them come first.
    """
    made: list[Edit] = []
    upgrades = config["penstock:cluster"]["version"] != target["penstock:cluster"]["version"]
    first = day_two.upgrades(target) if upgrades else (_retention,)
    for plan in (*first, day_two.roll_an_image, day_two.rotate, _scale, _add_model, _stage, _shift):
        edit = plan(made[-1].config if made else config)
        if edit:
            settings_of(edit.config)
            made.append(edit)
    return made


MAY_GO = (
    "penstock:*",
    "aws:lb/listenerRule:ListenerRule traffic-probe-*",
    "aws:eks/addon:Addon telemetry",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation collector",
    *(f"aws:iam/role*:* {name}*" for name in ("collector", "telemetry")),
    *(f"kubernetes:* {name}*" for name in ("collector", "jobs", "retention")),
)
"""What a destroy of a protected stack may take before it is refused, as `type name`: it answers no request, holds no
data and comes back with the next update."""


def wrongly_gone(urns: Iterable[str]) -> list[str]:
    """Those that a refused destroy should have left."""
    named = [" ".join(urn.rsplit("::", 2)[1:]) for urn in urns]
    named = [each.rpartition("$")[2] for each in named]
    return sorted(each for each in named if not any(fnmatch.fnmatchcase(each, pattern) for pattern in MAY_GO))


def release_protection(config: Config) -> Edit | None:
    """What a person does before a protected stack may go. None where the stack is not protected."""
    if not settings_of(config).protected:
        return None
    after = copy.deepcopy(config)
    after["penstock:protected"] = False
    guards = (
        Expected("update", "aws:rds/instance:Instance", "database"),
        Expected("update", CLUSTER, "cluster", "deletionProtection"),
        Expected("update", "aws:lb/loadBalancer:LoadBalancer", "edge", "enableDeletionProtection"),
        Expected("update", "aws:s3/bucket:Bucket", "*", "forceDestroy"),
        Expected("update", "aws:ecr/repository:Repository", "*", "forceDelete"),
        Expected("update", "aws:secretsmanager/secret:Secret", "*", "recoveryWindowInDays"),
    )
    return Edit("release the protection", after, guards)


def _scale(config: Config) -> Edit | None:
    """Nodes for the engines that the later edits bring: a model more, and one engine a model in the idle colour."""
    settings = settings_of(config)
    if not settings.runs_engines:
        return None
    after = copy.deepcopy(config)
    group = after["penstock:nodeGroups"]["gpu"]
    per_node = gpus_of(settings.node_groups.gpu.instance_types[0])
    spot = settings.node_groups.gpu_spot
    on_spot = spot.desired_nodes_per_zone * len(settings.network.zones) * min(map(gpus_of, spot.instance_types))
    added = min(settings.models, key=lambda model: model.gpus)
    floor = _floor(settings)
    wanted = 0
    for release in (settings.release.blue, settings.release.green):
        wanted += floor * added.gpus
        for model in settings.models:
            wanted += max(floor, release.engine_replicas[model.name]) * model.gpus
    group["desiredNodes"] = max(group["desiredNodes"] + 1, -(-(wanted - on_spot) // per_node))
    # The new model in both colours, and so much more that it fits without the nodes of one zone.
    zones = len(settings.network.zones)
    more = -(-2 * floor * added.gpus * zones // (per_node * max(zones - 1, 1)))
    group["maxNodes"] = max(group["maxNodes"] + more, group["desiredNodes"])
    return Edit(
        f"scale gpu {settings.node_groups.gpu.desired_nodes} -> {group['desiredNodes']}",
        after,
        (Expected("update", NODE_GROUP, "nodes-gpu", r"scalingConfig\.(desiredSize|maxSize)"),),
    )


def _add_model(config: Config) -> Edit | None:
    settings = settings_of(config)
    if not settings.runs_engines:
        return None
    after = copy.deepcopy(config)
    smallest = min(after["penstock:models"], key=lambda model: model["gpus"])
    plain = {"name": MODEL, "aliases": [], "scaling": None, "spotShare": None}
    after["penstock:models"].append(copy.deepcopy(smallest) | plain)
    expected: list[Expected] = []
    for colour, weight in settings.weights.items():
        after["penstock:release"][colour]["engineReplicas"][MODEL] = _floor(settings) if weight else 0
        engine = f"engine-{model_slug(MODEL)}-{colour}"
        expected += [
            Expected("create", DEPLOYMENT, engine),
            Expected("create", SERVICE, engine),
            Expected("create", BUDGET, engine, required=False),
            Expected("replace", CONFIG_MAP, f"gateway-{colour}"),
            Expected("update", DEPLOYMENT, f"gateway-{colour}"),
        ]
    return Edit("add a model", after, tuple(expected))


def _stage(config: Config) -> Edit | None:
    """Pods for the colour that has none, so that it may take traffic."""
    settings = settings_of(config)
    idle, release = _idle(settings)
    zones = len(settings.network.zones)
    if release.gateway_replicas >= zones and all(release.engine_replicas.values()):
        return None
    after = copy.deepcopy(config)
    given = after["penstock:release"][idle]
    given["gatewayReplicas"] = max(given["gatewayReplicas"], zones)
    floor = _floor(settings)
    given["engineReplicas"] = {model: max(floor, replicas) for model, replicas in given["engineReplicas"].items()}
    return Edit(
        f"stage {idle}",
        after,
        (
            Expected("update", DEPLOYMENT, f"*-{idle}", r"spec\..*"),
            Expected("create", BUDGET, f"*-{idle}", required=False),
            # What scales is held at zero until its colour is staged.
            Expected("update", "kubernetes:keda.sh/v1alpha1:ScaledObject", f"*-{idle}", required=False),
            # Its gateways' tables are made before them.
            Expected("create", "kubernetes:batch/v1:Job", f"migration-{idle}", required=False),
            # Gateways are told how many they are, and administrators reach whichever colour has some.
            Expected("replace", CONFIG_MAP, f"gateway-{idle}", required=False),
            Expected("update", "aws:lb/listenerRule:ListenerRule", "edge-admin", WEIGHT_PATH.pattern, required=False),
        ),
    )


def _shift(config: Config) -> Edit:
    settings = settings_of(config)
    idle, release = _idle(settings)
    after = copy.deepcopy(config)
    share = min(release.weight + SHIFT_PERCENT, 100)
    for colour in settings.weights:
        after["penstock:release"][colour]["weight"] = share if colour == idle else 100 - share
    rule = Expected("update", "aws:lb/listenerRule:ListenerRule", "traffic", WEIGHT_PATH.pattern)
    # What deletes old rows runs the image that has most of the traffic.
    daily = Expected("update", "kubernetes:batch/v1:CronJob", "retention", r"spec\.jobTemplate\..*", required=False)
    return Edit(f"shift {idle} {release.weight} -> {share} %", after, (rule, daily))


def _retention(config: Config) -> Edit:
    kept = settings_of(config).cluster.log_retention_days
    longer = min((days for days in get_args(RetentionDays) if days > kept), default=min(get_args(RetentionDays)))
    after = copy.deepcopy(config)
    after["penstock:cluster"]["logRetentionDays"] = longer
    group = Expected("update", "aws:cloudwatch/logGroup:LogGroup", "*", "retentionInDays")
    return Edit(f"keep logs {kept} -> {longer} days", after, (group,))


def _floor(settings: Settings) -> int:
    """The fewest engines of a model with traffic: a protected stack must keep one when a zone is lost."""
    return len(settings.network.zones) if settings.protected else 1


def _idle(settings: Settings) -> tuple[str, Any]:
    """The colour with less of the traffic; green where they are even."""
    blue, green = settings.release.blue, settings.release.green
    return ("blue", blue) if blue.weight < green.weight else ("green", green)
