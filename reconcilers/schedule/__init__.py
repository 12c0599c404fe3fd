"""The CassandraBackupSchedule: refused with a condition until schedules are built."""
