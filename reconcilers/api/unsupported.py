"""What the API promises and this release does not act on yet: said on the object, never ignored in silence. Pure."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from reconcilers.api import common, datacenter, restore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# By Struct and field: the values that are acted on beside the default. A field that is not here is acted on, whatever
# its value. Taking an entry away is part of building what it stands for.
_NOT_YET: Mapping[type[msgspec.Struct], Mapping[str, tuple[Any, ...]]] = {
    datacenter.DataCenterSpec: {
        "user_config_map_volume_source": (),
        "user_secret_volume_source": (),
        "user_secret_source": (),
        "extra_secret_volumes": (),
        "prometheus_support": (),
        "prometheus_enabled": (),
    },
    datacenter.UpdatePolicy: {"type": (), "max_unavailable": (), "partition_racks": ()},
    datacenter.ScaleDown: {"drain_timeout": (), "allow_below_rack_count": ()},
    datacenter.VolumeRetention: {"when_deleted": (), "when_scaled": ()},
    datacenter.BackupSettings: {"defaults": (), "sweep_snapshots": ()},
    datacenter.Monitoring: {"service_monitor": (), "labels": ()},
    datacenter.NetworkPolicy: {"enabled": ()},
    datacenter.DataCenterRestore: {
        "source_datacenter": (),
        "topology_policy": (),
        "mapping": (),
        "allow_partial": (),
        "verify": (),
        "active_deadline_seconds": (),
        "node_progress_deadline_seconds": (),
        "retries": (),
    },
    restore.RestoreSpec: {
        "mode": (),
        "topology_policy": (),
        "mapping": (),
        "keyspaces": (),
        "tables": (),
        "rename": (),
        "allow_partial": (),
        "verify": (),
        "retries": (),
        "confirm": (),
        "point_in_time": (),
    },
}
_ANNOTATIONS = (datacenter.PAUSE_ANNOTATION, datacenter.RESTART_ANNOTATION, datacenter.REPLACE_ANNOTATION)


def unsupported(given: common.Kind | common.Api) -> list[str]:
    """A sentence for each thing in an object (or in its spec alone) that this release does not act on; empty is good.

    A verb in an annotation of a datacenter is seen only where the whole object is given.
    """
    if isinstance(given, common.Kind):
        return [*_fields(given.spec, "spec"), *_verbs(given)]
    return list(_fields(given, "spec"))


def _verbs(given: common.Kind) -> Iterator[str]:
    if not isinstance(given, datacenter.CassandraDataCenter):
        return
    for name in _ANNOTATIONS:
        if given.metadata.annotations.get(name, "false") != "false":
            yield f"the annotation {name} is not acted on yet: remove it"


def _fields(given: msgspec.Struct, path: str) -> Iterator[str]:
    not_yet = _NOT_YET.get(type(given), {})
    for field in _described(type(given)):
        value, where = getattr(given, field.name), f"{path}.{field.encode_name}"
        if field.name in not_yet:
            default = _default(field)
            accepted = (*not_yet[field.name], *([] if default is msgspec.NODEFAULT else [default]))
            if value not in accepted:
                yield _sentence(where, value, accepted)
        elif isinstance(value, msgspec.Struct):
            yield from _fields(value, where)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, msgspec.Struct):
                    yield from _fields(item, f"{where}[{index}]")


@cache
def _described(kind: type[msgspec.Struct]) -> tuple[structs.FieldInfo, ...]:
    """Evaluates every annotation, which took longer than the rest of a reconcile."""
    return structs.fields(kind)


def _default(field: structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _sentence(where: str, value: Any, accepted: tuple[Any, ...]) -> str:
    names = [str(one) for one in accepted if isinstance(one, str | int) and one != "" and not isinstance(one, bool)]
    if not names:
        return f"{where} is not acted on yet: remove it"
    return f"{where} {value} is not acted on yet: use {' or '.join(names)}"
