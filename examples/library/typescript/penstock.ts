// Penstock's components for TypeScript. Written by `make golden` from the schema of the component package.

import * as pulumi from "@pulumi/pulumi";

export interface AddonVersionsShape {
    /** Add-on coredns: names of services. */
    coredns: string;
    /** Add-on kube-proxy: addresses of services; of the cluster's Kubernetes minor. */
    kubeProxy: string;
    /** Add-on metrics-server: what CPU and memory pods use. */
    metricsServer: string;
    /** Add-on eks-node-monitoring-agent: finds sick nodes, which EKS then repairs. */
    nodeMonitoringAgent: string;
    /** Add-on eks-pod-identity-agent: credentials for pods. */
    podIdentityAgent: string;
    /** Add-on vpc-cni: addresses of pods, and network policies. */
    vpcCni: string;
}

export interface DrainShape {
    /** How long an engine lets requests end after SIGTERM; of the engines vLLM alone takes it. */
    engineShutdownSeconds: number;
    /** From the start of the sleep to SIGKILL: longer than the sleep and the end of requests together. */
    graceSeconds: number;
    /** Sleep before SIGTERM, in which the pod leaves the endpoints: no shorter than the probes take to notice. */
    preStopSeconds: number;
}

export interface EngineLimitsShape {
    /** An alarm tells when a colour's mean time to the first token reaches this. */
    firstTokenSeconds: number;
    /** Of the engines there are, vLLM alone unless given; each kind tells under names of its own. */
    kinds?: string[];
    /** An alarm tells when so many requests wait in one engine. */
    waitingRequests: number;
}

export interface EngineShape {
    /** More names that clients may send; SGLang takes none. */
    aliases: string[];
    /** More arguments, as they stand. */
    arguments: string[];
    /** Gives way to interactive pods. */
    batch: boolean;
    /** Long prompts are read in parts, between the tokens of others; read by vLLM and SGLang. */
    chunkedPrefill: boolean;
    /** Disk of one pod for what the engine compiles, in MiB; a restarted container finds it again. */
    compileCacheMib: number;
    /** CPU that each pod asks for, in thousandths of a core. */
    cpuMillicores: number;
    /** Of one pod. */
    gpus: number;
    /** In place of the release's. */
    image?: pulumi.Input<string>;
    /** Nodes with the wanted GPU; empty: any GPU node. */
    instanceTypes: string[];
    /** `vllm`, `sglang`, `tgi` or `openai-compatible`: whose command line, probes and metrics the engine has. */
    kind: string;
    /** LoRA adapters that vLLM serves beside the model; the other engines take none. */
    loraAdapters: LoraShape[];
    /** The bucket of adapters whose source is weights://<prefix>. */
    loraBucket?: pulumi.Input<string>;
    /** Prompt and output of one request together, in tokens. */
    maxModelLen: number;
    /** Memory of each pod in MiB: what it asks for, and its limit. */
    memoryMib: number;
    /** The name that clients send. */
    model: string;
    /** Pods of one engine. */
    nodes: number;
    /** It runs on nodes of its colour alone. */
    ownNodes?: boolean;
    /** Beginnings that prompts share are computed once; read by vLLM and SGLang. */
    prefixCaching: boolean;
    /** Of the weights, as the engine's own flag has it, such as awq, gptq or fp8; `none`: no flag is given. */
    quantisation: string;
    /** The floor where it scales, else the number. */
    replicas: number;
    /** The number follows the demand, by KEDA; without it it is fixed. Not for engines of several pods. */
    scaling?: ScalingShape;
    /** Room in /dev/shm, in MiB; what fills it is part of the pod's memory. */
    sharedMemoryMib: number;
    /** The model's name as it may stand in object names. */
    slug: string;
    /** What the engine loads: a path, a name, or an s3:// address. */
    source: pulumi.Input<string>;
    /** Per cent of the replicas that may be on spot nodes; without it pods go wherever there is a GPU. */
    spotShare?: number;
    /** It is restarted when it does not answer by then. */
    startupSeconds: number;
    /** Weights come straight from S3 to the GPU; not with TGI and `openai-compatible`. */
    streamed: boolean;
    /** GPUs that share each layer; it divides the GPUs of all pods of one engine, the rest are pipeline stages. */
    tensorParallel: number;
}

export interface LoraShape {
    /** The name that clients send. */
    name: string;
    /** Of the adapter, or the next above it that vLLM knows: 1, 8, 16, 32, 64, 128, 256, 320 or 512. */
    rank: number;
    /** A path or name that the image knows, or weights://<prefix>. */
    source: string;
}

export interface MigrationShape {
    /** host:port. */
    databaseAddress: pulumi.Input<string>;
    /** How the database is connected to: `prefer` and `require` verify nothing, `verify-full` takes AWS's own roots alone. */
    databaseTls: string;
    /** Jobs have tables too: name of the Kubernetes Secret with the workers' password, at PENSTOCK_DATABASE_PASSWORD. */
    jobsSecret?: pulumi.Input<string>;
    /** Rows of usage are kept so long. */
    keepDays: number;
    /** Name of the Kubernetes Secret with the gateways' password, at PENSTOCK_DATABASE_PASSWORD. */
    loginSecret: pulumi.Input<string>;
    /** The secret of Secrets Manager in which AWS keeps the owner's name and password. */
    ownerSecretArn: pulumi.Input<string>;
    /** Retrieval has tables too; they need the extension pgvector. */
    retrieval?: boolean;
    /** The semantic cache has tables too; they need the extension pgvector. */
    semanticCache: boolean;
}

export interface NodeGroupShape {
    /** EKS AMI type, such as BOTTLEROCKET_x86_64_NVIDIA. */
    amiType: string;
    /** Nodes that the group is to have, from the fewest to the most. */
    desiredNodes: number;
    /** EC2 instance types of the nodes, such as g6.xlarge; with several a spot group stays full more easily. */
    instanceTypes: pulumi.Input<string[]>;
    /** Most nodes; 0 makes no such group, which `system` cannot do without. */
    maxNodes: number;
    /** Nodes that are exchanged at a time; 1 where it is not given. */
    maxUnavailable?: number;
    /** Fewest nodes; 0 is allowed. */
    minNodes: number;
    /** Release of the node image. Without it: the newest when the group is made or its version changes. */
    releaseVersion?: string;
    /** Kubernetes version of the nodes, such as 1.36. Without it: that of the cluster when the group is made. */
    version?: string;
    /** Volume of each node for images and pods, in GiB of gp3, 20 or more. */
    volumeGib: number;
}

export interface PoolShape {
    /** amd64 or arm64. */
    architecture: string;
    /** Each has pools and a node class of its own; without them there is one set for all engines. */
    colours?: string[];
    /** A node that has been empty for so long goes. */
    consolidateAfterMinutes: number;
    /** A node is replaced at this age. */
    expireAfterHours: number;
    /** EC2 instance types that it may start, all of the one architecture. */
    instanceTypes: string[];
    /** More labels of the nodes. */
    labels: Record<string, string>;
    /** Ceiling of each pool, in GPUs; pools in reservations have their own. */
    maxGpus: number;
    /** A pool for each, tried before all others: what is reserved is paid for. */
    reserved?: ReservedPool[];
    /** Engines that fell back to nodes on demand go to spot again, one node at a time and out of working hours. */
    returnsToSpot?: boolean;
    /** Pods that are still on a leaving node after this are killed. */
    terminationGraceHours: number;
    /** Full names, such as eu-central-1a. */
    zones: string[];
}

export interface ProbesShape {
    /** Failures in a row until a pod is not ready; three times as many restart it. */
    failureThreshold: number;
    /** A gateway is restarted when it does not answer by then. */
    gatewayStartupSeconds: number;
    /** How often each pod is asked. */
    periodSeconds: number;
    /** An answer that takes longer is a failed one. */
    timeoutSeconds: number;
}

export interface ReservedPool {
    /** Ceiling of the pool. */
    gpus: number;
    /** EC2 instance type that is reserved, such as p5.48xlarge. */
    instanceType: string;
    /** The pool is named `gpu-reserved-<name>`. */
    name: string;
    /** Id of the capacity reservation in EC2, such as cr-0123456789abcdef0. */
    reservationId: string;
    /** Full name. */
    zone: string;
}

export interface ReservedShape {
    /** A Capacity Block for ML; else an On-Demand Capacity Reservation. */
    capacityBlock: boolean;
    /** EC2 instance type that is reserved, such as p5.48xlarge. */
    instanceType: pulumi.Input<string>;
    /** The group is named `reserved-<name>`. */
    name: string;
    /** Nodes that start in the reservation; with 0 the group stays empty. */
    nodes: number;
    /** Id of the capacity reservation in EC2, such as cr-0123456789abcdef0. */
    reservationId: string;
    /** Zone letter: a reservation is in one zone. */
    zone: string;
}

export interface ScalingShape {
    /** Without demand for so long, a model that may goes to zero. */
    cooldownSeconds: number;
    /** Most engines of the model in the colour. */
    maxReplicas: number;
    /** The most demand of this time counts when engines are taken away. */
    stabilisationSeconds: number;
    /** Requests that wait or run, for one engine. */
    targetPerReplica: number;
    /** Without demand there may be no engine at all; the first request brings one. */
    toZero: boolean;
}

export interface WorkersScaling {
    /** Most workers, however many requests wait. */
    maxWorkers: number;
    /** Requests that wait or are under way, for each worker. */
    rowsPerWorker: number;
}

export interface WorkersShape {
    /** What the worker takes as PENSTOCK_JOBS_CONFIG. */
    config: string;
    /** CPU that each pod asks for, in thousandths of a core. */
    cpuMillicores: number;
    /** How the database is connected to: `prefer` and `require` verify nothing, `verify-full` takes AWS's own roots alone. */
    databaseTls: string;
    /** Image of the workers, with tag or digest: the gateways' holds them too. */
    image: pulumi.Input<string>;
    /** Memory of each pod in MiB: what it asks for, and its limit. */
    memoryMib: number;
    /** The floor where they scale, else the number. */
    replicas: number;
    /** The number follows the queue, by KEDA; without it it is fixed. */
    scaling?: WorkersScaling;
    /** Name of the Secret with PENSTOCK_JOBS_* and PENSTOCK_DATABASE_*. */
    secret: pulumi.Input<string>;
    /** The VPC's range: workers reach the database in it. */
    vpcCidr: string;
}

export interface AccessLogsArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** How many days a log is kept. */
    days: number;
    /** Refuses to delete the bucket; without it a destroy empties and deletes it. */
    protected: boolean;
}

/** The bucket for access logs of the load balancer and of buckets. Both write only where S3's own key encrypts. */
export class AccessLogs extends pulumi.ComponentResource {
    /** The bucket's name; whoever waits for it may have logs written. */
    declare readonly bucket: pulumi.Output<string>;

    constructor(name: string, args: AccessLogsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:AccessLogs", name, { ...args, bucket: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface AuditTrailArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** How many days a file of the trail is kept. */
    days: number;
    /** KMS key that encrypts the trail's files; CloudTrail must be allowed to use it (`audit` of `DataKeys`). */
    keyArn: pulumi.Input<string>;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** Refuses to delete the trail and its bucket; without it a destroy empties and deletes the bucket. */
    protected: boolean;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** Physical name of the trail: its bucket's policy names it before it is there. */
    trailName: string;
}

/** CloudTrail of every region, with digests that show a changed file, in an encrypted bucket of its own. */
export class AuditTrail extends pulumi.ComponentResource {
    /** Name of the bucket; its files lie under `AWSLogs/<account>/`. */
    declare readonly bucket: pulumi.Output<string>;
    /** ARN of the trail, known once its bucket takes its files. */
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
    /** KMS key that encrypts the cache at rest, its token not included. */
    keyArn: pulumi.Input<string>;
    /** ElastiCache node type of the primary and of each replica, such as cache.m7g.large. */
    nodeType: string;
    /** The token's secret can be brought back for 7 days after a delete; the cache itself is not protected. */
    protected: boolean;
    /** Beside the primary, in other zones; with one or more it fails over by itself. */
    replicas: number;
    /** Security group of the nodes; it must let clients in at port 6379. */
    securityGroupId: pulumi.Input<string>;
    /** Intra subnets, without a way out; with replicas, of two zones or more. */
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
    /** Clients must connect by TLS. */
    tls: boolean;
    /** Raised by one it has the token made anew; 1 where it is not given. */
    tokenNumber?: number;
}

/** A Valkey replication group, encrypted at rest, with a standby where replicas are asked for. */
export class Cache extends pulumi.ComponentResource {
    /** host:port of the primary. */
    declare readonly address: pulumi.Output<string>;
    /** Ids of the nodes, the primary among them. */
    declare readonly memberIds: pulumi.Output<string[]>;
    /** Secret; empty where clients need none. */
    declare readonly token: pulumi.Output<string>;

    constructor(name: string, args: CacheArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Cache", name, { ...args, address: undefined, memberIds: undefined, token: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CertificateArgs {
    /** Full name that clients use: the certificate is for this one alone. */
    hostname: string;
    /** The Route 53 hosted zone, public, that holds the name. */
    zoneId: string;
}

/** An ACM certificate. Whoever waits for its ARN waits until it is issued. */
export class Certificate extends pulumi.ComponentResource {
    /** ARN of the certificate, known once ACM has issued it. */
    declare readonly certificateArn: pulumi.Output<string>;

    constructor(name: string, args: CertificateArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Certificate", name, { ...args, certificateArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface ClusterArgs {
    /** IAM principals with cluster-admin, beside the creator. The last parts of their ARNs differ. */
    administrators: string[];
    /** Physical name: the log group and the kubeconfig name it before the cluster is there. A change replaces it all. */
    clusterName: string;
    /** How long its logs are kept, in days: a number that CloudWatch takes, such as 30 or 365. */
    logRetentionDays: number;
    /** KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`). */
    logsKeyArn: pulumi.Input<string>;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** Refuses to delete the cluster, in AWS and in Pulumi. */
    protected: boolean;
    /** Who may reach the API server from outside; empty means private only. */
    publicEndpointCidrs: string[];
    /** KMS key that encrypts Kubernetes secrets (envelope encryption). */
    secretsKeyArn: pulumi.Input<string>;
    /** Private subnets of two zones or more, for the control plane's network interfaces. */
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
    /** STANDARD or EXTENDED: what happens when the version leaves standard support. */
    support: string;
    /** Kubernetes version of the control plane, such as 1.36; EKS raises it by one minor at a time. */
    version: string;
}

/** EKS with API access mode, envelope encryption, control-plane logs, zonal shift and a set upgrade policy. */
export class Cluster extends pulumi.ComponentResource {
    /** ARN of the cluster, for policies that name it. */
    declare readonly arn: pulumi.Output<string>;
    /** Base64 of the API server's CA certificate. */
    declare readonly certificateAuthority: pulumi.Output<string>;
    /** The same name, known once the cluster is there: what needs the cluster takes it from here. */
    declare readonly clusterName: pulumi.Output<string>;
    /** Address of the API server, with https://, known once the administrators may use it. */
    declare readonly endpoint: pulumi.Output<string>;
    /** EKS's own group, through which nodes and control plane talk. */
    declare readonly securityGroupId: pulumi.Output<string>;

    constructor(name: string, args: ClusterArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Cluster", name, { ...args, arn: undefined, certificateAuthority: undefined, clusterName: undefined, endpoint: undefined, securityGroupId: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CollectorArgs {
    /** The EKS cluster's name as `Cluster` gives it out, so that this waits for the cluster. */
    clusterName: pulumi.Input<string>;
    /** Image of the AWS Distro for OpenTelemetry's collector, with tag or digest. */
    image: pulumi.Input<string>;
    /** Where CloudWatch reads the metrics from. */
    logGroup: string;
    /** How long its logs are kept, in days: a number that CloudWatch takes, such as 30 or 365. */
    logRetentionDays: number;
    /** KMS key of its log group, and of the workspace where one is made. */
    logsKeyArn: pulumi.Input<string>;
    /** Makes a workspace of Amazon Managed Service for Prometheus, and writes there. */
    managedPrometheus: boolean;
    /** Of gateways and engines; the collector runs there too. */
    namespace: string;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** Or: a Prometheus endpoint of somebody else's, which takes this network's writes without credentials. */
    remoteWriteUrl?: string;
}

/** One pod that scrapes, its log group, its rights, and a workspace where one is asked for. */
export class Collector extends pulumi.ComponentResource {
    /** Of the workspace, to query it; empty where there is none. */
    declare readonly prometheusUrl: pulumi.Output<string>;

    constructor(name: string, args: CollectorArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Collector", name, { ...args, prometheusUrl: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CopiesArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** How many days the copied backups are kept, 1 to 35. */
    backupDays: number;
    /** ARN of the RDS instance (`arn` of `Database`); its own backups must be on. */
    databaseArn: pulumi.Input<string>;
    /** AWS region of the originals, which is the provider's. */
    homeRegion: string;
    /** Days for which a copy that was overwritten or deleted can be brought back. */
    oldVersionDays: number;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** Refuses to delete the copies' bucket and keys; without it a destroy empties and deletes the bucket. */
    protected: boolean;
    /** Where the copies are. */
    region: string;
    /** Name of the bucket that is copied; its versions must be kept (`versionedBucket` of `Weights`). */
    weightsBucket: pulumi.Input<string>;
    /** ARN of the same bucket, for the role by which S3 copies. */
    weightsBucketArn: pulumi.Input<string>;
    /** What encrypts the originals. */
    weightsKeyArn: pulumi.Input<string>;
}

/** Each new version of the weights and each backup of the database (with its log, to a point in time) is copied, encrypted by keys of the other region. Nothing is copied back by itself. */
export class Copies extends pulumi.ComponentResource {
    /** Name of the bucket in the other region. */
    declare readonly weightsBucket: pulumi.Output<string>;

    constructor(name: string, args: CopiesArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Copies", name, { ...args, weightsBucket: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface CostAnomaliesArgs {
    /** Anomalies with a smaller total impact, in US dollars, are not announced. */
    leastUsd: number;
    /** The stack's name, as the tag `stack` of its resources has it. */
    stack: string;
    /** SNS topic, by ARN, on which it speaks (`topicArn` of `Events`). */
    topicArn: pulumi.Input<string>;
}

/** Watches the stack's cost for what is unusual and says so on the topic within a day. */
export class CostAnomalies extends pulumi.ComponentResource {
    /** ARN of the monitor, which looks at cost that carries the stack's tag. */
    declare readonly monitorArn: pulumi.Output<string>;

    constructor(name: string, args: CostAnomaliesArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:CostAnomalies", name, { ...args, monitorArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface DataKeysArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** Keys can then not be deleted: with a key goes what it encrypts. */
    protected: boolean;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
}

/** One KMS key with yearly rotation and a policy of its own for each class of data. */
export class DataKeys extends pulumi.ComponentResource {
    /** Key ARN for the trail of calls to AWS. */
    declare readonly audit: pulumi.Output<string>;
    /** Key ARN for the cache. */
    declare readonly cache: pulumi.Output<string>;
    /** Key ARN for Kubernetes secrets (envelope encryption). */
    declare readonly cluster: pulumi.Output<string>;
    /** Key ARN for secrets: API keys, the database's password. */
    declare readonly credentials: pulumi.Output<string>;
    /** Key ARN for the database and its backups. */
    declare readonly database: pulumi.Output<string>;
    /** Key ARN for container images. */
    declare readonly images: pulumi.Output<string>;
    /** Key ARN for log groups. */
    declare readonly logs: pulumi.Output<string>;
    /** Key ARN for topics. */
    declare readonly messages: pulumi.Output<string>;
    /** Key ARN for the nodes' volumes. */
    declare readonly volumes: pulumi.Output<string>;
    /** Key ARN for model weights. */
    declare readonly weights: pulumi.Output<string>;

    constructor(name: string, args: DataKeysArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:DataKeys", name, { ...args, audit: undefined, cache: undefined, cluster: undefined, credentials: undefined, database: undefined, images: undefined, logs: undefined, messages: undefined, volumes: undefined, weights: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface DatabaseArgs {
    /** Takes a new major version at once: in the maintenance window its old parameter group could not be deleted. */
    allowMajorUpgrade?: boolean;
    /** How many days back it can be restored, to a point in time: 0 to 35; with 0 there are no backups. */
    backupDays: number;
    /** The same, known only where something else allows it. */
    checkedVersion?: pulumi.Input<string>;
    /** KMS key of the secret in which AWS keeps the owner's password. */
    credentialsKeyArn: pulumi.Input<string>;
    /** PostgreSQL version; a major alone takes its newest minor. */
    engineVersion: string;
    /** The instance's name, and the first part of its log groups' and of its last snapshot's. A new one is a new, empty database. */
    identifier: string;
    /** RDS instance class, such as db.m7g.large; a standby has the same. */
    instanceClass: string;
    /** KMS key that encrypts storage, backups, snapshots and Performance Insights. */
    keyArn: pulumi.Input<string>;
    /** How long its logs are kept, in days: a number that CloudWatch takes, such as 30 or 365. */
    logRetentionDays: number;
    /** KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`). */
    logsKeyArn: pulumi.Input<string>;
    /** Storage grows by itself up to this, in GiB. */
    maxStorageGib: number;
    /** A standby in a second zone, to which it fails over by itself. */
    multiZone: boolean;
    /** Refuses to delete the instance, keeps its backups and a last snapshot, and leaves changes to the maintenance window. */
    protected: boolean;
    /** Security group of the instance; it must let gateways in at port 5432. */
    securityGroupId: pulumi.Input<string>;
    /** First storage, in GiB of gp3, 20 or more: it can grow and never shrink. */
    storageGib: number;
    /** Intra subnets, without a way out, of two zones or more. */
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
}

/** PostgreSQL: encrypted, TLS only, its password made, kept and rotated by AWS. */
export class Database extends pulumi.ComponentResource {
    /** host:port. */
    declare readonly address: pulumi.Output<string>;
    /** ARN of the instance, for `Copies` and `FaultInjection`. */
    declare readonly arn: pulumi.Output<string>;
    /** The instance's name, known once it is there: metrics and alarms name it. */
    declare readonly identifier: pulumi.Output<string>;
    /** The Secrets Manager secret that holds user name and password. */
    declare readonly secretArn: pulumi.Output<string>;

    constructor(name: string, args: DatabaseArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Database", name, { ...args, address: undefined, arn: undefined, identifier: undefined, secretArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface DevicePluginArgs {
    /** Image of NVIDIA's device plugin, with tag or digest; the daemon set is that of version 0.20. */
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
    /** Per cent for `blue` and `green`, 100 together: either may answer, if it has gateways. */
    adminWeights?: Record<string, number>;
    /** With a certificate the listener speaks HTTPS, without one HTTP. */
    certificateArn?: pulumi.Input<string>;
    /** How long open streams to a leaving gateway are kept. */
    deregistrationDelaySeconds: number;
    /** How often each gateway is asked for `/readyz`, 5 to 300; the second answer alike changes its health. */
    healthPeriodSeconds: number;
    /** The Route 53 zone in which `hostname` is to point to the load balancer; without one somebody else does that. */
    hostedZoneId?: string;
    /** The name that clients use; without one the load balancer's own. */
    hostname?: string;
    /** Above the longest silent gap inside a stream. */
    idleTimeoutSeconds: number;
    /** TCP port of the listener: commonly 443 with a certificate, 80 without. */
    port: number;
    /** AWS refuses to delete the load balancer. */
    protected: boolean;
    /** Security group of the load balancer: who reaches it, and that it reaches gateways at port 8080. */
    securityGroupId: pulumi.Input<string>;
    /** One public subnet for each zone. */
    subnetIds: pulumi.Input<pulumi.Input<string>[]>;
    /** Id of the VPC, as `Network` gives it out. */
    vpcId: pulumi.Input<string>;
}

/** An application load balancer whose listener refuses what no rule takes. */
export class Edge extends pulumi.ComponentResource {
    /** Target group, by ARN, of the gateways of the colour blue. */
    declare readonly blueTargetGroupArn: pulumi.Output<string>;
    /** Target group, by ARN, of the gateways of the colour green. */
    declare readonly greenTargetGroupArn: pulumi.Output<string>;
    /** The load balancer's listener, by ARN, on which rules are set. */
    declare readonly listenerArn: pulumi.Output<string>;
    /** ARN of the load balancer, for a `Firewall`. */
    declare readonly loadBalancerArn: pulumi.Output<string>;
    /** The load balancer's name in CloudWatch metrics: the end of its ARN, `app/<name>/<id>`. */
    declare readonly loadBalancerDimension: pulumi.Output<string>;
    /** Where clients connect, without a path. */
    declare readonly url: pulumi.Output<string>;

    constructor(name: string, args: EdgeArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Edge", name, { ...args, blueTargetGroupArn: undefined, greenTargetGroupArn: undefined, listenerArn: undefined, loadBalancerArn: undefined, loadBalancerDimension: undefined, url: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface EventsArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** KMS key of topic and queues; those who publish must be allowed to use it (`messages` of `DataKeys`). */
    keyArn: pulumi.Input<string>;
}

/** A topic for alarms and cost, and a queue that holds its messages until a gateway has read them. */
export class Events extends pulumi.ComponentResource {
    /** Messages that no gateway could read. */
    declare readonly deadQueueName: pulumi.Output<string>;
    /** ARN of the queue, for the role of whoever reads it. */
    declare readonly queueArn: pulumi.Output<string>;
    /** The queue's name in CloudWatch metrics. */
    declare readonly queueName: pulumi.Output<string>;
    /** Raw messages of the topic. */
    declare readonly queueUrl: pulumi.Output<string>;
    /** ARN of the topic, known once alarms, budgets and anomaly monitors may publish to it. */
    declare readonly topicArn: pulumi.Output<string>;

    constructor(name: string, args: EventsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Events", name, { ...args, deadQueueName: undefined, queueArn: undefined, queueName: undefined, queueUrl: undefined, topicArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface FaultInjectionArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** ARN of the replication group; left out where it has no replica: then no drill takes its power. */
    cacheArn?: pulumi.Input<string>;
    /** ARN of the RDS instance; left out where it has no standby: then there is nothing to fail over to. */
    databaseArn?: pulumi.Input<string>;
    /** The load balancer's name in CloudWatch metrics: the end of its ARN, `app/<name>/<id>`. */
    loadBalancerDimension: pulumi.Input<string>;
    /** How long a zone or a cache's node stays without power, and how long an experiment may take at all. */
    longestSeconds: number;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** The stack's name, as the tag `stack` of its resources has it. */
    stack: string;
    /** So many errors of gateways in a minute end every experiment. */
    stopErrors: number;
    /** KMS key of the nodes' volumes: a drill needs it to start again the nodes that it stopped. */
    volumesKeyArn: pulumi.Input<string>;
    /** Full names, such as eu-central-1a: each has a template of its own. */
    zones: string[];
}

/** One template for each drill that AWS can do: zone-loss, spot-reclaim, database-failover, cache-primary. */
export class FaultInjection extends pulumi.ComponentResource {
    /** Ids of the experiment templates; the tag `penstock-drill` of each tells which drill it is. */
    declare readonly templateIds: pulumi.Output<string[]>;

    constructor(name: string, args: FaultInjectionArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:FaultInjection", name, { ...args, templateIds: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface FilesArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** Files go after so many days, also those that the workers forgot. */
    keepDays: number;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** Refuses to delete bucket and key; without it a destroy empties and deletes the bucket. */
    protected: boolean;
}

/** The bucket of clients' files and answers, and its key. */
export class Files extends pulumi.ComponentResource {
    /** ARN of the bucket, for the roles of those who keep files in it. */
    declare readonly arn: pulumi.Output<string>;
    /** The bucket's name. */
    declare readonly bucket: pulumi.Output<string>;
    /** ARN of the KMS key that encrypts the files: whoever reads or writes them needs its use too. */
    declare readonly keyArn: pulumi.Output<string>;

    constructor(name: string, args: FilesArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Files", name, { ...args, arn: undefined, bucket: undefined, keyArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface FirewallArgs {
    /** ARN of the application load balancer that it protects (`loadBalancerArn` of `Edge`). */
    loadBalancerArn: pulumi.Input<string>;
    /** The log group is `aws-waf-logs-` and this: AWS WAF writes to groups of that prefix alone. */
    logName: string;
    /** How long its logs are kept, in days: a number that CloudWatch takes, such as 30 or 365. */
    logRetentionDays: number;
    /** KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`). */
    logsKeyArn: pulumi.Input<string>;
    /** AWS counts each address by itself and takes 10 or more. */
    requestsPerFiveMinutesPerIp: number;
}

/** A regional web ACL on the load balancer. What it refuses is logged, without credentials. */
export class Firewall extends pulumi.ComponentResource {
    /** Name of the log group of refused requests. */
    declare readonly logGroupName: pulumi.Output<string>;
    /** ARN of the web ACL, which is bound to the load balancer. */
    declare readonly webAclArn: pulumi.Output<string>;

    constructor(name: string, args: FirewallArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Firewall", name, { ...args, logGroupName: undefined, webAclArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface GroundArgs {
    /** Name of the Kubernetes namespace that is made; another name replaces it with all that is in it. */
    namespace: string;
}

/** A namespace with restricted pod security, service accounts, and the gateway's right to watch pods. */
export class Ground extends pulumi.ComponentResource {
    /** The same name, known once the namespace is there. */
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
    /** The Kubernetes namespace of gateways and engines, as `Ground` gives it out. */
    namespace: pulumi.Input<string>;
    /** KEDA reads the gateways' demand. */
    scaled?: boolean;
    /** The VPC's range: gateways reach cache and database in it, engines only what is outside. */
    vpcCidr: string;
}

/** Network policies that deny all but what gateways and engines need, and priorities of pods. */
export class Isolation extends pulumi.ComponentResource {
    /** Name of the PriorityClass of work that can wait: it never takes a place from another pod. */
    declare readonly batchPriority: pulumi.Output<string>;
    /** Name of the PriorityClass of what a user waits for. */
    declare readonly interactivePriority: pulumi.Output<string>;

    constructor(name: string, args: IsolationArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Isolation", name, { ...args, batchPriority: undefined, interactivePriority: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface JobWorkersArgs {
    /** The Kubernetes namespace of gateways and engines, as `Ground` gives it out. */
    namespace: pulumi.Input<string>;
    /** What the workers run, how large they are and how many. */
    workers: WorkersShape;
}

/** The workers, with an identity of their own, what they may reach, and how many may go at once. */
export class JobWorkers extends pulumi.ComponentResource {

    constructor(name: string, args: JobWorkersArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:JobWorkers", name, { ...args }, { version: "0.1.0", ...options }, true);
    }
}

export interface KarpenterArgs {
    /** The AWS account, 12 digits, in which all of it is made: policies and ARNs name it. */
    accountId: string;
    /** Pinned, such as bottlerocket@v1.50.0: a newer image comes by a reviewed diff. */
    amiAlias: string;
    /** The cluster's physical name, which stands in tags and conditions. */
    cluster: string;
    /** The EKS cluster's name as `Cluster` gives it out, so that this waits for the cluster. */
    clusterName: pulumi.Input<string>;
    /** Image of Karpenter's controller, with tag or digest; rights and types are those of version 1.14. */
    image: pulumi.Input<string>;
    /** The network has no way out: prices come from the table inside the controller. */
    isolated: boolean;
    /** KMS key of the queue; EventBridge must be allowed to use it (`messages` of `DataKeys`). */
    messagesKeyArn: pulumi.Input<string>;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** Which nodes it may start, how many, and when they go. */
    pools: PoolShape;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** Pods of the controller: one leads, the others wait. */
    replicas: number;
    /** Security groups of the nodes: the cluster's own, and the one for nodes. */
    securityGroupIds: pulumi.Input<string>[];
    /** Private subnets in which nodes start, of the zones that the pools name. */
    subnetIds: pulumi.Input<string>[];
    /** Volume of each node for images and pods, in GiB of gp3, 20 or more. */
    volumeGib: number;
    /** KMS key that encrypts the nodes' volumes (`volumes` of `DataKeys`). */
    volumesKeyArn: pulumi.Input<string>;
}

/** The controller, and a node class with two pools: spot of higher weight, on demand behind it. Once, or for each colour. */
export class Karpenter extends pulumi.ComponentResource {
    /** ARN of the nodes' role, which joins the cluster and pulls images, and reads no data. */
    declare readonly nodeRoleArn: pulumi.Output<string>;
    /** Name of the SQS queue of interruptions, as CloudWatch metrics have it. */
    declare readonly queueName: pulumi.Output<string>;

    constructor(name: string, args: KarpenterArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Karpenter", name, { ...args, nodeRoleArn: undefined, queueName: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface KedaArgs {
    /** Image of KEDA's metrics adapter, with tag or digest, of the operator's version. */
    adapterImage: pulumi.Input<string>;
    /** The cluster's name, as the operator's events tell it. */
    cluster: string;
    /** Of gateways and engines: the only one that it watches and scales in. */
    namespace: pulumi.Input<string>;
    /** Image of KEDA's operator, with tag or digest; rights and types are those of version 2.20. */
    operatorImage: pulumi.Input<string>;
    /** Pods of the operator, of which one leads, and as many of the adapter. */
    replicas: number;
    /** The VPC's range: the API server asks the adapter from an address in it. */
    vpcCidr: string;
}

/** The operator, the adapter, and the API through which Kubernetes' autoscaler asks for their numbers. */
export class Keda extends pulumi.ComponentResource {

    constructor(name: string, args: KedaArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Keda", name, { ...args }, { version: "0.1.0", ...options }, true);
    }
}

export interface LoadBalancerControllerArgs {
    /** The cluster's physical name, which the controller is told. */
    cluster: string;
    /** The EKS cluster's name as `Cluster` gives it out, so that this waits for the cluster. */
    clusterName: pulumi.Input<string>;
    /** Image of the AWS Load Balancer Controller, with tag or digest; its flags are those of version 3.5. */
    image: pulumi.Input<string>;
    /** Of the gateways: the only one that it watches. */
    namespace: pulumi.Input<string>;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** Pods of the controller: one leads, the others wait. */
    replicas: number;
    /** All that it may register pods with. */
    targetGroupArns: pulumi.Input<string>[];
    /** Id of the VPC, as `Network` gives it out. */
    vpcId: pulumi.Input<string>;
    /** PEM of the certificate of a server that nobody calls. Taken when the secret is made, and kept. */
    webhookCertificate: pulumi.Input<string>;
    /** PEM of its private key. Secret. */
    webhookKey: pulumi.Input<string>;
}

/** The controller, with the rights of target registration alone. */
export class LoadBalancerController extends pulumi.ComponentResource {
    /** ARN of the controller's role, which may change the targets of these groups and nothing else. */
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
    /** What a month may cost, in US dollars: the percentages are of this. */
    monthlyUsd: number;
    /** Count only what carries this tag with the value below, such as `penstock-part`; it must be active as a cost allocation tag. */
    tagKey?: string;
    /** The tag's value, such as `prod-gpu`; without key and value the whole account counts. */
    tagValue?: string;
    /** SNS topic, by ARN, on which it speaks (`topicArn` of `Events`). */
    topicArn: pulumi.Input<string>;
}

/** A monthly cost budget that speaks on the topic at each percentage, of what is spent and of what is expected. */
export class MonthlyBudget extends pulumi.ComponentResource {
    /** Name of the budget in AWS Budgets. */
    declare readonly budgetName: pulumi.Output<string>;

    constructor(name: string, args: MonthlyBudgetArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:MonthlyBudget", name, { ...args, budgetName: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface NetworkArgs {
    /** The VPC's range, /16 to /20. A change replaces the VPC. */
    cidr: string;
    /** How long flow logs are kept, in days: a number that CloudWatch takes, such as 30 or 365. */
    flowLogDays: number;
    /** Name of the log group for the VPC's flow logs. */
    flowLogGroup: string;
    /** AWS services that are reached without NAT, such as `ecr.api`. */
    interfaceEndpoints: string[];
    /** KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`). */
    logsKeyArn: pulumi.Input<string>;
    /** `perZone`: one in each zone; `one`: one in the first; `none`: no way out, only endpoints. */
    natGateways: string;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** Zone letters. A zone added at the end moves no range. */
    zones: string[];
}

/** A VPC with public, private and intra subnets, one of each in each zone. */
export class Network extends pulumi.ComponentResource {
    /** Databases and caches; no way out; in the order of the zones. */
    declare readonly intraSubnetIds: pulumi.Output<string[]>;
    /** Nodes and pods; out through NAT; in the order of the zones. */
    declare readonly privateSubnetIds: pulumi.Output<string[]>;
    /** Load balancers and NAT; in the order of the zones. */
    declare readonly publicSubnetIds: pulumi.Output<string[]>;
    /** Id of the VPC, for security groups, target groups and controllers. */
    declare readonly vpcId: pulumi.Output<string>;
    /** Id of each zone, such as euc1-az2, by its letter: letters differ between accounts, ids do not. */
    declare readonly zoneIds: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: NetworkArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Network", name, { ...args, intraSubnetIds: undefined, privateSubnetIds: undefined, publicSubnetIds: undefined, vpcId: undefined, zoneIds: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface NodeGroupsArgs {
    /** Version of each add-on, such as v1.22.4-eksbuild.3. */
    addonVersions: AddonVersionsShape;
    /** The EKS cluster's name as `Cluster` gives it out, so that this waits for the cluster. */
    clusterName: pulumi.Input<string>;
    /** On demand, over all zones: the floor under the engines. With 0 as its most nodes there is none. */
    gpu: NodeGroupShape;
    /** Spot; the numbers count for one zone. With 0 as their most nodes there are none. */
    gpuSpot: NodeGroupShape;
    /** The AWS partition, the second part of every ARN: aws or aws-us-gov. */
    partition: string;
    /** A group in each reservation, with image and volume of `gpu`. */
    reserved?: ReservedShape[];
    /** The cluster's own group, and the one for nodes. */
    securityGroupIds: pulumi.Input<string>[];
    /** One private subnet for each zone. */
    subnetIds: pulumi.Input<string>[];
    /** On demand, over all zones: gateways and cluster services. */
    system: NodeGroupShape;
    /** KMS key that encrypts the nodes' volumes (`volumes` of `DataKeys`). */
    volumesKeyArn: pulumi.Input<string>;
    /** Zone letters, in the order of the subnets. */
    zones: string[];
}

/** The groups `system`, `gpu`, `gpu-spot-<zone>` for each zone and `reserved-<name>` for each reservation, with the cluster's add-ons. */
export class NodeGroups extends pulumi.ComponentResource {
    /** Physical names, sorted by role. */
    declare readonly nodeGroupNames: pulumi.Output<string[]>;

    constructor(name: string, args: NodeGroupsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:NodeGroups", name, { ...args, nodeGroupNames: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface RegistryArgs {
    /** Names of the images, such as `gateway`: each has a repository of its own. */
    images: string[];
    /** KMS key that encrypts the images; another key means new, empty repositories. */
    keyArn: pulumi.Input<string>;
    /** Repositories are named `<prefix>/<image>`. */
    prefix: string;
    /** AWS refuses to delete a repository that holds images; without it a destroy takes them too. */
    protected: boolean;
}

/** ECR repositories: tags that never move, a scan of each push, old images expired. */
export class Registry extends pulumi.ComponentResource {
    /** Repository URL of each image. */
    declare readonly urls: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: RegistryArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Registry", name, { ...args, urls: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface ReleaseArgs {
    /** Name of the Kubernetes Secret whose keys become environment variables of the gateway. */
    addressesSecret: pulumi.Input<string>;
    /** `blue` or `green`: names and labels of what is made have it. */
    colour: string;
    /** How long the pods have to leave. */
    drain: DrainShape;
    /** Image of the engines, with tag or digest, where an engine names none of its own. */
    engineImage: pulumi.Input<string>;
    /** The models that the release serves itself; empty where all of them are outside providers'. */
    engines: EngineShape[];
    /** The gateway's settings as JSON. A change makes a new ConfigMap and a rolling restart. */
    gatewayConfig: string;
    /** CPU that each gateway pod asks for, in thousandths of a core. */
    gatewayCpuMillicores: number;
    /** Files beside them, by name. */
    gatewayFiles?: Record<string, string>;
    /** Image of the gateways and of the migration, with tag or digest. */
    gatewayImage: pulumi.Input<string>;
    /** Memory of each gateway pod in MiB: what it asks for, and its limit. */
    gatewayMemoryMib: number;
    /** Pods of the gateway; 0 takes the colour down, and no migration runs for it. */
    gatewayReplicas: number;
    /** Name of the Kubernetes Secret with keys.json. */
    keysSecret: pulumi.Input<string>;
    /** What makes the gateways' tables and their login, before they start. */
    migration: MigrationShape;
    /** The Kubernetes namespace of gateways and engines, as `Ground` gives it out. */
    namespace: pulumi.Input<string>;
    /** How often the pods are asked whether they are ready and alive. */
    probes: ProbesShape;
    /** Disk in each gateway pod for usage that waits for the database. */
    spoolMib: number;
    /** Target group of this colour, by ARN, to which the gateways' pods are bound. */
    targetGroupArn: pulumi.Input<string>;
    /** A gateway is ready once the load balancer sees it healthy. Needs a controller that opens readiness gates. */
    waitsForLoadBalancer?: boolean;
    /** How many zones the pods are spread over. */
    zones: number;
}

/** Gateways and engines that were tested together and take traffic together. */
export class Release extends pulumi.ComponentResource {
    /** Name of the gateways' ConfigMap. */
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
    /** Id of the VPC, as `Network` gives it out. */
    vpcId: pulumi.Input<string>;
}

/** One group for each role: clients reach the edge, the edge reaches gateways, pods reach cache and database. */
export class SecurityGroups extends pulumi.ComponentResource {
    /** The cache: nodes and their pods reach it at port 6379. */
    declare readonly cacheId: pulumi.Output<string>;
    /** The database: nodes and their pods reach it at port 5432. */
    declare readonly databaseId: pulumi.Output<string>;
    /** The load balancer. */
    declare readonly edgeId: pulumi.Output<string>;
    /** Nodes and their pods, beside the cluster's own group. */
    declare readonly nodesId: pulumi.Output<string>;

    constructor(name: string, args: SecurityGroupsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:SecurityGroups", name, { ...args, cacheId: undefined, databaseId: undefined, edgeId: undefined, nodesId: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface ServiceRoleArgs {
    /** What the role is for, as IAM shows it. */
    description: string;
    /** Full ARNs, such as `arn:aws:iam::aws:policy/AmazonEKSClusterPolicy`, whose last parts differ. */
    managedPolicies: string[];
    /** Inline policy, as JSON. */
    policy?: pulumi.Input<string>;
    /** Service principals that may take the role, such as `pods.eks.amazonaws.com`. */
    services: string[];
}

/** A role, its attachments and at most one inline policy. */
export class ServiceRole extends pulumi.ComponentResource {
    /** ARN of the role, known once its policies are attached. */
    declare readonly arn: pulumi.Output<string>;

    constructor(name: string, args: ServiceRoleArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:ServiceRole", name, { ...args, arn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface TelemetryArgs {
    /** Version of the EKS add-on amazon-cloudwatch-observability, such as v4.7.0-eksbuild.1. */
    addonVersion: string;
    /** The cluster's physical name, which stands in the names of log groups. */
    cluster: string;
    /** The EKS cluster's name as `Cluster` gives it out, so that this waits for the cluster. */
    clusterName: pulumi.Input<string>;
    /** ARNs of the same groups, by the same kinds: the add-on may write to them. */
    logGroupArns: Record<string, pulumi.Input<string>>;
    /** Log group of each kind of pod of that namespace, `gateway` and `engine`. */
    logGroups: Record<string, pulumi.Input<string>>;
    /** Of all other logs of the cluster. */
    logRetentionDays: number;
    /** KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`). */
    logsKeyArn: pulumi.Input<string>;
    /** Of gateways and engines. */
    namespace: string;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
}

/** The add-on on every node, its rights, and the log groups that it may write to. */
export class Telemetry extends pulumi.ComponentResource {
    /** ARN of the role of the CloudWatch agent and of the log shipper. */
    declare readonly roleArn: pulumi.Output<string>;

    constructor(name: string, args: TelemetryArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Telemetry", name, { ...args, roleArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface TrafficArgs {
    /** Target group, by ARN, of the gateways of the colour blue. */
    blueTargetGroupArn: pulumi.Input<string>;
    /** Target group, by ARN, of the gateways of the colour green. */
    greenTargetGroupArn: pulumi.Input<string>;
    /** The load balancer's listener, by ARN, on which rules are set. */
    listenerArn: pulumi.Input<string>;
    /** Who sends it in the header `x-penstock-probe` names the colour in `x-penstock-colour`. Secret, of letters, digits, `-` and `_`. Without it nobody can choose a colour. */
    probeToken?: pulumi.Input<string>;
    /** The rule, and with it the pods that it leads to, resist a destroy. Its weights may change all the same. */
    protected: boolean;
    /** Per cent of new requests for `blue` and `green`: both of them, 100 together. */
    weights: Record<string, number>;
}

/** The weighted rule: the only place where traffic is divided, and one integer in a preview. */
export class Traffic extends pulumi.ComponentResource {
    /** ARN of the weighted rule, for requests under `/v1/`. */
    declare readonly ruleArn: pulumi.Output<string>;

    constructor(name: string, args: TrafficArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Traffic", name, { ...args, ruleArn: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface WatchArgs {
    /** Ids of the cache's nodes. */
    cacheMembers: pulumi.Input<string>[];
    /** Name of the CloudWatch dashboard; an account has each name once. */
    dashboardName: string;
    /** Name of the RDS instance, for its alarms and panels (`identifier` of `Database`). */
    databaseIdentifier: pulumi.Input<string>;
    /** The database's first storage, in GiB: an alarm tells when a tenth of it or less is free. */
    databaseStorageGib: number;
    /** Queue of messages that no gateway could read (`deadQueueName` of `Events`): the first one rings. */
    deadQueueName: pulumi.Input<string>;
    /** With the collector: alarms and panels on what gateways and engines count. */
    engines?: EngineLimitsShape;
    /** An alarm tells when one answer in a hundred begins later. */
    firstByteSeconds: number;
    /** False: none of its nodes has a GPU. */
    gpus?: boolean;
    /** With Container Insights: the cluster's name, for alarms and panels on its nodes. */
    insightsOf?: string;
    /** The load balancer's name in CloudWatch metrics: the end of its ARN, `app/<name>/<id>`. */
    loadBalancerDimension: pulumi.Input<string>;
    /** Names of the log groups begin with it: `/penstock/prod` and the kind `gateway` make `/penstock/prod/gateway`. */
    logGroupPrefix: string;
    /** Days that a log group keeps its lines, by kind of workload, such as `gateway`: each kind has a group. */
    logRetentionDays: Record<string, number>;
    /** KMS key of its log groups; CloudWatch Logs must be allowed to use it (`logs` of `DataKeys`). */
    logsKeyArn: pulumi.Input<string>;
    /** The AWS region, such as eu-central-1, in which the provider makes it. */
    region: string;
    /** The page that alarms name; each adds its anchor. */
    runbooksUrl: string;
    /** Each colour's target group as CloudWatch calls it: the end of its ARN, `targetgroup/<name>/<id>`. */
    targetGroupDimensions: Record<string, pulumi.Input<string>>;
    /** SNS topic, by ARN, on which it speaks (`topicArn` of `Events`). */
    topicArn: pulumi.Input<string>;
}

/** Log groups, alarms on what users feel and on what will soon hurt them, and a dashboard of the same. */
export class Watch extends pulumi.ComponentResource {
    /** The same name, known once the dashboard is there. */
    declare readonly dashboardName: pulumi.Output<string>;
    /** ARN of each log group, by kind of workload, for the roles of those who write to it. */
    declare readonly logGroupArns: pulumi.Output<Record<string, string>>;
    /** Name of each log group, by kind of workload. */
    declare readonly logGroupNames: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: WatchArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Watch", name, { ...args, dashboardName: undefined, logGroupArns: undefined, logGroupNames: undefined }, { version: "0.1.0", ...options }, true);
    }
}

export interface WeightsArgs {
    /** A bucket that takes S3's access logs under `weights/`, as that of `AccessLogs`; without one none are written. */
    accessLogsBucket?: pulumi.Input<string>;
    /** KMS key that encrypts the weights: whoever reads them needs its use too. */
    keyArn: pulumi.Input<string>;
    /** What is overwritten or deleted can be brought back so long. */
    oldVersionDays: number;
    /** Refuses to delete the bucket; without it a destroy empties and deletes it. */
    protected: boolean;
}

/** An S3 bucket for model weights: versioned, encrypted by its key, private, TLS only. */
export class Weights extends pulumi.ComponentResource {
    /** ARN of the bucket, for the roles of those who read or add weights. */
    declare readonly arn: pulumi.Output<string>;
    /** The bucket's name. */
    declare readonly bucket: pulumi.Output<string>;
    /** The same, known once versions are kept: for `Copies`, which S3 refuses before. */
    declare readonly versionedBucket: pulumi.Output<string>;

    constructor(name: string, args: WeightsArgs, options: pulumi.ComponentResourceOptions = {}) {
        super("penstock:index:Weights", name, { ...args, arn: undefined, bucket: undefined, versionedBucket: undefined }, { version: "0.1.0", ...options }, true);
    }
}
