"""Makes a CassandraBackup for every backup that a target holds: ``spec.backup.catalog`` of a datacenter."""
