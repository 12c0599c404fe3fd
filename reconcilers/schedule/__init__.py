"""The CassandraBackupSchedule: a CassandraBackup at every time that it names, and the removal of old ones.

``slots`` knows time, ``retention`` and ``history`` what goes, ``check`` what cannot be acted on, ``children`` the
backups: all pure. ``status`` is what is said; ``start`` and ``prune`` write; ``reconciler`` is the order of it all.
"""
