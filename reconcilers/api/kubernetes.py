"""Kubernetes' own types, as far as the schema declares them. The operator passes their values on word for word.

These Structs are shapes for the generator (``doc(shape=...)``): a field of ours that uses one holds a plain dict, so
nothing a newer Kubernetes adds is lost on the way to a pod.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from reconcilers.api.describe import doc
from reconcilers.api.quantity import PATTERN

Object = dict[str, Any]


class Shape(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Base of the shapes."""


class KeyReference(Shape, kw_only=True):
    name: Annotated[str, doc("Name of the object, in the same namespace.", maxLength=253)]
    key: Annotated[str, doc("Key in the object's data.", maxLength=253)]
    optional: Annotated[bool, doc("Whether the object or its key may be absent. False by default.")] = False


class FieldReference(Shape, kw_only=True):
    field_path: Annotated[str, doc("Path of the pod's field, such as metadata.name.", maxLength=1024)]
    api_version: Annotated[str, doc("Version of the schema the path is written in. v1 by default.")] = ""


class ResourceFieldReference(Shape, kw_only=True):
    resource: Annotated[str, doc("The resource, such as limits.memory.", maxLength=253)]
    container_name: Annotated[str, doc("Name of the container whose resource is meant.", maxLength=63)] = ""
    divisor: Annotated[int | str, doc("Unit the value is expressed in. 1 by default.", pattern=PATTERN)] = ""


class EnvVarSource(Shape, kw_only=True):
    """Open: a source that a newer Kubernetes adds passes."""

    secret_key_ref: Annotated[Object, doc("The value of a Secret's key.", shape=KeyReference)] = {}
    config_map_key_ref: Annotated[Object, doc("The value of a ConfigMap's key.", shape=KeyReference)] = {}
    field_ref: Annotated[Object, doc("The value of a field of the pod.", shape=FieldReference)] = {}
    resource_field_ref: Annotated[
        Object, doc("The value of a container's resource.", shape=ResourceFieldReference)
    ] = {}


class EnvVar(Shape, kw_only=True):
    name: Annotated[str, doc("Name of the environment variable.", minLength=1, maxLength=1024)]
    value: Annotated[str, doc("Its value. $(VAR) is replaced by the value of an earlier variable.")] = ""
    value_from: Annotated[
        Object,
        doc(
            "Where the value comes from, instead of value.",
            shape=EnvVarSource,
            **{"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = {}


class ResourceClaim(Shape, kw_only=True):
    name: Annotated[str, doc("Name of an entry of the pod's resourceClaims.", maxLength=253)]
    request: Annotated[str, doc("Name of a request in that claim. All of them by default.", maxLength=253)] = ""


Quantities = Annotated[
    dict[str, Annotated[int | str, doc("An amount, such as 512Mi or 500m.", pattern=PATTERN, maxLength=64)]],
    doc("Amounts by the name of the resource."),
]


class ResourceRequirements(Shape, kw_only=True):
    limits: Annotated[
        Quantities, doc("The most the container may use, by resource: cpu, memory.", maxProperties=32)
    ] = {}
    requests: Annotated[
        Quantities, doc("What the container is sure to get, by resource. The limits by default.", maxProperties=32)
    ] = {}
    claims: Annotated[
        list[ResourceClaim], doc("Claims of the pod that this container uses.", list_map="name", maxItems=32)
    ] = []


class VolumeResources(Shape, kw_only=True):
    requests: Annotated[
        Quantities, doc("What the volume must offer. Only storage has a meaning.", maxProperties=8)
    ] = {}
    limits: Annotated[Quantities, doc("The most the volume may offer.", maxProperties=8)] = {}


class PersistentVolumeClaimSpec(Shape, kw_only=True):
    """Open: fields that are not declared pass."""

    access_modes: Annotated[
        list[Annotated[str, doc("An access mode.", maxLength=32)]],
        doc("How the volume may be mounted. ReadWriteOnce is what Cassandra needs.", maxItems=8),
    ] = []
    resources: Annotated[Object, doc("The size of the volume.", shape=VolumeResources)] = {}
    storage_class_name: Annotated[
        str, doc("Name of the StorageClass. The cluster's default if absent.", maxLength=253)
    ] = ""
    volume_mode: Annotated[str, doc("Filesystem, the default, is what Cassandra needs.", maxLength=32)] = ""
    volume_name: Annotated[str, doc("Name of an existing volume to bind.", maxLength=253)] = ""


class SelectorRequirement(Shape, kw_only=True):
    key: Annotated[str, doc("Label key the requirement is about.", maxLength=317)]
    operator: Annotated[str, doc("In, NotIn, Exists or DoesNotExist.", enum=["In", "NotIn", "Exists", "DoesNotExist"])]
    values: Annotated[
        list[Annotated[str, doc("A label value.", maxLength=63)]],
        doc("Values for In and NotIn. Empty for Exists and DoesNotExist.", maxItems=64),
    ] = []


class Condition(Shape, kw_only=True):
    """As in k8s.io/apimachinery's metav1.Condition."""

    type: Annotated[str, doc("Name of the condition, CamelCase.", maxLength=316)]
    status: Annotated[str, doc("True, False or Unknown.", enum=["True", "False", "Unknown"])]
    last_transition_time: Annotated[str, doc("When status last changed.", format="date-time")]
    reason: Annotated[str, doc("Stable CamelCase word for programs.", maxLength=1024)]
    message: Annotated[str, doc("What happened and what to do, for people.", maxLength=32768)]
    observed_generation: Annotated[int, doc("The metadata.generation that the condition was set from.", minimum=0)] = 0
