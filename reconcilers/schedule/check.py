"""What the API server cannot know to be wrong in a schedule. Pure."""

from __future__ import annotations

from controller.objects import ObjectMeta
from reconcilers.api.backup import CassandraBackup
from reconcilers.api.common import LabelSelector
from reconcilers.api.schedule import NAME_LENGTH, CassandraBackupSchedule, ScheduleSpec
from reconcilers.api.unsupported import unsupported
from reconcilers.backup.selection import effective_selector, problem
from reconcilers.schedule import retention
from reconcilers.schedule.slots import ScheduleError, Slots

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
    annotations = template.metadata.annotations if template.metadata else {}
    for what, keys in (("labels", own), ("annotations", dict.fromkeys(annotations, ""))):  # of one syntax
        if wrong := problem(LabelSelector(match_labels=keys)):
            raise ScheduleError("InvalidTemplate", f"the template's {what} are not valid: {wrong}")
    if wrong := problem(template.spec.selector):
        raise ScheduleError("InvalidSelector", f"the template's selector is not valid: {wrong}")
    if not effective_selector(CassandraBackup(metadata=ObjectMeta(labels=own), spec=template.spec)):
        raise ScheduleError(
            "EmptySelector", "the template has neither labels nor a selector: nothing never means everything"
        )
