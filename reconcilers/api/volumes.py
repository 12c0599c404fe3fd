"""Volumes that the agents get beside Cassandra's own: the directory of a FILE store, key files, CA bundles."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

import posixpath
from typing import Annotated, Any, ClassVar

from reconcilers.api.common import Api
from reconcilers.api.describe import Rule, doc
from reconcilers.api.kubernetes import Object, Shape

SOURCES = ("persistentVolumeClaim", "secret", "configMap", "nfs", "csi")
# Directories of the agent's containers that are in use: the pod's own mounts, and those of the image. Below /etc only
# some are, but a volume over all of it would hide them.
IN_USE = (
    "/var/lib/cassandra", "/etc/cassandra", "/etc/node", "/etc/restore-plan", "/etc/agent", "/tmp", "/app",  # noqa: S108
    "/bin", "/dev", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/sys", "/usr", "/var/run",
)  # fmt: skip
_IN_USE = f"[{', '.join(repr(path) for path in IN_USE)}]"
_OPEN: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}

ITEM_RULES = (
    Rule(
        f"[{', '.join(f'has(self.{name})' for name in SOURCES)}].filter(given, given).size() == 1",
        f"give a volume exactly one of {', '.join(SOURCES)}",
    ),
    Rule(
        r"self.mountPath.matches('^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$')",
        "mountPath is an absolute path such as /backups: letters, digits, '.', '_' and '-', without a '/' at its end",
    ),
    Rule(
        f"!{_IN_USE}.exists(own, self.mountPath == own || self.mountPath.startsWith(own + '/') || "
        "own.startsWith(self.mountPath + '/'))",
        "mountPath is, or holds, a directory that the agent's container uses itself: choose another, such as /backups",
    ),
)
LIST_RULES = (
    Rule(
        "self.all(one, self.filter(other, other.mountPath == one.mountPath).size() == 1)",
        "two volumes have the same mountPath: give each its own",
    ),
    # Seen with Kubernetes 1.34: the kubelet mounts one of two volumes of one claim, and waits for the other for ever.
    Rule(
        "self.all(one, !has(one.persistentVolumeClaim) || self.filter(other, has(other.persistentVolumeClaim) && "
        "other.persistentVolumeClaim.claimName == one.persistentVolumeClaim.claimName).size() == 1)",
        "two volumes have the same claim: a pod can mount it once",
    ),
)


class ClaimSource(Shape, kw_only=True):
    claim_name: Annotated[
        str, doc("Name of the claim, in the same namespace. All pods share it.", minLength=1, maxLength=253)
    ]
    read_only: Annotated[bool, doc("Whether the volume is attached read-only. False by default.")] = False


class KeyToPath(Shape, kw_only=True):
    key: Annotated[str, doc("Key in the Secret's data.", minLength=1, maxLength=253)]
    path: Annotated[str, doc("File that it becomes, below mountPath.", minLength=1, maxLength=1024)]
    mode: Annotated[int, doc("Mode of that file. The volume's defaultMode by default.")] = 0


class SecretSource(Shape, kw_only=True):
    """Open, as the next: defaultMode, optional."""

    secret_name: Annotated[str, doc("Name of the Secret, in the same namespace.", minLength=1, maxLength=253)]
    items: Annotated[
        list[KeyToPath],
        doc("Keys that become files, and under which names. All, under their own, by default.", maxItems=64),
    ] = []


class ConfigMapSource(Shape, kw_only=True):
    name: Annotated[str, doc("Name of the ConfigMap, in the same namespace.", minLength=1, maxLength=253)]


class NfsSource(Shape, kw_only=True):
    server: Annotated[str, doc("Host name or address of the NFS server.", minLength=1, maxLength=253)]
    path: Annotated[str, doc("Path that the server exports.", minLength=1, maxLength=1024)]
    read_only: Annotated[bool, doc("Whether it is mounted read-only. False by default.")] = False


class CsiSource(Shape, kw_only=True):
    """Open, too. An empty source would be an emptyDir to Kubernetes, so what each needs is asked for."""

    driver: Annotated[str, doc("Name of the CSI driver.", minLength=1, maxLength=253)]


class BackupVolume(Api, kw_only=True):
    RULES: ClassVar = ITEM_RULES
    name: Annotated[
        str,
        doc(
            "Name of the volume, unique in this list.",
            pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            minLength=1,
            maxLength=50,  # a pod's volume has 63, and ours stands behind a prefix
        ),
    ]
    mount_path: Annotated[
        str, doc("Where the agents see it: an absolute path such as /backups.", minLength=1, maxLength=255)
    ]
    read_only: Annotated[bool, doc("Whether the agents may only read it. False by default.")] = False
    persistent_volume_claim: Annotated[
        Object, doc("A claim that all pods share, ReadWriteMany where they are on several machines.", shape=ClaimSource)
    ] = {}
    secret: Annotated[
        Object, doc("Files of a Secret, such as a cloud's key file, as in a pod's volume.", shape=SecretSource, **_OPEN)
    ] = {}
    config_map: Annotated[
        Object, doc("Files of a ConfigMap, such as a CA bundle, as in a pod's volume.", shape=ConfigMapSource, **_OPEN)
    ] = {}
    nfs: Annotated[Object, doc("A directory of an NFS server, as in a pod's volume.", shape=NfsSource)] = {}
    csi: Annotated[
        Object,
        doc("A volume that a CSI driver makes with the pod, as in a pod's volume.", shape=CsiSource, **_OPEN),
    ] = {}

    @property
    def source(self) -> Object:
        """As it stands in a pod's volume."""
        given = {
            "persistentVolumeClaim": self.persistent_volume_claim,
            "secret": self.secret,
            "configMap": self.config_map,
            "nfs": self.nfs,
            "csi": self.csi,
        }
        return {name: source for name, source in given.items() if source}


def mounted(volumes: list[BackupVolume], target: str) -> bool:
    """Whether the target of a FILE backup is on one of the volumes. Anywhere else it would go with the pod."""
    path = posixpath.normpath(target.removeprefix("file://"))
    return any(path == volume.mount_path or path.startswith(f"{volume.mount_path}/") for volume in volumes)


BackupVolumes = Annotated[
    list[BackupVolume],
    doc(
        "Volumes of the agents and of the init container that restores, not of Cassandra: the directory of a FILE "
        "store, a cloud's key file, a CA bundle. A change reaches a pod when it is replaced.",
        list_map="name",
        maxItems=16,
        rules=LIST_RULES,
    ),
]
