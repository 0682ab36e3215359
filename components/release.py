"""One colour of a release: its gateways, its engines, and the binding of the gateways to their target group."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import engine_manifests, manifests, scaling
from components.engine_manifests import Part
from components.engines import limits
from components.engines.shape import EngineShape
from components.ground import BINDING_GROUP, BINDING_VERSION
from components.migration import DEADLINE_SECONDS, MigrationShape, migration_job
from components.options import child_of
from components.pods import DrainShape, ProbesShape

KEDA_GROUP, KEDA_VERSION = "keda.sh", "v1alpha1"
PDB_FROM_REPLICAS = 2
"""A budget for a single pod would block every node upgrade."""


class ReleaseArgs(TypedDict):
    colour: str
    """`blue` or `green`: names and labels of what is made have it."""
    namespace: pulumi.Input[str]
    zones: int
    """How many zones the pods are spread over."""
    gateway_image: pulumi.Input[str]
    """Image of the gateways and of the migration, with tag or digest."""
    gateway_replicas: int
    """Pods of the gateway; 0 takes the colour down, and no migration runs for it."""
    gateway_cpu_millicores: int
    """CPU that each gateway pod asks for, in thousandths of a core."""
    gateway_memory_mib: int
    """Memory of each gateway pod in MiB: what it asks for, and its limit."""
    gateway_config: str
    """The gateway's settings as JSON. A change makes a new ConfigMap and a rolling restart."""
    gateway_files: NotRequired[Mapping[str, str]]
    """Files beside them, by name."""
    keys_secret: pulumi.Input[str]
    """Name of the Kubernetes Secret with keys.json."""
    addresses_secret: pulumi.Input[str]
    """Name of the Kubernetes Secret whose keys become environment variables of the gateway."""
    migration: MigrationShape
    """What makes the gateways' tables and their login, before they start."""
    spool_mib: int
    """Disk in each gateway pod for usage that waits for the database."""
    engine_image: pulumi.Input[str]
    """Image of the engines, with tag or digest, where an engine names none of its own."""
    engines: Sequence[EngineShape]
    """The models that the release serves itself; empty where all of them are outside providers'."""
    target_group_arn: pulumi.Input[str]
    """Target group of this colour, by ARN, to which the gateways' pods are bound."""
    waits_for_load_balancer: NotRequired[bool]
    """A gateway is ready once the load balancer sees it healthy. Needs a controller that opens readiness gates."""
    drain: DrainShape
    """How long the pods have to leave."""
    probes: ProbesShape
    """How often the pods are asked whether they are ready and alive."""


def encoded(text: str) -> str:
    """A value of a Secret's `data`."""
    return base64.b64encode(text.encode()).decode()


class Release(pulumi.ComponentResource):
    """Gateways and engines that were tested together and take traffic together."""

    config_map: pulumi.Output[str]
    """Name of the gateways' ConfigMap."""

    def __init__(self, name: str, args: ReleaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Release", name, None, opts)
        limits.check(args["engines"])
        self._args = args
        self._child = child_of(self, opts)
        colour = args["colour"]
        gateway = f"gateway-{colour}"
        marks = manifests.labels("gateway", colour)
        # No name of its own: new content is a new object, so that what runs is what the preview showed.
        config = k8s.core.v1.ConfigMap(
            gateway,
            metadata={"namespace": args["namespace"], "labels": marks},
            data={**args.get("gateway_files", {}), "gateway.json": args["gateway_config"]},
            opts=self._child,
        )
        self.config_map = config.metadata["name"]
        for engine in args["engines"]:
            self._engine(engine)
        migrated = [self._migrate()] if args["gateway_replicas"] else []
        self._workload(
            gateway,
            manifests.gateway_deployment(
                namespace=args["namespace"],
                colour=colour,
                image=args["gateway_image"],
                replicas=args["gateway_replicas"],
                cpu_millicores=args["gateway_cpu_millicores"],
                memory_mib=args["gateway_memory_mib"],
                config_map=self.config_map,
                keys_secret=args["keys_secret"],
                addresses_secret=args["addresses_secret"],
                database_tls=args["migration"]["database_tls"],
                spool_mib=args["spool_mib"],
                zones=args["zones"],
                drain=args["drain"],
                probes=args["probes"],
                waits_for_load_balancer=args.get("waits_for_load_balancer", False),
            ),
            marks,
            manifests.GATEWAY_PORT,
            args["probes"]["gateway_startup_seconds"],
            migrated,
        )
        k8s.apiextensions.CustomResource(
            gateway,
            api_version=f"{BINDING_GROUP}/{BINDING_VERSION}",
            kind="TargetGroupBinding",
            metadata={"name": gateway, "namespace": args["namespace"], "labels": marks},
            spec={
                "targetGroupARN": args["target_group_arn"],
                "targetType": "ip",
                "serviceRef": {"name": gateway, "port": manifests.GATEWAY_PORT},
            },
            opts=self._child,
        )
        self.register_outputs({"configMap": self.config_map})

    def _migrate(self) -> k8s.batch.v1.Job:
        args = self._args
        job = migration_job(
            args["migration"],
            namespace=args["namespace"],
            image=args["gateway_image"],
            pool=manifests.SYSTEM_POOL,
        )
        return k8s.batch.v1.Job(
            f"migration-{args['colour']}",
            metadata=job["metadata"],
            spec=job["spec"],
            opts=pulumi.ResourceOptions.merge(
                self._child,
                pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create=f"{DEADLINE_SECONDS + 60}s")),
            ),
        )

    def _engine(self, engine: EngineShape) -> None:
        """Deployments of one model's engines; one Service and one disruption budget over all of them."""
        args = self._args
        name = manifests.engine_name(engine["slug"], args["colour"])
        marks = manifests.labels("engine", args["colour"], engine["model"])
        for part in engine_manifests.parts(engine, args["colour"]):
            if engine["nodes"] > 1:
                self._group(engine, part)
            else:
                self._part(engine, part)
        self._reached(name, marks, manifests.ENGINE_PORT)
        most = engine["scaling"]["max_replicas"] if "scaling" in engine and engine["replicas"] else engine["replicas"]
        self._budget(name, marks, most)

    def _part(self, engine: EngineShape, part: Part) -> None:
        args = self._args
        manifest = engine_manifests.deployment(
            engine,
            part,
            namespace=args["namespace"],
            image=engine.get("image", args["engine_image"]),
            zones=args["zones"],
            drain=args["drain"],
            probes=args["probes"],
        )
        found = scaling.scaled_object(engine, part, namespace=args["namespace"], colour=args["colour"])
        deployment = self._deployment(part.name, manifest, engine["startup_seconds"], scaled=found is not None)
        if found is not None:
            k8s.apiextensions.CustomResource(
                part.name,
                api_version=f"{KEDA_GROUP}/{KEDA_VERSION}",
                kind="ScaledObject",
                metadata=found["metadata"],
                spec=found["spec"],
                opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[deployment])),
            )

    def _group(self, engine: EngineShape, part: Part) -> None:
        args = self._args
        manifest = engine_manifests.group(
            engine,
            part,
            namespace=args["namespace"],
            image=engine.get("image", args["engine_image"]),
            zones=args["zones"],
            drain=args["drain"],
            probes=args["probes"],
        )
        k8s.apiextensions.CustomResource(
            part.name,
            api_version=f"{engine_manifests.GROUP}/{engine_manifests.GROUP_VERSION}",
            kind=engine_manifests.GROUP_KIND,
            metadata=manifest["metadata"],
            spec=manifest["spec"],
            opts=self._child,
        )

    def _workload(
        self,
        name: str,
        deployment: dict[str, Any],
        marks: dict[str, str],
        port: int,
        startup_seconds: int,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        """Deployment, Service and, from two pods on, a disruption budget: all of one name. Pods come `after` these."""
        self._deployment(name, deployment, startup_seconds, after)
        self._reached(name, marks, port)
        self._budget(name, marks, deployment["spec"]["replicas"])

    def _deployment(
        self,
        name: str,
        deployment: dict[str, Any],
        startup_seconds: int,
        after: Sequence[pulumi.Resource] = (),
        *,
        scaled: bool = False,
    ) -> k8s.apps.v1.Deployment:
        replicas = deployment["spec"]["replicas"]
        seconds = manifests.rollout_seconds(replicas, startup_seconds, self._args["drain"]["grace_seconds"])
        limit = f"{seconds}s"
        return k8s.apps.v1.Deployment(
            name,
            metadata=deployment["metadata"],
            spec=deployment["spec"],
            opts=pulumi.ResourceOptions.merge(
                self._child,
                pulumi.ResourceOptions(
                    custom_timeouts=pulumi.CustomTimeouts(create=limit, update=limit),
                    depends_on=list(after),
                    # The autoscaler's from the first day on: an update that set them would undo what it did.
                    ignore_changes=["spec.replicas"] if scaled else None,
                ),
            ),
        )

    def _reached(self, name: str, marks: dict[str, str], port: int) -> None:
        service = manifests.service(name, self._args["namespace"], marks, port)
        k8s.core.v1.Service(name, metadata=service["metadata"], spec=service["spec"], opts=self._child)

    def _budget(self, name: str, marks: dict[str, str], most: int) -> None:
        if most >= PDB_FROM_REPLICAS:
            budget = manifests.disruption_budget(name, self._args["namespace"], marks)
            k8s.policy.v1.PodDisruptionBudget(name, metadata=budget["metadata"], spec=budget["spec"], opts=self._child)
