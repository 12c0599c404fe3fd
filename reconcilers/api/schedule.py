"""CassandraBackupSchedule: backups by the clock, and how long they are kept."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from controller.conditions import Condition  # noqa: TC001  msgspec reads the annotation at run time
from controller.resource import Resource
from reconcilers.api import common, kubernetes
from reconcilers.api.backup import BackupSpec  # noqa: TC001  likewise
from reconcilers.api.common import Api, Kind, ObjectReference
from reconcilers.api.describe import Rule, doc
from reconcilers.labels import API_GROUP

NAME_LENGTH = 50  # with "-" and a slot's twelve digits, a backup's name fits into a label
_FIELD = "[0-9A-Za-z*,/#-]+"
_NICKNAME = "@(hourly|daily|midnight|weekly|monthly|yearly|annually)"
_EXPRESSION = rf"^\\s*({_NICKNAME}|{_FIELD}(\\s+{_FIELD}){{4}})\\s*$"

SCHEDULES = Resource(API_GROUP, common.VERSION, "cassandrabackupschedules", "CassandraBackupSchedule")


class ConcurrencyPolicy(StrEnum):
    FORBID = "Forbid"
    QUEUE = "Queue"
    REPLACE = "Replace"


class OwnerReferencePolicy(StrEnum):
    NONE = "None"
    SCHEDULE = "Schedule"


class TemplateMetadata(Api, kw_only=True):
    labels: Annotated[
        dict[str, Annotated[str, doc("The label's value.", maxLength=63)]],
        doc("Labels of each backup, which are its selector where its spec has none.", maxProperties=64),
    ] = {}
    annotations: Annotated[
        dict[str, Annotated[str, doc("The annotation's value.")]],
        doc("Annotations of each backup.", maxProperties=64),
    ] = {}


class BackupTemplate(Api, kw_only=True):
    RULES: ClassVar = (
        Rule(
            "!has(self.spec.snapshotTag) || self.spec.snapshotTag == ''",
            "snapshotTag cannot be in a template: each backup has its own name in the store, that of its object",
        ),
        Rule("!has(self.spec.cancel) || !self.spec.cancel", "cancel cannot be in a template: it would stop every run"),
        Rule(
            "!has(self.spec.importExisting) || !self.spec.importExisting",
            "importExisting cannot be in a template: create one CassandraBackup for what the store has",
        ),
        Rule(
            "!has(self.spec.ttlSecondsAfterFinished)",
            "ttlSecondsAfterFinished cannot be in a template, it would delete the last good backup, too: use retention",
        ),
    )
    metadata: Annotated[TemplateMetadata | None, doc("Labels and annotations of each backup.")] = None
    spec: Annotated[BackupSpec, doc("What to back up, and to where: the spec of a CassandraBackup.")]


class Retention(Api, kw_only=True):
    RULES: ClassVar = (
        Rule(
            "!has(self.keepWithin) || self.keepWithin.matches('^[1-9][0-9]*[hdwmy]$')",
            "keepWithin is a number and one of h, d, w, m, y, such as 30d",
        ),
    )
    keep_last: Annotated[int | None, doc("How many of the newest backups are kept.", minimum=0)] = None
    keep_within: Annotated[
        str, doc("How long a backup is kept: a number and one of h, d, w, m, y, such as 30d.", maxLength=16)
    ] = ""
    keep_daily: Annotated[int | None, doc("For how many days the last backup of the day is kept.", minimum=0)] = None
    keep_weekly: Annotated[int | None, doc("For how many weeks the last backup of the week is kept.", minimum=0)] = None
    keep_monthly: Annotated[int | None, doc("For how many months the last backup of the month is kept.", minimum=0)] = (
        None
    )
    min_keep: Annotated[
        int, doc("How many of the newest good backups are kept whatever else is said. 1 by default.", minimum=1)
    ] = 1


class ScheduleSpec(Api, kw_only=True):
    RULES: ClassVar = (
        Rule(
            f"self.schedule.matches('{_EXPRESSION}')",
            "schedule is five fields (minute, hour, day of month, month, day of week) or one of @hourly, @daily, "
            "@weekly, @monthly, @yearly",
        ),
    )
    schedule: Annotated[
        str,
        doc(
            "When: a cron expression of five fields, or @hourly, @daily, @weekly, @monthly, @yearly.",
            minLength=1,
            maxLength=256,
        ),
    ]
    time_zone: Annotated[
        str,
        doc(
            "Zone the schedule is read in, such as Europe/Vienna. UTC by default.",
            pattern="^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
            maxLength=64,
        ),
    ] = "UTC"
    suspend: Annotated[bool, doc("Whether no backup is started, and none removed. False by default.")] = False
    immediate: Annotated[
        bool, doc("Whether a first backup is started at once, without jitter, if there was none. False by default.")
    ] = False
    starting_deadline_seconds: Annotated[
        int,
        doc(
            "Seconds after its time at which a missed backup is no longer started. Of several only the newest is. "
            "3600 by default.",
            minimum=1,
        ),
    ] = 3600
    concurrency_policy: Annotated[
        ConcurrencyPolicy,
        doc(
            "What happens while an earlier backup runs: Forbid, the default, skips the new one, Queue lets it wait, "
            "Replace cancels the earlier one."
        ),
    ] = ConcurrencyPolicy.FORBID
    jitter_seconds: Annotated[
        int,
        doc(
            "Most seconds by which the start is shifted, always by the same for one schedule. 0 by default.",
            minimum=0,
            maximum=3600,
        ),
    ] = 0
    backup_template: Annotated[BackupTemplate, doc("The backups that are made.")]
    retention: Annotated[
        Retention | None,
        doc(
            "Which backups are kept; the others are deleted, with their data. All are kept by default. Only completed "
            "ones count, and the last good one is never removed."
        ),
    ] = None
    successful_history_limit: Annotated[
        int,
        doc(
            "How many completed CassandraBackup objects are kept where no retention is set. Their data stays in the "
            "store. 10 by default.",
            minimum=0,
        ),
    ] = 10
    failed_history_limit: Annotated[
        int,
        doc("How many CassandraBackup objects that failed, or are partial, are kept. 3 by default.", minimum=0),
    ] = 3
    owner_reference: Annotated[
        OwnerReferencePolicy,
        doc("None, the default, keeps the backups when the schedule is deleted. Schedule deletes them with it."),
    ] = OwnerReferencePolicy.NONE


class ScheduleStatus(Api, kw_only=True):
    observed_generation: common.ObservedGeneration = 0
    active: Annotated[list[ObjectReference], doc("Backups under way.", list_map="name")] = []
    last_schedule_time: Annotated[common.Time, doc("The last time for which a backup was made.")] = ""
    last_successful_time: Annotated[common.Time, doc("When the last good backup completed.")] = ""
    last_successful_backup: Annotated[str, doc("Name of the last good backup.")] = ""
    last_failed_time: Annotated[common.Time, doc("When a backup last failed.")] = ""
    next_schedule_time: Annotated[common.Time, doc("When the next backup is due, jitter included.")] = ""
    handled_until: Annotated[
        common.Time,
        doc("Up to here each time was dealt with: a backup was made for it, or it is among missedRuns."),
    ] = ""
    observed_schedule: Annotated[
        str, doc("The schedule and its zone that handledUntil is of. Times of another one are not made up for.")
    ] = ""
    missed_runs: Annotated[int, doc("How many times passed without a backup.")] = 0
    consecutive_failures: Annotated[int, doc("How many backups failed since the last good one.")] = msgspec.field(
        default_factory=int
    )
    retained: Annotated[int, doc("How many good backups are kept.")] = 0
    conditions: Annotated[
        list[Condition],
        doc(
            "Ready, ScheduleValid, Suspended, LastBackupSucceeded, RetentionHealthy.",
            shape=kubernetes.Condition,
            list_map="type",
        ),
    ] = []


class CassandraBackupSchedule(Kind, kw_only=True):
    RULES: ClassVar = (
        Rule(
            f"size(self.metadata.name) <= {NAME_LENGTH}",
            f"metadata.name has at most {NAME_LENGTH} characters: names of backups are made from it",
        ),
    )
    resource: ClassVar = SCHEDULES
    kind: str = SCHEDULES.kind
    spec: Annotated[ScheduleSpec, doc("When to back up what, and how long to keep it.")]
    status: Annotated[ScheduleStatus, doc("What the schedule did. Written by the operator.")] = msgspec.field(
        default_factory=ScheduleStatus
    )
