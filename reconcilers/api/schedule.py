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
    schedule: Annotated[
        str,
        doc(
            "When: a cron expression of five fields, or @hourly, @daily, @weekly, @monthly.", minLength=1, maxLength=256
        ),
    ]
    time_zone: Annotated[
        str, doc("Zone the schedule is read in, such as Europe/Vienna. UTC by default.", maxLength=64)
    ] = "UTC"
    suspend: Annotated[bool, doc("Whether no backup is started. False by default.")] = False
    immediate: Annotated[bool, doc("Whether a first backup is started at once. False by default.")] = False
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
            "Which backups are kept. All by default. Only completed ones count, and the last good one is never removed."
        ),
    ] = None
    successful_history_limit: Annotated[
        int,
        doc(
            "How many completed CassandraBackup objects are kept; their data follows retention. 10 by default.",
            minimum=0,
        ),
    ] = 10
    failed_history_limit: Annotated[
        int, doc("How many failed CassandraBackup objects are kept. 3 by default.", minimum=0)
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
    next_schedule_time: Annotated[common.Time, doc("When the next backup is due.")] = ""
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
    resource: ClassVar = SCHEDULES
    kind: str = SCHEDULES.kind
    spec: Annotated[ScheduleSpec, doc("When to back up what, and how long to keep it.")]
    status: Annotated[ScheduleStatus, doc("What the schedule did. Written by the operator.")] = msgspec.field(
        default_factory=ScheduleStatus
    )
