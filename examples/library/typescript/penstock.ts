// Penstock's components for TypeScript. Written by `make golden` from the schema of the component package.

import * as pulumi from "@pulumi/pulumi";

export interface AddonVersionsShape {
    coredns: string;
    kubeProxy: string;
    metricsServer: string;
    nodeMonitoringAgent: string;
    podIdentityAgent: string;
    vpcCni: string;
}

export interface DrainShape {
    engineShutdownSeconds: number;
    graceSeconds: number;
    preStopSeconds: number;
}

export interface EngineLimitsShape {
    firstTokenSeconds: number;
    /** Of the engines there are, vLLM alone unless given; each kind tells under names of its own. */
    kinds?: string[];
    waitingRequests: number;
}

export interface EngineShape {
    aliases: string[];
    /** More arguments, as they stand. */
    arguments: string[];
    /** Gives way to interactive pods. */
    batch: boolean;
    chunkedPrefill: boolean;
    compileCacheMib: number;
    cpuMillicores: number;
    /** Of one pod. */
    gpus: number;
    /** In place of the release's. */
    image?: pulumi.Input<string>;
    /** Nodes with the wanted GPU; empty: any GPU node. */
    instanceTypes: string[];
    /** A key of `components.engines.ENGINES`. */
    kind: string;
    loraAdapters: LoraShape[];
    /** The bucket of adapters whose source is weights://<prefix>. */
    loraBucket?: pulumi.Input<string>;
    maxModelLen: number;
    memoryMib: number;
    /** The name that clients send. */
    model: string;
    /** Pods of one engine. */
    nodes: number;
    /** It runs on nodes of its colour alone. */
    ownNodes?: boolean;
    prefixCaching: boolean;
    quantisation: string;
    /** The floor where it scales, else the number. */
    replicas: number;
    scaling?: ScalingShape;
    sharedMemoryMib: number;
    /** The model's name as it may stand in object names. */
    slug: string;
    /** What the engine loads: a path, a name, or an s3:// address. */
    source: pulumi.Input<string>;
    /** Per cent of the replicas that may be on spot nodes; without it pods go wherever there is a GPU. */
    spotShare?: number;
    /** It is restarted when it does not answer by then. */
    startupSeconds: number;
    /** Weights come straight from S3 to the GPU. */
    streamed: boolean;
    tensorParallel: number;
}

export interface LoraShape {
    /** The name that clients send. */
    name: string;
    rank: number;
    /** A path or name that the image knows, or weights://<prefix>. */
    source: string;
}

export interface MigrationShape {
    /** host:port. */
    databaseAddress: pulumi.Input<string>;
    /** As the gateway takes it: prefer, require or verify-full. */
    databaseTls: string;
    /** Jobs have tables too: name of the Kubernetes Secret with the workers' password, at PASSWORD_KEY. */
    jobsSecret?: pulumi.Input<string>;
    /** Rows of usage are kept so long. */
    keepDays: number;
    /** Name of the Kubernetes Secret with the gateways' password, at PASSWORD_KEY. */
    loginSecret: pulumi.Input<string>;
    /** The secret of Secrets Manager in which AWS keeps the owner's name and password. */
    ownerSecretArn: pulumi.Input<string>;
    /** Retrieval has tables too; they need the extension pgvector. */
    retrieval?: boolean;
    /** The semantic cache has tables too; they need the extension pgvector. */
    semanticCache: boolean;
}

export interface NodeGroupShape {
    amiType: string;
    desiredNodes: number;
    instanceTypes: pulumi.Input<string[]>;
    maxNodes: number;
    /** Nodes that are exchanged at a time; 1 where it is not given. */
    maxUnavailable?: number;
    minNodes: number;
    /** Release of the node image. Without it: the newest when the group is made or its version changes. */
    releaseVersion?: string;
    /** Kubernetes version of the nodes, such as 1.36. Without it: that of the cluster when the group is made. */
    version?: string;
    volumeGib: number;
}

export interface PoolShape {
    /** amd64 or arm64. */
    architecture: string;
    /** Each has pools and a node class of its own; without them there is one set for all engines. */
    colours?: string[];
    consolidateAfterMinutes: number;
    expireAfterHours: number;
    instanceTypes: string[];
    /** More labels of the nodes. */
    labels: Record<string, string>;
    maxGpus: number;
    /** A pool for each, tried before all others: what is reserved is paid for. */
    reserved?: ReservedPool[];
    /** Engines that fell back to nodes on demand go to spot again, one node at a time and out of working hours. */
    returnsToSpot?: boolean;
    terminationGraceHours: number;
    /** Full names, such as eu-central-1a. */
    zones: string[];
}

export interface ProbesShape {
    failureThreshold: number;
    gatewayStartupSeconds: number;
    periodSeconds: number;
    timeoutSeconds: number;
}

export interface ReservedPool {
    /** Ceiling of the pool. */
    gpus: number;
    instanceType: string;
    name: string;
    reservationId: string;
    /** Full name. */
    zone: string;
}

export interface ReservedShape {
    /** A Capacity Block for ML; else an On-Demand Capacity Reservation. */
    capacityBlock: boolean;
    instanceType: pulumi.Input<string>;
    name: string;
    nodes: number;
    reservationId: string;
    /** Zone letter: a reservation is in one zone. */
    zone: string;
}

export interface ScalingShape {
    /** Without demand for so long, a model that may goes to zero. */
    cooldownSeconds: number;
    maxReplicas: number;
    /** The most demand of this time counts when engines are taken away. */
    stabilisationSeconds: number;
    /** Requests that wait or run, for one engine. */
    targetPerReplica: number;
    toZero: boolean;
}

export interface WorkersScaling {
    maxWorkers: number;
    /** Requests that wait or are under way, for each worker. */
    rowsPerWorker: number;
}

export interface WorkersShape {
    /** What the worker takes as PENSTOCK_JOBS_CONFIG. */
    config: string;
    cpuMillicores: number;
    databaseTls: string;
    image: pulumi.Input<string>;
    memoryMib: number;
    /** The floor where they scale, else the number. */
    replicas: number;
    scaling?: WorkersScaling;
    /** Name of the Secret with PENSTOCK_JOBS_* and PENSTOCK_DATABASE_*. */
    secret: pulumi.Input<string>;
    vpcCidr: string;
}

export interface AccessLogsArgs {
    accountId: string;
    /** How long a log is kept. */
    days: number;
    protected: boolean;
}

/** The bucket for access logs of the load balancer and of buckets. Both write only where S3's own key encrypts. */
export class AccessLogs extends pulumi.ComponentResource {
    declare readonly bucket: pulumi.Output<string>;

    constructor(name: string, args: AccessLogsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:AccessLogs", name, { ...args, bucket: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface AuditTrailArgs {
    accountId: string;
    /** How long a file of the trail is kept. */
    days: number;
    keyArn: pulumi.Input<string>;
    partition: string;
    protected: boolean;
    region: string;
    trailName: string;
}

/** CloudTrail of every region, with digests that show a changed file, in an encrypted bucket of its own. */
export class AuditTrail extends pulumi.ComponentResource {
    declare readonly bucket: pulumi.Output<string>;
    declare readonly trailArn: pulumi.Output<string>;

    constructor(name: string, args: AuditTrailArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:AuditTrail", name, { ...args, bucket: undefined, trailArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CacheArgs {
    /** Clients must send a token. AWS takes one only beside TLS. */
    auth: boolean;
    /** For the secret that keeps the token. */
    credentialsKeyArn: pulumi.Input<string>;
    /** Valkey version. */
    engineVersion: string;
    keyArn: pulumi.Input<string>;
    nodeType: string;
    protected: boolean;
    /** Beside the primary, in other zones; with one or more it fails over by itself. */
    replicas: number;
    securityGroupId: pulumi.Input<string>;
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
    tls: boolean;
    /** Raised by one it has the token made anew; 1 where it is not given. */
    tokenNumber?: number;
}

/** A Valkey replication group, encrypted at rest, with a standby where replicas are asked for. */
export class Cache extends pulumi.ComponentResource {
    declare readonly address: pulumi.Output<string>;
    declare readonly memberIds: pulumi.Output<string[]>;
    declare readonly token: pulumi.Output<string>;

    constructor(name: string, args: CacheArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Cache", name, { ...args, address: undefined, memberIds: undefined, token: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CertificateArgs {
    hostname: string;
    /** The Route 53 hosted zone, public, that holds the name. */
    zoneId: string;
}

/** An ACM certificate. Whoever waits for its ARN waits until it is issued. */
export class Certificate extends pulumi.ComponentResource {
    declare readonly certificateArn: pulumi.Output<string>;

    constructor(name: string, args: CertificateArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Certificate", name, { ...args, certificateArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface ClusterArgs {
    /** IAM principals with cluster-admin, beside the creator. */
    administrators: string[];
    /** Physical name: the log group and the kubeconfig name it before the cluster is there. A change replaces it all. */
    clusterName: string;
    logRetentionDays: number;
    logsKeyArn: pulumi.Input<string>;
    partition: string;
    protected: boolean;
    /** Who may reach the API server from outside; empty means private only. */
    publicEndpointCidrs: string[];
    secretsKeyArn: pulumi.Input<string>;
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
    /** STANDARD or EXTENDED: what happens when the version leaves standard support. */
    support: string;
    version: string;
}

/** EKS with API access mode, envelope encryption, control-plane logs, zonal shift and a set upgrade policy. */
export class Cluster extends pulumi.ComponentResource {
    declare readonly arn: pulumi.Output<string>;
    declare readonly certificateAuthority: pulumi.Output<string>;
    declare readonly clusterName: pulumi.Output<string>;
    declare readonly endpoint: pulumi.Output<string>;
    declare readonly securityGroupId: pulumi.Output<string>;

    constructor(name: string, args: ClusterArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Cluster", name, { ...args, arn: undefined, certificateAuthority: undefined, clusterName: undefined, endpoint: undefined, securityGroupId: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CollectorArgs {
    clusterName: pulumi.Input<string>;
    image: pulumi.Input<string>;
    /** Where CloudWatch reads the metrics from. */
    logGroup: string;
    logRetentionDays: number;
    logsKeyArn: pulumi.Input<string>;
    /** Makes a workspace of Amazon Managed Service for Prometheus, and writes there. */
    managedPrometheus: boolean;
    /** Of gateways and engines; the collector runs there too. */
    namespace: string;
    region: string;
    /** Or: a Prometheus endpoint of somebody else's, which takes this network's writes without credentials. */
    remoteWriteUrl?: string;
}

/** One pod that scrapes, its log group, its rights, and a workspace where one is asked for. */
export class Collector extends pulumi.ComponentResource {
    declare readonly prometheusUrl: pulumi.Output<string>;

    constructor(name: string, args: CollectorArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Collector", name, { ...args, prometheusUrl: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CopiesArgs {
    accountId: string;
    backupDays: number;
    databaseArn: pulumi.Input<string>;
    homeRegion: string;
    oldVersionDays: number;
    partition: string;
    protected: boolean;
    /** Where the copies are. */
    region: string;
    /** Name of the bucket that is copied; its versioning must be on. */
    weightsBucket: pulumi.Input<string>;
    weightsBucketArn: pulumi.Input<string>;
    /** What encrypts the originals. */
    weightsKeyArn: pulumi.Input<string>;
}

/** Each new version of the weights and each backup of the database (with its log, to a point in time) is copied, encrypted by keys of the other region. Nothing is copied back by itself. */
export class Copies extends pulumi.ComponentResource {
    declare readonly weightsBucket: pulumi.Output<string>;

    constructor(name: string, args: CopiesArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Copies", name, { ...args, weightsBucket: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CostAnomaliesArgs {
    /** Anomalies with a smaller total impact, in US dollars, are not announced. */
    leastUsd: number;
    stack: string;
    topicArn: pulumi.Input<string>;
}

/** Watches the stack's cost for what is unusual and says so on the topic within a day. */
export class CostAnomalies extends pulumi.ComponentResource {
    declare readonly monitorArn: pulumi.Output<string>;

    constructor(name: string, args: CostAnomaliesArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:CostAnomalies", name, { ...args, monitorArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface DataKeysArgs {
    accountId: string;
    /** AWS partition: aws, aws-cn, aws-us-gov. */
    partition: string;
    /** Keys can then not be deleted: with a key goes what it encrypts. */
    protected: boolean;
    region: string;
}

/** One KMS key with yearly rotation and a policy of its own for each class of data. */
export class DataKeys extends pulumi.ComponentResource {
    declare readonly audit: pulumi.Output<string>;
    declare readonly cache: pulumi.Output<string>;
    declare readonly cluster: pulumi.Output<string>;
    declare readonly credentials: pulumi.Output<string>;
    declare readonly database: pulumi.Output<string>;
    declare readonly images: pulumi.Output<string>;
    declare readonly logs: pulumi.Output<string>;
    declare readonly messages: pulumi.Output<string>;
    declare readonly volumes: pulumi.Output<string>;
    declare readonly weights: pulumi.Output<string>;

    constructor(name: string, args: DataKeysArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:DataKeys", name, { ...args, audit: undefined, cache: undefined, cluster: undefined, credentials: undefined, database: undefined, images: undefined, logs: undefined, messages: undefined, volumes: undefined, weights: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface DatabaseArgs {
    /** Takes a new major version at once: in the maintenance window its old parameter group could not be deleted. */
    allowMajorUpgrade?: boolean;
    backupDays: number;
    /** The same, known only where something else allows it. */
    checkedVersion?: pulumi.Input<string>;
    credentialsKeyArn: pulumi.Input<string>;
    /** PostgreSQL version; a major alone takes its newest minor. */
    engineVersion: string;
    /** The instance's name, and the first part of its log groups' and of its last snapshot's. A new one is a new, empty database. */
    identifier: string;
    instanceClass: string;
    keyArn: pulumi.Input<string>;
    logRetentionDays: number;
    logsKeyArn: pulumi.Input<string>;
    maxStorageGib: number;
    multiZone: boolean;
    protected: boolean;
    securityGroupId: pulumi.Input<string>;
    storageGib: number;
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
}

/** PostgreSQL: encrypted, TLS only, its password made, kept and rotated by AWS. */
export class Database extends pulumi.ComponentResource {
    declare readonly address: pulumi.Output<string>;
    declare readonly arn: pulumi.Output<string>;
    declare readonly identifier: pulumi.Output<string>;
    declare readonly secretArn: pulumi.Output<string>;

    constructor(name: string, args: DatabaseArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Database", name, { ...args, address: undefined, arn: undefined, identifier: undefined, secretArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface DevicePluginArgs {
    image: pulumi.Input<string>;
}

/** A daemon set that tells the kubelet of its node's GPUs. */
export class DevicePlugin extends pulumi.ComponentResource {

    constructor(name: string, args: DevicePluginArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:DevicePlugin", name, { ...args }, { version: "0.1.0", ...options }, true);
    }
}

export interface EdgeArgs {
    /** A bucket in which the load balancer may write under `edge/`; without one no access log is kept. */
    accessLogsBucket?: pulumi.Input<string>;
    /** Who reaches the gateways' admin API through the load balancer, beside its key; without any, nobody. */
    adminCidrs?: string[];
    /** Per cent for `blue` and `green`: either may answer, if it has gateways. */
    adminWeights?: Record<string, number>;
    /** With a certificate the listener speaks HTTPS, without one HTTP. */
    certificateArn?: pulumi.Input<string>;
    /** How long open streams to a leaving gateway are kept. */
    deregistrationDelaySeconds: number;
    healthPeriodSeconds: number;
    /** The Route 53 zone in which `hostname` is to point to the load balancer; without one somebody else does that. */
    hostedZoneId?: string;
    /** The name that clients use; without one the load balancer's own. */
    hostname?: string;
    /** Above the longest silent gap inside a stream. */
    idleTimeoutSeconds: number;
    port: number;
    protected: boolean;
    securityGroupId: pulumi.Input<string>;
    /** One public subnet for each zone. */
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
    vpcId: pulumi.Input<string>;
}

/** An application load balancer whose listener refuses what no rule takes. */
export class Edge extends pulumi.ComponentResource {
    declare readonly blueTargetGroupArn: pulumi.Output<string>;
    declare readonly greenTargetGroupArn: pulumi.Output<string>;
    declare readonly listenerArn: pulumi.Output<string>;
    declare readonly loadBalancerArn: pulumi.Output<string>;
    declare readonly loadBalancerDimension: pulumi.Output<string>;
    declare readonly url: pulumi.Output<string>;

    constructor(name: string, args: EdgeArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Edge", name, { ...args, blueTargetGroupArn: undefined, greenTargetGroupArn: undefined, listenerArn: undefined, loadBalancerArn: undefined, loadBalancerDimension: undefined, url: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface EventsArgs {
    accountId: string;
    keyArn: pulumi.Input<string>;
}

/** A topic for alarms and cost, and a queue that holds its messages until a gateway has read them. */
export class Events extends pulumi.ComponentResource {
    declare readonly deadQueueName: pulumi.Output<string>;
    declare readonly queueArn: pulumi.Output<string>;
    declare readonly queueName: pulumi.Output<string>;
    declare readonly queueUrl: pulumi.Output<string>;
    declare readonly topicArn: pulumi.Output<string>;

    constructor(name: string, args: EventsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Events", name, { ...args, deadQueueName: undefined, queueArn: undefined, queueName: undefined, queueUrl: undefined, topicArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface FaultInjectionArgs {
    accountId: string;
    /** The replication group; None where it has no replica. */
    cacheArn?: pulumi.Input<string>;
    /** None where the database has no standby: then there is nothing to fail over to. */
    databaseArn?: pulumi.Input<string>;
    loadBalancerDimension: pulumi.Input<string>;
    /** How long a zone or a cache's node stays without power, and how long an experiment may take at all. */
    longestSeconds: number;
    partition: string;
    region: string;
    stack: string;
    /** So many errors of gateways in a minute end every experiment. */
    stopErrors: number;
    volumesKeyArn: pulumi.Input<string>;
    /** Full names, such as eu-central-1a: each has a template of its own. */
    zones: string[];
}

/** One template for each drill that AWS can do: zone-loss, spot-reclaim, database-failover, cache-primary. */
export class FaultInjection extends pulumi.ComponentResource {
    declare readonly templateIds: pulumi.Output<string[]>;

    constructor(name: string, args: FaultInjectionArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:FaultInjection", name, { ...args, templateIds: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface FilesArgs {
    accountId: string;
    /** Files go after so many days, also those that the workers forgot. */
    keepDays: number;
    partition: string;
    protected: boolean;
}

/** The bucket of clients' files and answers, and its key. */
export class Files extends pulumi.ComponentResource {
    declare readonly arn: pulumi.Output<string>;
    declare readonly bucket: pulumi.Output<string>;
    declare readonly keyArn: pulumi.Output<string>;

    constructor(name: string, args: FilesArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Files", name, { ...args, arn: undefined, bucket: undefined, keyArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface FirewallArgs {
    loadBalancerArn: pulumi.Input<string>;
    /** The log group is `aws-waf-logs-<log_name>`: AWS WAF writes to groups of that prefix alone. */
    logName: string;
    logRetentionDays: number;
    logsKeyArn: pulumi.Input<string>;
    /** AWS counts each address by itself and takes 10 or more. */
    requestsPerFiveMinutesPerIp: number;
}

/** A regional web ACL on the load balancer. What it refuses is logged, without credentials. */
export class Firewall extends pulumi.ComponentResource {
    declare readonly logGroupName: pulumi.Output<string>;
    declare readonly webAclArn: pulumi.Output<string>;

    constructor(name: string, args: FirewallArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Firewall", name, { ...args, logGroupName: undefined, webAclArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface GroundArgs {
    namespace: string;
}

/** A namespace with restricted pod security, service accounts, and the gateway's right to watch pods. */
export class Ground extends pulumi.ComponentResource {
    declare readonly namespace: pulumi.Output<string>;

    constructor(name: string, args: GroundArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Ground", name, { ...args, namespace: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface GuardArgs {
    /** Refuses to be deleted, and with it all that it depends on. */
    protected: boolean;
}

/** Depends on all that is to stay, and nothing depends on it. A destroy deletes first what nothing depends on. So it meets the guard in its first wave, and a protected guard ends it there, also where its preview was skipped. Without one such a destroy deletes all that has no protection of its own (nodes, firewall, alarms) before it comes to what has. */
export class Guard extends pulumi.ComponentResource {

    constructor(name: string, args: GuardArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Guard", name, { ...args }, { version: "0.1.0", ...options }, true);
    }
}

export interface IsolationArgs {
    /** Ranges of the load balancer's subnets: it speaks to gateway pods from there. */
    edgeCidrs: string[];
    /** There are engines of several pods. */
    grouped?: boolean;
    namespace: pulumi.Input<string>;
    /** KEDA reads the gateways' demand. */
    scaled?: boolean;
    vpcCidr: string;
}

/** Network policies that deny all but what gateways and engines need, and priorities of pods. */
export class Isolation extends pulumi.ComponentResource {
    declare readonly batchPriority: pulumi.Output<string>;
    declare readonly interactivePriority: pulumi.Output<string>;

    constructor(name: string, args: IsolationArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Isolation", name, { ...args, batchPriority: undefined, interactivePriority: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface JobWorkersArgs {
    namespace: pulumi.Input<string>;
    workers: WorkersShape;
}

/** The workers, with an identity of their own, what they may reach, and how many may go at once. */
export class JobWorkers extends pulumi.ComponentResource {

    constructor(name: string, args: JobWorkersArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:JobWorkers", name, { ...args }, { version: "0.1.0", ...options }, true);
    }
}

export interface KarpenterArgs {
    accountId: string;
    /** Pinned, such as bottlerocket@v1.50.0: a newer image comes by a reviewed diff. */
    amiAlias: string;
    /** The cluster's physical name, which stands in tags and conditions. */
    cluster: string;
    clusterName: pulumi.Input<string>;
    image: pulumi.Input<string>;
    /** The network has no way out: prices come from the table inside the controller. */
    isolated: boolean;
    messagesKeyArn: pulumi.Input<string>;
    partition: string;
    pools: PoolShape;
    region: string;
    replicas: number;
    securityGroupIds: pulumi.Input<string>[];
    subnetIds: pulumi.Input<string>[];
    volumeGib: number;
    volumesKeyArn: pulumi.Input<string>;
}

/** The controller, and a node class with two pools: spot of higher weight, on demand behind it. Once, or for each colour. */
export class Karpenter extends pulumi.ComponentResource {
    declare readonly nodeRoleArn: pulumi.Output<string>;
    declare readonly queueName: pulumi.Output<string>;

    constructor(name: string, args: KarpenterArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Karpenter", name, { ...args, nodeRoleArn: undefined, queueName: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface KedaArgs {
    adapterImage: pulumi.Input<string>;
    cluster: string;
    /** Of gateways and engines: the only one that it watches and scales in. */
    namespace: pulumi.Input<string>;
    operatorImage: pulumi.Input<string>;
    replicas: number;
    vpcCidr: string;
}

/** The operator, the adapter, and the API through which Kubernetes' autoscaler asks for their numbers. */
export class Keda extends pulumi.ComponentResource {

    constructor(name: string, args: KedaArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Keda", name, { ...args }, { version: "0.1.0", ...options }, true);
    }
}

export interface LoadBalancerControllerArgs {
    /** The cluster's physical name. */
    cluster: string;
    clusterName: pulumi.Input<string>;
    image: pulumi.Input<string>;
    /** Of the gateways: the only one that it watches. */
    namespace: pulumi.Input<string>;
    region: string;
    replicas: number;
    /** All that it may register pods with. */
    targetGroupArns: pulumi.Input<string>[];
    vpcId: pulumi.Input<string>;
    /** PEM of the certificate of a server that nobody calls. Taken when the secret is made, and kept. */
    webhookCertificate: pulumi.Input<string>;
    /** PEM of its private key. Secret. */
    webhookKey: pulumi.Input<string>;
}

/** Two replicas, of which one leads, with the rights of target registration alone. */
export class LoadBalancerController extends pulumi.ComponentResource {
    declare readonly roleArn: pulumi.Output<string>;

    constructor(name: string, args: LoadBalancerControllerArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:LoadBalancerController", name, { ...args, roleArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface MonthlyBudgetArgs {
    /** Announced when so much has been spent. */
    actualPercents: number[];
    /** Announced when AWS expects so much by the end of the month; it needs about five weeks of history. */
    forecastPercents: number[];
    monthlyUsd: number;
    /** With a value: count only what carries the tag. It must be active as a cost allocation tag. */
    tagKey?: string;
    tagValue?: string;
    topicArn: pulumi.Input<string>;
}

/** A monthly cost budget that speaks on the topic at each percentage, of what is spent and of what is expected. */
export class MonthlyBudget extends pulumi.ComponentResource {
    declare readonly budgetName: pulumi.Output<string>;

    constructor(name: string, args: MonthlyBudgetArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:MonthlyBudget", name, { ...args, budgetName: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface NetworkArgs {
    /** The VPC's range, /16 to /20. A change replaces the VPC. */
    cidr: string;
    flowLogDays: number;
    /** Name of the log group for the VPC's flow logs. */
    flowLogGroup: string;
    /** AWS services that are reached without NAT, such as `ecr.api`. */
    interfaceEndpoints: string[];
    logsKeyArn: pulumi.Input<string>;
    /** `perZone`: one in each zone; `one`: one in the first; `none`: no way out, only endpoints. */
    natGateways: string;
    region: string;
    /** Zone letters. A zone added at the end moves no range. */
    zones: string[];
}

/** A VPC with public, private and intra subnets, one of each in each zone. */
export class Network extends pulumi.ComponentResource {
    declare readonly intraSubnetIds: pulumi.Output<string[]>;
    declare readonly privateSubnetIds: pulumi.Output<string[]>;
    declare readonly publicSubnetIds: pulumi.Output<string[]>;
    declare readonly vpcId: pulumi.Output<string>;
    declare readonly zoneIds: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: NetworkArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Network", name, { ...args, intraSubnetIds: undefined, privateSubnetIds: undefined, publicSubnetIds: undefined, vpcId: undefined, zoneIds: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface NodeGroupsArgs {
    /** Version of each add-on, such as v1.22.4-eksbuild.3. */
    addonVersions: AddonVersionsShape;
    clusterName: pulumi.Input<string>;
    /** On demand, over all zones: the floor under the engines. `max_nodes` 0: there is none. */
    gpu: NodeGroupShape;
    /** Spot; the numbers count for one zone. `max_nodes` 0: there are none. */
    gpuSpot: NodeGroupShape;
    partition: string;
    /** A group in each reservation, with image and volume of `gpu`. */
    reserved?: ReservedShape[];
    /** The cluster's own group, and the one for nodes. */
    securityGroupIds: pulumi.Input<string>[];
    /** One private subnet for each zone. */
    subnetIds: pulumi.Input<string>[];
    /** On demand, over all zones: gateways and cluster services. */
    system: NodeGroupShape;
    volumesKeyArn: pulumi.Input<string>;
    /** Zone letters, in the order of the subnets. */
    zones: string[];
}

/** The groups `system`, `gpu`, `gpu-spot-<zone>` for each zone and `reserved-<name>` for each reservation, with the cluster's add-ons. */
export class NodeGroups extends pulumi.ComponentResource {
    declare readonly nodeGroupNames: pulumi.Output<string[]>;

    constructor(name: string, args: NodeGroupsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:NodeGroups", name, { ...args, nodeGroupNames: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface RegistryArgs {
    images: string[];
    keyArn: pulumi.Input<string>;
    /** Repositories are named `<prefix>/<image>`. */
    prefix: string;
    protected: boolean;
}

/** ECR repositories: tags that never move, a scan of each push, old images expired. */
export class Registry extends pulumi.ComponentResource {
    declare readonly urls: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: RegistryArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Registry", name, { ...args, urls: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface ReleaseArgs {
    /** Name of the Kubernetes Secret whose keys become environment variables of the gateway. */
    addressesSecret: pulumi.Input<string>;
    colour: string;
    drain: DrainShape;
    engineImage: pulumi.Input<string>;
    engines: EngineShape[];
    /** The gateway's settings as JSON. A change makes a new ConfigMap and a rolling restart. */
    gatewayConfig: string;
    gatewayCpuMillicores: number;
    /** Files beside them, by name. */
    gatewayFiles?: Record<string, string>;
    gatewayImage: pulumi.Input<string>;
    gatewayMemoryMib: number;
    gatewayReplicas: number;
    /** Name of the Kubernetes Secret with keys.json. */
    keysSecret: pulumi.Input<string>;
    /** What makes the gateways' tables and their login, before they start. */
    migration: MigrationShape;
    namespace: pulumi.Input<string>;
    probes: ProbesShape;
    /** Disk in each gateway pod for usage that waits for the database. */
    spoolMib: number;
    targetGroupArn: pulumi.Input<string>;
    /** A gateway is ready once the load balancer sees it healthy. Needs a controller that opens readiness gates. */
    waitsForLoadBalancer?: boolean;
    /** How many zones the pods are spread over. */
    zones: number;
}

/** Gateways and engines that were tested together and take traffic together. */
export class Release extends pulumi.ComponentResource {
    declare readonly configMap: pulumi.Output<string>;

    constructor(name: string, args: ReleaseArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Release", name, { ...args, configMap: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface SecurityGroupsArgs {
    /** Who may reach the load balancer. */
    edgeCidrs: string[];
    /** The load balancer's listener. */
    edgePort: number;
    vpcId: pulumi.Input<string>;
}

/** One group for each role: clients reach the edge, the edge reaches gateways, pods reach cache and database. */
export class SecurityGroups extends pulumi.ComponentResource {
    declare readonly cacheId: pulumi.Output<string>;
    declare readonly databaseId: pulumi.Output<string>;
    declare readonly edgeId: pulumi.Output<string>;
    declare readonly nodesId: pulumi.Output<string>;

    constructor(name: string, args: SecurityGroupsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:SecurityGroups", name, { ...args, cacheId: undefined, databaseId: undefined, edgeId: undefined, nodesId: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface ServiceRoleArgs {
    description: string;
    /** Full ARNs, such as `arn:aws:iam::aws:policy/AmazonEKSClusterPolicy`. */
    managedPolicies: string[];
    /** Inline policy, as JSON. */
    policy?: pulumi.Input<string>;
    /** Service principals that may take the role, such as `pods.eks.amazonaws.com`. */
    services: string[];
}

/** A role, its attachments and at most one inline policy. */
export class ServiceRole extends pulumi.ComponentResource {
    declare readonly arn: pulumi.Output<string>;

    constructor(name: string, args: ServiceRoleArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:ServiceRole", name, { ...args, arn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface TelemetryArgs {
    addonVersion: string;
    /** The cluster's physical name, which stands in the names of log groups. */
    cluster: string;
    clusterName: pulumi.Input<string>;
    logGroupArns: Record<string, pulumi.Input<string>>;
    /** Log group of each kind of pod of that namespace, `gateway` and `engine`. */
    logGroups: Record<string, pulumi.Input<string>>;
    /** Of all other logs of the cluster. */
    logRetentionDays: number;
    logsKeyArn: pulumi.Input<string>;
    /** Of gateways and engines. */
    namespace: string;
    region: string;
}

/** The add-on on every node, its rights, and the log groups that it may write to. */
export class Telemetry extends pulumi.ComponentResource {
    declare readonly roleArn: pulumi.Output<string>;

    constructor(name: string, args: TelemetryArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Telemetry", name, { ...args, roleArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface TrafficArgs {
    blueTargetGroupArn: pulumi.Input<string>;
    greenTargetGroupArn: pulumi.Input<string>;
    listenerArn: pulumi.Input<string>;
    /** Who sends it in the header `x-penstock-probe` names the colour in `x-penstock-colour`. Secret, of letters, digits, `-` and `_`. Without it nobody can choose a colour. */
    probeToken?: pulumi.Input<string>;
    /** The rule, and with it the pods that it leads to, resist a destroy. Its weights may change all the same. */
    protected: boolean;
    /** Per cent of new requests for `blue` and `green`. */
    weights: Record<string, number>;
}

/** The weighted rule: the only place where traffic is divided, and one integer in a preview. */
export class Traffic extends pulumi.ComponentResource {
    declare readonly ruleArn: pulumi.Output<string>;

    constructor(name: string, args: TrafficArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Traffic", name, { ...args, ruleArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface WatchArgs {
    /** Ids of the cache's nodes. */
    cacheMembers: pulumi.Input<string>[];
    dashboardName: string;
    databaseIdentifier: pulumi.Input<string>;
    databaseStorageGib: number;
    deadQueueName: pulumi.Input<string>;
    /** With the collector: alarms and panels on what gateways and engines count. */
    engines?: EngineLimitsShape;
    /** An alarm tells when one answer in a hundred begins later. */
    firstByteSeconds: number;
    /** False: none of its nodes has a GPU. */
    gpus?: boolean;
    /** With Container Insights: the cluster's name, for alarms and panels on its nodes. */
    insightsOf?: string;
    loadBalancerDimension: pulumi.Input<string>;
    logGroupPrefix: string;
    /** For each log group, one for each kind of workload. */
    logRetentionDays: Record<string, number>;
    logsKeyArn: pulumi.Input<string>;
    region: string;
    /** The page that alarms name; each adds its anchor. */
    runbooksUrl: string;
    /** For each colour. */
    targetGroupDimensions: Record<string, pulumi.Input<string>>;
    topicArn: pulumi.Input<string>;
}

/** Log groups, alarms on what users feel and on what will soon hurt them, and a dashboard of the same. */
export class Watch extends pulumi.ComponentResource {
    declare readonly dashboardName: pulumi.Output<string>;
    declare readonly logGroupArns: pulumi.Output<Record<string, string>>;
    declare readonly logGroupNames: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: WatchArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Watch", name, { ...args, dashboardName: undefined, logGroupArns: undefined, logGroupNames: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface WeightsArgs {
    /** A bucket that takes S3's access logs; without one none are written. */
    accessLogsBucket?: pulumi.Input<string>;
    keyArn: pulumi.Input<string>;
    /** What is overwritten or deleted can be brought back so long. */
    oldVersionDays: number;
    protected: boolean;
}

/** An S3 bucket for model weights: versioned, encrypted by its key, private, TLS only. */
export class Weights extends pulumi.ComponentResource {
    declare readonly arn: pulumi.Output<string>;
    declare readonly bucket: pulumi.Output<string>;

    constructor(name: string, args: WeightsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Weights", name, { ...args, arn: undefined, bucket: undefined }, { version: "0.1.0", ...options }, true);
    }
}
