"""The shape of one stack's configuration: every key, its type, its bounds and its unit.

Keys are camelCase in the stack file and snake_case here. Every key is required, so that environments differ in values
and never in keys; a value that may be absent is written as `null`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.gateway.config import Name
from infra.settings.acting import BudgetActions
from infra.settings.controllers import Access, Collector, ContainerInsights, Controllers
from infra.settings.gate import Gate, Shadow, Shares, Validation
from infra.settings.gateway import Gateway
from infra.settings.jobs import Jobs
from infra.settings.kinds import (
    AccountId,
    AddonVersion,
    Cidr,
    Decimal,
    Image,
    InstanceType,
    Percent,
    Percents,
    Principal,
    Region,
    RetentionDays,
    Strict,
    Truth,
    Usd,
    Whole,
    Zone,
)
from infra.settings.outside import OutsideModel, Provider, Routing
from infra.settings.pipelines import Pipelines
from infra.settings.reservations import Reservation
from infra.settings.retrieval import Retrieval
from infra.settings.served import Model, Source

NAMESPACE = "penstock"
"""The project's config namespace: each key is written as `penstock:<key>` in a stack file."""
SCHEMA_VERSION = 3
"""Of the layout that `Shape` describes; infra/settings/migrations.py has the steps from older ones."""


class Aws(Strict):
    region: Region = Field(description="The AWS region, such as eu-central-1.")
    account_id: AccountId = Field(description="The only account that this stack may touch: twelve digits, in quotes.")
    allowed_regions: tuple[Region, ...] = Field(
        min_length=1, max_length=40, description="Where data may rest; any other region is refused at preview."
    )


class Network(Strict):
    cidr: Cidr = Field(description="The VPC's range, a /16 to a /20. It cannot change later without a new VPC.")
    zones: tuple[Zone, ...] = Field(min_length=2, max_length=6, description="Zone letters of the region, at least two.")
    nat_gateways: Literal["one", "perZone", "none"] = Field(
        description="`one` is lost with its zone, `perZone` is not; `none`: no way out, AWS is reached by endpoints."
    )
    interface_endpoints: Literal["none", "needed"] = Field(
        description="`needed`: one for each AWS service that the platform's parts call; each costs per zone and hour."
    )
    flow_log_days: RetentionDays = Field(description="How long the log of all connections is kept.")


class AddonVersions(Strict):
    """Pinned, so that a new version comes by a reviewed diff."""

    vpc_cni: AddonVersion = Field(description="Pod network; it must enforce network policies.")
    pod_identity_agent: AddonVersion = Field(description="Gives pods the credentials of their roles.")
    kube_proxy: AddonVersion = Field(description="Never newer than the cluster, at most three minor versions older.")
    coredns: AddonVersion
    metrics_server: AddonVersion = Field(description="CPU and memory of pods, for scaling and `kubectl top`.")
    node_monitoring_agent: AddonVersion = Field(description="Finds sick nodes and GPUs, for node repair.")


class Cluster(Strict):
    version: str = Field(pattern=r"^1\.[0-9]{2}$", description="Kubernetes version, in quotes.")
    support: Literal["STANDARD", "EXTENDED"] = Field(
        description="What EKS does at the end of standard support: upgrade, or stay at an extra price."
    )
    public_endpoint_cidrs: tuple[Cidr, ...] = Field(
        description="Who may reach the API server from outside the VPC; empty means private only."
    )
    administrators: tuple[Principal, ...] = Field(
        max_length=20, description="IAM roles with cluster-admin, beside the role that created the cluster."
    )
    log_retention_days: RetentionDays = Field(description="How long control-plane logs are kept.")
    addon_versions: AddonVersions = Field(description="Version of each EKS add-on.")


NodesVersion = Annotated[str, Field(pattern=r"^1\.[0-9]{2}$")]
ImageRelease = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+-[0-9a-f]{8}$")]
_NODES_VERSION = (
    "Kubernetes version of the nodes, in quotes: `cluster.version` or up to three minors older. `null`: that of the "
    "cluster when the group is made; it then stays."
)
_IMAGE_RELEASE = (
    "The image's release, such as 1.50.0-1a2b3c4d (Bottlerocket) or 1.36.2-20261016 (Amazon Linux). `null`: the newest "
    "when the group is made or its version changes; it then stays."
)


class NodeGroup(Strict):
    version: NodesVersion | None = Field(description=_NODES_VERSION)
    release_version: ImageRelease | None = Field(description=_IMAGE_RELEASE)
    ami_type: str = Field(pattern=r"^[A-Z][A-Za-z0-9_]+$", description="EKS AMI type, such as BOTTLEROCKET_x86_64.")
    instance_types: tuple[InstanceType, ...] = Field(min_length=1, max_length=20)
    min_nodes: Whole = Field(ge=0, le=450)
    desired_nodes: Whole = Field(ge=0, le=450)
    max_nodes: Whole = Field(ge=1, le=450)
    max_unavailable: Whole = Field(
        ge=1, le=100, description="Nodes that are exchanged at a time when version, release or template change."
    )
    volume_gib: Whole = Field(ge=20, le=16384, description="Data volume of each node, GiB of gp3.")


class GpuNodeGroup(NodeGroup):
    max_nodes: Whole = Field(ge=0, le=450, description="0: there is no such group.")


class SpotNodeGroup(Strict):
    version: NodesVersion | None = Field(description=_NODES_VERSION)
    release_version: ImageRelease | None = Field(description=_IMAGE_RELEASE)
    ami_type: str = Field(
        pattern=r"^[A-Z][A-Za-z0-9_]+$", description="EKS AMI type, such as BOTTLEROCKET_x86_64_NVIDIA."
    )
    instance_types: tuple[InstanceType, ...] = Field(
        min_length=1, max_length=20, description="Several types, so that one dry spot pool does not empty the group."
    )
    min_nodes_per_zone: Whole = Field(ge=0, le=150)
    desired_nodes_per_zone: Whole = Field(ge=0, le=150)
    max_nodes_per_zone: Whole = Field(ge=0, le=150, description="0: there are no such groups.")
    max_unavailable: Whole = Field(
        ge=1, le=100, description="The same for the group of each zone; all zones are updated at once."
    )
    volume_gib: Whole = Field(ge=20, le=16384, description="Data volume of each node, GiB of gp3.")


class NodeGroups(Strict):
    system: NodeGroup = Field(description="On demand: gateways and cluster services, one group over all zones.")
    gpu: GpuNodeGroup = Field(description="On demand: the floor under the engines.")
    gpu_spot: SpotNodeGroup = Field(description="Spot: one group in each zone, so that one dry zone fails alone.")
    reservations: tuple[Reservation, ...] = Field(
        max_length=20, description="Capacity that was reserved in EC2 beforehand; empty: none."
    )


class Cache(Strict):
    node_type: str = Field(pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$")
    engine_version: str = Field(pattern=r"^[78]\.[0-9]$", description="Valkey version, in quotes.")
    replicas: Whole = Field(ge=0, le=5, description="Beside the primary, in other zones; 0 has no failover.")
    tls: Truth = Field(description="Encryption in transit.")
    auth: Truth = Field(description="A token that clients must send; AWS takes one only beside `tls: true`.")


class Database(Strict):
    instance_class: str = Field(pattern=r"^db\.[a-z0-9]+\.[a-z0-9]+$")
    engine_version: str = Field(pattern=r"^1[5-9](\.[0-9]+)?$", description="PostgreSQL version, in quotes.")
    allow_major_upgrade: Truth = Field(
        description="A new major version may be taken, at once, with minutes of downtime. `false` again afterwards."
    )
    storage_gib: Whole = Field(ge=20, le=65536)
    max_storage_gib: Whole = Field(ge=20, le=65536, description="Storage grows by itself up to this.")
    multi_zone: Truth = Field(description="A standby in a second zone.")
    backup_days: Whole = Field(ge=0, le=35)
    tls: Literal["prefer", "require", "verify-full"] = Field(
        description="Of gateways: `prefer` and `require` verify nothing; `verify-full` takes AWS's own roots alone."
    )


Turn = Annotated[Whole, Field(ge=1, le=9999)]


class Rotation(Strict):
    """Secrets that the program makes once. A number that is raised by one has that secret made anew."""

    cache_token: Turn = Field(description="What gateways send to the cache; the one before stays valid until the next.")
    database_logins: Turn = Field(description="Passwords of the gateways' and the workers' logins.")
    jobs_signing: Turn = Field(description="What workers sign with; receivers of webhooks need the new secret, too.")
    admin_key: Turn = Field(description="Key of the admin API.")


class Weights(Strict):
    old_version_days: Whole = Field(ge=1, le=3650, description="An overwritten or deleted file is kept so long.")
    access_logs_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = Field(
        description="Another bucket of region and account that takes S3's access logs; null: the platform's own."
    )


class Data(Strict):
    cache: Cache
    database: Database
    weights: Weights = Field(description="The bucket of model weights.")
    copy_region: str | None = Field(
        description="Weights and database backups are copied to this region, one of aws.allowedRegions; null: not."
    )


class ColourRelease(Strict):
    weight: Percent = Field(description="Share of new requests, in per cent; both colours together make 100.")
    gateway_image: Image = Field(description="Digest (sha256:...) or tag in the platform's gateway repository.")
    gateway_replicas: Whole = Field(ge=0, le=100)
    engine_image: Image = Field(description="Digest (sha256:...) or tag in the platform's engine repository.")
    engine_images: dict[str, Image] = Field(
        max_length=50, description="By model's name, in place of engineImage: where a model has another engine."
    )
    sources: dict[str, Source] = Field(
        max_length=50,
        description="By model's or adapter's name, in place of its own source: `penstock model promote` writes it.",
    )
    engine_replicas: dict[str, Annotated[Whole, Field(ge=0, le=500)]] = Field(description="For each model's name.")

    def carried(self, model: Model) -> Model:
        """The model as this colour has it: with the versions that `sources` names."""
        adapters = tuple(
            adapter.model_copy(update={"source": self.sources.get(adapter.name, adapter.source)})
            for adapter in model.lora_adapters
        )
        source = self.sources.get(model.name, model.source)
        return model.model_copy(update={"source": source, "lora_adapters": adapters})


class Release(Strict):
    blue: ColourRelease
    green: ColourRelease
    steps: Shares = Field(description="Rising shares of `penstock release promote`, in per cent; the last one is 100.")
    soak_seconds: Whole = Field(ge=1, le=86_400, description="Each step is watched so long at the least.")
    gate: Gate
    shadow: Shadow
    validation: Validation


class Edge(Strict):
    port: Whole = Field(ge=1, le=65535)
    certificate_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:acm:")] | None = Field(
        description="With a certificate the listener speaks HTTPS, without one HTTP."
    )
    hostname: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")] | None = Field(
        description="The name that clients use; without one the load balancer's own."
    )
    hosted_zone_id: Annotated[str, Field(pattern=r"^Z[A-Z0-9]+$")] | None = Field(
        description="Route 53 zone of the hostname: the name is put there, and a certificate made where none is given."
    )
    allowed_cidrs: tuple[Cidr, ...] = Field(min_length=1, description="Who may open connections.")
    admin_cidrs: tuple[Cidr, ...] = Field(
        max_length=4, description="Who may reach the admin API here, beside its key; empty: nobody."
    )
    requests_per_five_minutes_per_ip: Whole = Field(
        ge=10, le=2_000_000_000, description="The firewall answers 429 to an address beyond; many may share one."
    )
    idle_timeout_seconds: Whole = Field(ge=1, le=4000, description="Above the longest silent gap inside a stream.")


class PartBudgets(Strict):
    system: Usd = Field(description="Nodes of the group system, US dollars a month.")
    gpu: Usd = Field(description="Nodes of the groups gpu and gpuSpot, US dollars a month.")


class Budget(Strict):
    monthly_usd: Usd = Field(description="The whole account, US dollars a month.")
    alert_percents: Percents = Field(description="Announced when so much has been spent, per cent of monthlyUsd.")
    forecast_percents: Percents = Field(description="Announced when AWS expects so much by the end of the month.")
    part_usd: PartBudgets = Field(description="Budgets of parts, by tag, announced at the same percentages.")
    colour_usd: Usd | None = Field(
        description="Budget of the nodes of each colour, by tag, US dollars a month; it needs "
        "controllers.karpenter.perColour. null: none."
    )
    anomaly_usd: Usd = Field(description="Unusual cost is announced from this total impact on, in US dollars.")
    actions: BudgetActions


class Drills(Strict):
    """Experiment templates of AWS Fault Injection Service. They do nothing until `penstock drill` starts one."""

    enabled: Truth = Field(description="Whether the stack has templates for drills on AWS.")
    longest_seconds: int = Field(
        ge=60, le=3600, description="A zone stays without power so long, and no experiment takes longer, in seconds."
    )
    stop_errors: int = Field(
        ge=1, le=1_000_000, description="So many errors of gateways within a minute end an experiment."
    )


class LogRetention(Strict):
    gateway: RetentionDays
    engine: RetentionDays
    database: RetentionDays


class Watch(Strict):
    log_retention_days: LogRetention = Field(description="How long each class of logs is kept, in days.")
    runbooks_url: str = Field(
        pattern=r"^https://[^\s#]+$", description="The page of runbooks that alarms name, without an anchor."
    )
    first_byte_seconds: Decimal = Field(
        gt=0, le=600, description="An alarm tells when one answer in a hundred begins later than this."
    )
    first_token_seconds: Decimal = Field(
        gt=0, le=600, description="An alarm tells when a colour's mean time to the first token is above this."
    )
    waiting_requests: Whole = Field(
        ge=1, le=100_000, description="An alarm tells when so many requests wait in one engine."
    )
    container_insights: ContainerInsights
    collector: Collector
    prometheus: str = Field(
        pattern=r"^(none|managed|https://[^\s]+)$",
        description="Where the collector writes all it scrapes: `managed` makes a workspace of AWS's; or `none`; or a "
        "remote-write address that takes this network's writes without credentials.",
    )


class Audit(Strict):
    trail: Truth = Field(description="A trail of all calls to AWS; false where the organisation's trail has them.")
    trail_days: Whole = Field(ge=1, le=3650, description="How long the trail's files are kept.")
    access_log_days: Whole = Field(ge=1, le=3650, description="How long access logs (load balancer, S3) are kept.")


class Drain(Strict):
    pre_stop_seconds: Whole = Field(ge=1, le=120, description="Sleep before SIGTERM: the pod leaves the endpoints.")
    gateway_shutdown_seconds: Whole = Field(ge=1, le=3600, description="The gateway lets requests end, after SIGTERM.")
    engine_shutdown_seconds: Whole = Field(ge=1, le=3600, description="The engine lets requests end, after SIGTERM.")
    grace_seconds: Whole = Field(ge=2, le=7200, description="From the start of preStop to SIGKILL.")
    deregistration_delay_seconds: Whole = Field(
        ge=0, le=3600, description="The load balancer keeps open streams so long."
    )


class Probes(Strict):
    period_seconds: Whole = Field(ge=1, le=60)
    timeout_seconds: Whole = Field(ge=1, le=60)
    failure_threshold: Whole = Field(ge=1, le=20)
    gateway_startup_seconds: Whole = Field(ge=5, le=3600, description="A gateway that is not up by then is restarted.")
    engine_startup_seconds: Whole = Field(
        ge=5, le=7200, description="Of an engine without its weights; models[].weightsGib adds to it."
    )


class Shape(Strict):
    """All keys of a stack. `Settings` adds the ways to read it and the rules that span keys."""

    schema_version: Whole = Field(
        ge=SCHEMA_VERSION, le=SCHEMA_VERSION, description="Of this layout; `penstock migrate` brings older files to it."
    )
    aws: Aws
    namespace: Name = Field(description="Kubernetes namespace of gateways and engines.")
    protected: Truth = Field(description="Live data: deletion protection everywhere, and the rules of production.")
    access: Access
    network: Network
    cluster: Cluster
    node_groups: NodeGroups
    controllers: Controllers
    data: Data
    rotation: Rotation
    audit: Audit
    models: tuple[Model, ...] = Field(max_length=50, description="Of own engines; empty: only outsideModels answer.")
    providers: tuple[Provider, ...] = Field(max_length=50, description="Outside providers of models.")
    outside_models: tuple[OutsideModel, ...] = Field(
        max_length=200, description="Models at outside providers, asked for by name or behind a route."
    )
    routing: Routing
    release: Release
    gateway: Gateway
    jobs: Jobs
    retrieval: Retrieval
    pipelines: Pipelines
    edge: Edge
    drain: Drain
    probes: Probes
    watch: Watch
    budget: Budget
    drills: Drills
