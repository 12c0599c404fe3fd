"""Every label, annotation, finalizer and child name in one place."""

from __future__ import annotations

API_GROUP = "stable.instaclustr.com"
PREFIX = "cassandra-operator.instaclustr.com"

OPERATOR = "operator"
OPERATOR_VALUE = "instaclustr-cassandra-operator"
SEED_DATACENTER = "cassandra-datacenter"  # the user's document selects by this one
DATACENTER = f"{PREFIX}/datacenter"
CLUSTER = f"{PREFIX}/cluster"
RACK = f"{PREFIX}/rack"
DATACENTER_UID = f"{PREFIX}/datacenterUID"
INSPECTOR = f"{PREFIX}/inspector"  # on helper pods, which must never look like a node
SCHEDULE = f"{PREFIX}/schedule"  # on a backup: the schedule that made it
SCHEDULE_UID = f"{PREFIX}/schedule-uid"  # an annotation beside it: a schedule may be made anew under its name
SYNCED = f"{API_GROUP}/synced"  # on a backup that a datacenter's catalog made
GARBAGE = f"{PREFIX}/garbage"  # on what is remembered of a place in a bucket that has some

CASSANDRA_CONTAINER = "cassandra"
SIDECAR_CONTAINER = "sidecar"
INIT_CONTAINER = "init"
DEFAULT_RACK = "rack1"

BACKUP_FINALIZER = f"{API_GROUP}/backup"

# Labels that tools put on every object they manage, and a schedule on its backups: they say nothing about which pods a
# backup means. Helm sets the first; Argo CD tracks by the second, and Helm's charts have their release in it.
FOREIGN_LABELS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/instance", SCHEDULE)
FOREIGN_LABEL_PREFIXES = (
    "helm.sh/",
    "argocd.argoproj.io/",
    "helm.toolkit.fluxcd.io/",
    "kustomize.toolkit.fluxcd.io/",
    f"{API_GROUP}/",
)
JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")  # that Kubernetes puts on a Job's pods


def statefulset(datacenter: str, rack: str, *, default: bool) -> str:
    """``cassandra-<cdc>`` for the single default rack, so that its pods are named as the user's document names them."""
    return f"cassandra-{datacenter}" if default else f"cassandra-{datacenter}-{rack}"


def nodes_service(datacenter: str) -> str:
    return f"cassandra-{datacenter}-nodes"


def seeds_service(datacenter: str) -> str:
    return f"cassandra-{datacenter}-seeds"


def node_config(statefulset_name: str) -> str:
    return f"{statefulset_name}-config"


def restore_plan(datacenter: str) -> str:
    return f"{datacenter}-restore-plan"


def agent_secret(datacenter: str) -> str:
    return f"{datacenter}-agent"


def service_account(datacenter: str) -> str:
    return f"cassandra-{datacenter}"


def bootstrap_restore(datacenter: str) -> str:
    return f"{datacenter}-bootstrap"


def backup_lease(datacenter: str) -> str:
    return f"cback-{datacenter}"


def agent_hostname(datacenter_uid: str) -> str:
    """The name in an agent's certificate: it proves the datacenter, whatever address the pod has."""
    return f"{datacenter_uid}.agents.{PREFIX}"
