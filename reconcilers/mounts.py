"""Whether a datacenter's agents have mounted what reaches a store, and where. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from reconcilers.api import volumes
from reconcilers.api.common import BackupType

if TYPE_CHECKING:
    from reconcilers.api.common import Endpoint, KeySelector, ObjectReference
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.volumes import BackupVolume


class Given(Protocol):
    """What a backup, a catalog and a restore's source say of a store; and what a status keeps of it."""

    @property
    def backup_type(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def endpoint(self) -> Endpoint | None: ...
    @property
    def credentials_secret_ref(self) -> ObjectReference | None: ...


class Secrets(NamedTuple):
    """Those that reach a store: one with its credentials, by name, and one with its certificate's authorities."""

    credentials: str = ""
    ca_bundle: KeySelector | None = None

    @classmethod
    def of(cls, given: Given) -> Self:
        credentials, endpoint = given.credentials_secret_ref, given.endpoint
        return cls(credentials.name if credentials else "", endpoint.ca_bundle_secret_ref if endpoint else None)

    @property
    def names(self) -> list[str]:
        """Each once."""
        authorities = self.ca_bundle.name if self.ca_bundle is not None else ""
        return list(dict.fromkeys(filter(None, (self.credentials, authorities))))


NO_SECRETS = Secrets()


class Paths(NamedTuple):
    """Where an agent has them: a directory and a file; empty for none."""

    credentials: str = ""
    ca_bundle: str = ""


NOWHERE = Paths()


class Lacking(NamedTuple):
    reason: str
    message: str


def lacking(datacenter: CassandraDataCenter, given: Given) -> Lacking | None:
    """None where nothing is missing."""
    if given.backup_type == BackupType.FILE and not volumes.mounted(_volumes(datacenter), given.target):
        return Lacking(
            "TargetNotMounted",
            f"target {given.target} is on none of the volumes that the agents of datacenter {datacenter.metadata.name} "
            "have (its spec.backup.volumes): what is written there goes with the pod",
        )
    return lacking_secrets(datacenter, Secrets.of(given))


def lacking_secrets(datacenter: CassandraDataCenter, secrets: Secrets) -> Lacking | None:
    agents = f"the agents of datacenter {datacenter.metadata.name} have"
    for secret in secrets.names:
        if not _of_secret(datacenter, secret):
            return Lacking(
                "SecretNotMounted",
                f"{agents} not mounted Secret {secret}: add a volume with secret.secretName {secret} to its "
                "spec.backup.volumes",
            )
    bundle = secrets.ca_bundle
    if bundle is None or paths(datacenter, secrets).ca_bundle:
        return None
    return Lacking(
        "SecretNotMounted",
        f"{agents} mounted Secret {bundle.name} without its key {bundle.key}: add the key to that volume's items",
    )


def paths(datacenter: CassandraDataCenter, secrets: Secrets) -> Paths:
    directory = next((v.mount_path for v in _of_secret(datacenter, secrets.credentials)), "")
    bundle = secrets.ca_bundle
    if bundle is None:
        return Paths(directory)
    files = (_file(v, bundle.key) for v in _of_secret(datacenter, bundle.name))
    return Paths(directory, next(filter(None, files), ""))


def _of_secret(datacenter: CassandraDataCenter, name: str) -> list[BackupVolume]:
    return [v for v in _volumes(datacenter) if name and v.secret.get("secretName") == name]


def _file(volume: BackupVolume, key: str) -> str:
    """Empty where the volume has other keys only."""
    items = volume.secret.get("items")
    path = next((item["path"] for item in items if item["key"] == key), "") if items else key
    return f"{volume.mount_path}/{path}" if path else ""


def _volumes(datacenter: CassandraDataCenter) -> list[BackupVolume]:
    return datacenter.spec.backup.volumes if datacenter.spec.backup else []
