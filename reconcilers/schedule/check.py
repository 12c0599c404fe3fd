"""What the API server cannot know to be wrong in a schedule. Pure."""

from __future__ import annotations

import re

from controller.objects import ObjectMeta
from reconcilers.api.backup import CassandraBackup
from reconcilers.api.schedule import NAME_LENGTH, CassandraBackupSchedule, ScheduleSpec
from reconcilers.api.unsupported import unsupported
from reconcilers.backup.selection import effective_selector
from reconcilers.schedule import retention
from reconcilers.schedule.slots import ScheduleError, Slots

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# By the definition's rules, too; but an object may be older than these.
_NOT_IN_A_TEMPLATE = {
    "snapshot_tag": "snapshotTag",
    "cancel": "cancel",
    "import_existing": "importExisting",
    "ttl_seconds_after_finished": "ttlSecondsAfterFinished",
}


def checked(schedule: CassandraBackupSchedule) -> Slots:
    """The schedule's times, if all of it can be acted on; else ScheduleError says the first thing that cannot."""
    spec = schedule.spec
    slots = Slots(spec.schedule, spec.time_zone)
    if len(schedule.metadata.name) > NAME_LENGTH:
        raise ScheduleError("NameTooLong", f"metadata.name has at most {NAME_LENGTH} characters: give a shorter one")
    if refusals := unsupported(schedule):
        raise ScheduleError("FieldNotSupported", "; ".join(refusals))
    _template(spec)
    if spec.retention is not None and spec.retention.keep_within:
        try:
            retention.seconds(spec.retention.keep_within)
        except ValueError as e:
            raise ScheduleError("InvalidRetention", str(e)) from e
    return slots


def _template(spec: ScheduleSpec) -> None:
    template = spec.backup_template
    for field, name in _NOT_IN_A_TEMPLATE.items():
        if getattr(template.spec, field) not in (None, False, ""):
            raise ScheduleError("InvalidTemplate", f"{name} cannot be in a template: take it out")
    own = template.metadata.labels if template.metadata else {}
    for key, value in own.items():
        if not _is_key(key) or (value and not _NAME.fullmatch(value)):
            raise ScheduleError("InvalidTemplate", f"the template's label {key!r}: {value!r} is not a valid label")
    for key in template.metadata.annotations if template.metadata else {}:
        if not _is_key(key):
            raise ScheduleError("InvalidTemplate", f"the template's annotation {key!r} is not a valid name")
    if not effective_selector(CassandraBackup(metadata=ObjectMeta(labels=own), spec=template.spec)):
        raise ScheduleError(
            "EmptySelector", "the template has neither labels nor a selector: nothing never means everything"
        )


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or bool(_PREFIX.fullmatch(prefix)))
