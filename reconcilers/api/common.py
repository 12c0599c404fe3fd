"""What the four kinds share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

import msgspec

from controller.objects import ObjectMeta  # noqa: TC001  msgspec reads the annotation at run time
from controller.resource import Resource  # noqa: TC001  likewise
from reconcilers.api.describe import Rule, doc, unchanged
from reconcilers.api.kubernetes import SelectorRequirement  # noqa: TC001  likewise
from reconcilers.api.quantity import POSITIVE
from reconcilers.labels import API_GROUP

VERSION = "v1"
API_VERSION = f"{API_GROUP}/{VERSION}"
CATEGORY = "cassandra"

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"  # also a label's value, and one part of a path
TAG_PATTERN = r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"  # as in agent/catalog/keys.py: no ".", no ".."
TAG_LENGTH = 128


class Api(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Base of what stands in a spec or a status: unknown fields are ignored, what equals its default is not written."""


class Kind(msgspec.Struct, rename="camel", kw_only=True):
    """Base of the four kinds."""

    resource: ClassVar[Resource]
    api_version: str = API_VERSION
    kind: str
    metadata: ObjectMeta
    spec: Api

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From JSON. Raises msgspec.ValidationError where a type is wrong, which the schema excludes."""
        return msgspec.json.decode(data, type=cls)


class BackupType(StrEnum):
    """Names the driver. As the user's document spells them."""

    AWS_S3 = "AWS_S3"
    GCP_BLOB = "GCP_BLOB"
    AZURE_BLOB = "AZURE_BLOB"
    FILE = "FILE"


class ObjectReference(Api, kw_only=True):
    name: Annotated[str, doc("Name of the object, in the same namespace.", minLength=1, maxLength=253)]


class KeySelector(Api, kw_only=True):
    name: Annotated[str, doc("Name of the Secret, in the same namespace.", minLength=1, maxLength=253)]
    key: Annotated[
        str,
        doc("Key in the Secret's data. ca.crt by default.", pattern="^[A-Za-z0-9._-]+$", minLength=1, maxLength=253),
    ] = "ca.crt"


class LabelSelector(Api, kw_only=True):
    match_labels: Annotated[
        dict[str, Annotated[str, doc("The label's value.", maxLength=63)]],
        doc("Labels a pod must carry, all of them.", maxProperties=64),
    ] = {}
    match_expressions: Annotated[
        list[SelectorRequirement], doc("Requirements a pod must meet, all of them.", maxItems=64)
    ] = []


class Endpoint(Api, kw_only=True):
    RULES: ClassVar = (
        Rule(
            "!has(self.caBundleSecretRef) || !has(self.insecureSkipVerify) || !self.insecureSkipVerify",
            "caBundleSecretRef says whom to trust, and insecureSkipVerify to trust anybody: give one of them",
        ),
    )
    url: Annotated[
        str | None,
        doc(
            "Address of an S3-compatible store or an emulator, such as https://minio.example:9000. "
            "The provider's own address by default.",
            maxLength=1024,
        ),
    ] = None
    region: Annotated[
        str | None,
        doc("Region of the bucket. The agent's AWS_REGION, or what its chain finds, by default.", maxLength=64),
    ] = None
    path_style: Annotated[
        bool | None,
        doc("Whether the bucket stands in the path and not in the host name. By default true where url is set."),
    ] = None
    ca_bundle_secret_ref: Annotated[
        KeySelector | None,
        doc(
            "Secret with the certificates, in PEM, of the authorities that the endpoint's is signed by. The datacenter "
            "mounts it by its spec.backup.volumes. Only these are trusted then, by the endpoint's requests alone; they "
            "are read anew by each operation. By default those of the agents' image and env."
        ),
    ] = None
    insecure_skip_verify: Annotated[
        bool, doc("Whether any certificate of the endpoint is accepted. False by default; for tests.")
    ] = False
    requester_pays: Annotated[
        bool, doc("Whether the requests are charged to their sender and not to the bucket's owner. False by default.")
    ] = False


SCHEMES = {  # as in backends/registry.py
    BackupType.AWS_S3: ("s3",),
    BackupType.GCP_BLOB: ("gs", "gcs", "gcp"),
    BackupType.AZURE_BLOB: ("azure", "https"),
    BackupType.FILE: ("file",),
}


def _scheme_agrees() -> str:
    """CEL: a target that has a scheme has one of its backupType's."""
    kinds = " || ".join(
        f"(self.backupType == '{kind}' && (" + " || ".join(f"self.target.startsWith('{s}://')" for s in schemes) + "))"
        for kind, schemes in SCHEMES.items()
    )
    return f"!has(self.target) || !has(self.backupType) || !self.target.contains('://') || {kinds}"


TARGET_RULE = Rule(
    _scheme_agrees(),
    "the scheme of target does not agree with backupType: s3:// is AWS_S3, gs:// is GCP_BLOB, azure:// is AZURE_BLOB, "
    "file:// is FILE",
)

NO_CREDENTIALS_RULE = Rule(
    "!has(self.backupType) || self.backupType != 'FILE' || !has(self.credentialsSecretRef)",
    "a directory has no credentials: leave out credentialsSecretRef with FILE",
)
CredentialsSecret = Annotated[
    ObjectReference | None,
    doc(
        "Secret with the store's credentials, which the datacenter mounts by its spec.backup.volumes; read by the "
        "agents alone. By default the agents find them as the provider's own tools do: in the datacenter's env, or "
        "through its service account."
    ),
]

Target = Annotated[
    str,
    doc(
        "Where the backup is kept: a bucket (or container, or directory for FILE), a bucket and a prefix as in "
        "bucket/prefix, or a URI such as s3://bucket/prefix. Nothing is added to the prefix.",
        minLength=1,
        maxLength=1024,
    ),
]
Bandwidth = Annotated[
    int | str | None,
    doc(
        "Most bytes a second that one node sends or fetches, as a quantity such as 50Mi. Unlimited by default.",
        pattern=POSITIVE,
        maxLength=64,
        minimum=1,
    ),
]
ConcurrentTransfers = Annotated[
    int,
    doc(
        "Most requests that one node has under way at a time. 0, the default, finds out what the store takes: it "
        "begins with 8, at most 32.",
        minimum=0,
        maximum=64,
    ),
]
ActiveDeadline = Annotated[
    int, doc("Seconds after which a run that has not ended fails. 86400 (a day) by default.", minimum=1)
]
ProgressDeadline = Annotated[
    int, doc("Seconds without any progress after which a node counts as failed. 900 by default.", minimum=1)
]
Retries = Annotated[
    int,
    doc("How often a failed node is tried again, with growing pauses. 3 by default.", minimum=0, maximum=10),
]
Names = list[Annotated[str, doc("A name.", minLength=1, maxLength=255)]]
Time = Annotated[str, doc("A time, RFC 3339, UTC.", format="date-time")]
ObservedGeneration = Annotated[
    int, doc("The metadata.generation that this status was made from: a smaller one is not acted on yet.", minimum=0)
]
Phase = Annotated[str, doc("What is being done now, in one word.")]


def immutable(spec: type[Api], mutable: tuple[str, ...]) -> tuple[Rule, ...]:
    """One rule for each field of ``spec``, so that the message names it, and ``cancel`` that cannot go back.

    They go on the kind's ``spec``, not on the Struct: a schedule's template holds the same Struct and may change.
    """
    fields = [field.encode_name for field in msgspec.structs.fields(spec) if field.encode_name not in mutable]
    return (
        *(unchanged(field, f"{field} cannot be changed: create another object") for field in fields),
        Rule(
            "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
            "cancel cannot be taken back",
        ),
    )
