"""One colour of a release: its gateways, its engines, and the binding of the gateways to their target group."""

import base64
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import manifests
from components.ground import BINDING_GROUP, BINDING_VERSION
from components.manifests import EngineShape
from components.migration import DEADLINE_SECONDS, MigrationShape, migration_job
from components.options import child_of
from components.pods import DrainShape, ProbesShape

PDB_FROM_REPLICAS = 2
"""A budget for a single pod would block every node upgrade."""


class ReleaseArgs(TypedDict):
    colour: str
    namespace: pulumi.Input[str]
    zones: int
    """How many zones the pods are spread over."""
    gateway_image: pulumi.Input[str]
    gateway_replicas: int
    gateway_cpu_millicores: int
    gateway_memory_mib: int
    gateway_config: str
    """The gateway's settings as JSON. A change makes a new ConfigMap and a rolling restart."""
    keys_secret: pulumi.Input[str]
    """Name of the Kubernetes Secret with keys.json."""
    addresses_secret: pulumi.Input[str]
    """Name of the Kubernetes Secret whose keys become environment variables of the gateway."""
    migration: MigrationShape
    """What makes the gateways' tables and their login, before they start."""
    spool_mib: int
    """Disk in each gateway pod for usage that waits for the database."""
    engine_image: pulumi.Input[str]
    engines: Sequence[EngineShape]
    target_group_arn: pulumi.Input[str]
    waits_for_load_balancer: NotRequired[bool]
    """A gateway is ready once the load balancer sees it healthy. Needs a controller that opens readiness gates."""
    drain: DrainShape
    probes: ProbesShape


def encoded(text: str) -> str:
    """A value of a Secret's `data`."""
    return base64.b64encode(text.encode()).decode()


class Release(pulumi.ComponentResource):
    """Gateways and engines that were tested together and take traffic together."""

    config_map: pulumi.Output[str]
    """Name of the gateways' ConfigMap."""

    def __init__(self, name: str, args: ReleaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Release", name, None, opts)
        self._args = args
        self._child = child_of(self, opts)
        colour = args["colour"]
        gateway = f"gateway-{colour}"
        marks = manifests.labels("gateway", colour)
        # No name of its own: new content is a new object, so that what runs is what the preview showed.
        config = k8s.core.v1.ConfigMap(
            gateway,
            metadata={"namespace": args["namespace"], "labels": marks},
            data={"gateway.json": args["gateway_config"]},
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
        args = self._args
        self._workload(
            manifests.engine_name(engine["slug"], args["colour"]),
            manifests.engine_deployment(
                engine,
                namespace=args["namespace"],
                colour=args["colour"],
                image=args["engine_image"],
                zones=args["zones"],
                drain=args["drain"],
                probes=args["probes"],
            ),
            manifests.labels("engine", args["colour"], engine["model"]),
            manifests.ENGINE_PORT,
            args["probes"]["engine_startup_seconds"],
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
        namespace = self._args["namespace"]
        replicas = deployment["spec"]["replicas"]
        seconds = manifests.rollout_seconds(replicas, startup_seconds, self._args["drain"]["grace_seconds"])
        limit = f"{seconds}s"
        k8s.apps.v1.Deployment(
            name,
            metadata=deployment["metadata"],
            spec=deployment["spec"],
            opts=pulumi.ResourceOptions.merge(
                self._child,
                pulumi.ResourceOptions(
                    custom_timeouts=pulumi.CustomTimeouts(create=limit, update=limit), depends_on=list(after)
                ),
            ),
        )
        service = manifests.service(name, namespace, marks, port)
        k8s.core.v1.Service(name, metadata=service["metadata"], spec=service["spec"], opts=self._child)
        if replicas >= PDB_FROM_REPLICAS:
            budget = manifests.disruption_budget(name, namespace, marks)
            k8s.policy.v1.PodDisruptionBudget(name, metadata=budget["metadata"], spec=budget["spec"], opts=self._child)
