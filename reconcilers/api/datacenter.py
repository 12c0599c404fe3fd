"""CassandraDataCenter: the nodes of one datacenter."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from controller.resource import Resource
from reconcilers.api import common, kubernetes, rules
from reconcilers.api.common import NO_CREDENTIALS_RULE, TARGET_RULE, Api, BackupType, Endpoint, Kind, ObjectReference
from reconcilers.api.datacenter_status import DataCenterStatus
from reconcilers.api.describe import doc
from reconcilers.api.kubernetes import Object
from reconcilers.api.restore import RestoreOptions, RestoreSource
from reconcilers.api.volumes import BackupVolumes  # noqa: TC001  msgspec reads the annotation at run time
from reconcilers.labels import API_GROUP

DATACENTERS = Resource(API_GROUP, common.VERSION, "cassandradatacenters", "CassandraDataCenter")

PAUSE_ANNOTATION = f"{API_GROUP}/pause"
RESTART_ANNOTATION = f"{API_GROUP}/restart"
REPLACE_ANNOTATION = f"{API_GROUP}/replace-node"


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class UpdateType(StrEnum):
    ROLLING = "Rolling"
    ON_DELETE = "OnDelete"
    PAUSED = "Paused"


class VolumePolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


Labels = dict[str, Annotated[str, doc("The label's value.", maxLength=63)]]
Affinity = Annotated[Object, doc("Scheduling constraints of the pods, as in a pod's affinity.")]
Tolerations = Annotated[list[Object], doc("Taints the pods tolerate, as in a pod's tolerations.", maxItems=64)]


class Rack(Api, kw_only=True):
    name: Annotated[
        str,
        doc("Name of the rack, in Cassandra and in the names of its pods.", pattern=rules.RACK_PATTERN, maxLength=39),
    ]
    labels: Annotated[Labels, doc("Labels of the Kubernetes nodes the rack runs on.", maxProperties=16)] = {}
    affinity: Affinity = {}
    tolerations: Tolerations = []
    topology_key: Annotated[
        str,
        doc(
            "Label of the Kubernetes nodes whose value is the rack's name, such as topology.kubernetes.io/zone.",
            maxLength=317,
        ),
    ] = ""


class CassandraAuth(Api, kw_only=True):
    authenticator: Annotated[str, doc("Cassandra's authenticator, such as PasswordAuthenticator.", maxLength=255)] = ""
    authorizer: Annotated[str, doc("Cassandra's authorizer, such as CassandraAuthorizer.", maxLength=255)] = ""
    role_manager: Annotated[str, doc("Cassandra's role_manager. CassandraRoleManager by default.", maxLength=255)] = ""


class PodMetadata(Api, kw_only=True):
    labels: Annotated[Labels, doc("Labels of the pods, beside those the operator sets.", maxProperties=64)] = {}
    annotations: Annotated[
        dict[str, Annotated[str, doc("The annotation's value.")]], doc("Annotations of the pods.", maxProperties=64)
    ] = {}


class PodTemplate(Api, kw_only=True):
    metadata: Annotated[PodMetadata | None, doc("Labels and annotations of the pods.")] = None
    affinity: Affinity = {}
    tolerations: Tolerations = []
    topology_spread_constraints: Annotated[
        list[Object], doc("How the pods spread, as in a pod's topologySpreadConstraints.", maxItems=16)
    ] = []
    priority_class_name: Annotated[str, doc("Name of the pods' PriorityClass.", maxLength=253)] = ""
    security_context: Annotated[Object, doc("Security of the pods, as in a pod's securityContext.")] = {}


class UpdatePolicy(Api, kw_only=True):
    type: Annotated[
        UpdateType,
        doc(
            "Rolling, the default, replaces the pods one after the other. OnDelete waits until a pod is deleted. "
            "Paused changes no template."
        ),
    ] = UpdateType.ROLLING
    max_unavailable: Annotated[
        int, doc("How many pods of one rack may be down for an update. 1 by default.", minimum=1, maximum=1000)
    ] = 1
    partition_racks: Annotated[
        list[Annotated[str, doc("A rack.", maxLength=63)]],
        doc("Racks that are updated; the others wait until the list is taken away. All by default.", maxItems=16),
    ] = []


class ScaleDown(Api, kw_only=True):
    drain_timeout: Annotated[
        str,
        doc("How long a leaving node may take, such as 2h, the default.", pattern=r"^([0-9]+(s|m|h))+$", maxLength=32),
    ] = "2h"
    allow_below_rack_count: Annotated[
        bool, doc("Whether replicas may become smaller than the number of racks. False by default.")
    ] = False


class VolumeRetention(Api, kw_only=True):
    when_deleted: Annotated[
        VolumePolicy, doc("What becomes of the volumes when the datacenter is deleted: Retain, the default, or Delete.")
    ] = VolumePolicy.RETAIN
    when_scaled: Annotated[
        VolumePolicy, doc("What becomes of the volume of a node that left: Retain, the default, or Delete.")
    ] = VolumePolicy.RETAIN


class BackupDefaults(Api, kw_only=True):
    RULES: ClassVar = (TARGET_RULE,)
    backup_type: Annotated[BackupType | None, doc("Kind of the store.")] = None
    target: Annotated[common.Target | None, doc("Where backups are kept.")] = None
    endpoint: Annotated[Endpoint | None, doc("Where the store answers.")] = None
    bandwidth: common.Bandwidth = None
    concurrent_transfers: Annotated[
        int | None, doc("How many requests one node has under way at a time.", minimum=1, maximum=64)
    ] = None


class BackupCatalog(Api, kw_only=True):
    RULES: ClassVar = (TARGET_RULE, NO_CREDENTIALS_RULE)
    backup_type: Annotated[BackupType, doc("Kind of the store: AWS_S3, GCP_BLOB, AZURE_BLOB or FILE.")]
    target: common.Target
    endpoint: Annotated[Endpoint | None, doc("Where the store answers, if not at its provider's own address.")] = None
    credentials_secret_ref: common.CredentialsSecret = None
    interval_seconds: Annotated[
        int, doc("Seconds from one look to the next. 3600 by default.", minimum=60, maximum=31_536_000)
    ] = 3600
    prune: Annotated[
        bool,
        doc(
            "Whether an object that was made by this catalog goes when its backup is not in the target any more. False "
            "by default: it stays, and says that it cannot be restored."
        ),
    ] = False


class BackupSettings(Api, kw_only=True):
    defaults: Annotated[BackupDefaults | None, doc("Used where a CassandraBackup of this datacenter is silent.")] = None
    sweep_snapshots: Annotated[
        bool, doc("Whether the agents remove left-over snapshots of their own when they start. True by default.")
    ] = True
    volumes: BackupVolumes = []
    catalog: Annotated[
        BackupCatalog | None,
        doc(
            "A target whose backups all get a CassandraBackup, whoever made them: looked at with this datacenter's "
            "credentials. Nothing is written there."
        ),
    ] = None


class DataCenterRestore(RestoreOptions, kw_only=True):
    RULES: ClassVar = rules.ONE_SOURCE
    backup_name: Annotated[str, doc("Name of the CassandraBackup to restore.", maxLength=253)] = ""
    backup_ref: Annotated[
        ObjectReference | None, doc("The CassandraBackup to restore: backupName in another spelling.")
    ] = None
    source: Annotated[
        RestoreSource | None, doc("A backup in a store, by its place: for data whose CassandraBackup is gone.")
    ] = None

    @property
    def backup(self) -> str:
        """The name of the CassandraBackup, in either spelling."""
        return self.backup_ref.name if self.backup_ref else self.backup_name


class Monitoring(Api, kw_only=True):
    service_monitor: Annotated[bool, doc("Whether a ServiceMonitor is made. False by default.")] = False
    labels: Annotated[Labels, doc("Labels of the ServiceMonitor.", maxProperties=64)] = {}


class NetworkPolicy(Api, kw_only=True):
    enabled: Annotated[bool, doc("Whether only Cassandra's own ports are reachable. False by default.")] = False


class DataCenterSpec(Api, kw_only=True):
    RULES: ClassVar = rules.DATACENTER
    replicas: Annotated[
        int,
        doc(
            "How many nodes there are. 0 stops the datacenter and keeps its data. 1 by default.",
            minimum=0,
            maximum=1000,
            default=1,
        ),  # a default, since /scale cannot be read without a number
    ] = 1
    cassandra_image: Annotated[str, doc("Image of Cassandra.", minLength=1, maxLength=1024)]
    sidecar_image: Annotated[str, doc("Image of the agent beside it.", minLength=1, maxLength=1024)]
    image_pull_policy: Annotated[
        PullPolicy, doc("When the images are pulled: Always, IfNotPresent (the default) or Never.")
    ] = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: Annotated[
        list[ObjectReference], doc("Secrets for pulling the images.", list_map="name", maxItems=16)
    ] = []
    image_pull_secret: Annotated[
        str,
        doc("Name of one more Secret for pulling the images: an older spelling of imagePullSecrets.", maxLength=253),
    ] = ""
    resources: Annotated[
        Object, doc("What Cassandra's container needs and may use.", shape=kubernetes.ResourceRequirements)
    ] = {}
    sidecar_resources: Annotated[
        Object,
        doc(
            "What the agent's container needs and may use. 64Mi and at most 256Mi of memory by default.",
            shape=kubernetes.ResourceRequirements,
        ),
    ] = {}
    data_volume_claim: Annotated[
        Object,
        doc(
            "The volume of each node, as in a PersistentVolumeClaim's spec. Without it the data is lost with the "
            "pod, which is for tests only. It cannot be changed, but for a larger storage request.",
            shape=kubernetes.PersistentVolumeClaimSpec,
            rules=rules.CLAIM,
            **{"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = {}
    env: Annotated[
        list[Object],
        doc(
            "Environment of the agent and of the init container that restores, such as a store's credentials. "
            "Cassandra's own container does not get it.",
            shape=kubernetes.EnvVar,
            maxItems=256,
        ),
    ] = []
    cassandra_env: Annotated[
        list[Object], doc("Environment of Cassandra's container.", shape=kubernetes.EnvVar, maxItems=256)
    ] = []
    sidecar_env: Annotated[
        list[Object], doc("More environment of the agent, after env.", shape=kubernetes.EnvVar, maxItems=256)
    ] = []
    cluster_name: Annotated[
        str,
        doc(
            "Name of the Cassandra cluster. The name of this object by default. It cannot be changed.",
            pattern=common.NAME_PATTERN,
            maxLength=63,
        ),
    ] = ""
    datacenter_name: Annotated[
        str,
        doc(
            "Cassandra's name of the datacenter, which keyspaces are replicated by. The name of this object by "
            "default, or the backup's where one is restored. It cannot be changed.",
            pattern=common.NAME_PATTERN,
            maxLength=63,
        ),
    ] = ""
    racks: Annotated[
        list[Rack],
        doc(
            "The racks, over which the nodes are spread evenly. Racks can be added and not removed. One rack named "
            "rack1 by default.",
            list_map="name",
            maxItems=16,
        ),
    ] = []
    service_account_name: Annotated[
        str,
        doc(
            "Name of the pods' ServiceAccount, for example one that a cloud's identity is bound to. One of its own "
            "is made by default.",
            maxLength=253,
        ),
    ] = ""
    user_config_map_volume_source: Annotated[
        Object,
        doc(
            "ConfigMap with pieces of configuration, as in a pod's volume: cassandra.yaml.d/, jvm.options.d/, "
            "cassandra-env.sh.d/."
        ),
    ] = {}
    user_secret_volume_source: Annotated[
        Object, doc("Secret with files for Cassandra's container, as in a pod's volume.")
    ] = {}
    user_secret_source: Annotated[Object, doc("An older spelling of userSecretVolumeSource.")] = {}
    extra_secret_volumes: Annotated[
        list[Object], doc("More Secrets for Cassandra's container, each as in a pod's volume.", maxItems=16)
    ] = []
    cassandra_auth: Annotated[CassandraAuth | None, doc("Who may do what in Cassandra. Everybody by default.")] = None
    additional_seeds: Annotated[
        list[Annotated[str, doc("A host name or an address.", minLength=1, maxLength=253)]],
        doc("Seed nodes of other datacenters of the same cluster.", maxItems=64),
    ] = []
    pod_template: Annotated[PodTemplate | None, doc("More of the pods' template.")] = None
    update_policy: Annotated[UpdatePolicy | None, doc("How a change of the template reaches the pods.")] = None
    scale_down: Annotated[ScaleDown | None, doc("How nodes leave.")] = None
    pvc_retention_policy: Annotated[
        VolumeRetention | None, doc("What becomes of volumes. They are kept by default.")
    ] = None
    backup: Annotated[BackupSettings | None, doc("How this datacenter is backed up.")] = None
    restore: Annotated[
        DataCenterRestore | None,
        doc("The backup that a new datacenter starts from. It may be taken away once the restore completed."),
    ] = None
    restore_from_backup: Annotated[
        str, doc("Name of the CassandraBackup to start from: an older spelling of restore.backupName.", maxLength=253)
    ] = ""
    prometheus_support: Annotated[bool, doc("Whether Cassandra's metrics are exported. False by default.")] = False
    prometheus_enabled: Annotated[bool, doc("An older spelling of prometheusSupport.")] = False
    monitoring: Annotated[Monitoring | None, doc("Objects for Prometheus.")] = None
    network_policy: Annotated[NetworkPolicy | None, doc("Whether the network is closed round the pods.")] = None


class CassandraDataCenter(Kind, kw_only=True):
    RULES: ClassVar = rules.DATACENTER_KIND
    resource: ClassVar = DATACENTERS
    kind: str = DATACENTERS.kind
    spec: Annotated[DataCenterSpec, doc("What the datacenter shall be.")]
    status: Annotated[DataCenterStatus, doc("What the datacenter is. Written by the operator.")] = msgspec.field(
        default_factory=DataCenterStatus
    )
