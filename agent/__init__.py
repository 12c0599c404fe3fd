"""The agent beside every Cassandra node: takes snapshots, sends them to a bucket, brings them back. No Kubernetes.

    serve   server ─> operations (journal) ─> snapshot | backup | commit | clear | probe
            backup: sstables (scan) ─> plan (diff) ─> upload (flow, integrity) ─> records (manifest, last)
    init    configuration (cassandra.yaml, JVM) ; restore: records (manifest) ─> download ─> rename ─> marker, last

``protocol.py`` is what the operator may say, ``catalog`` what the bucket holds. The truth is on the data volume
(the journal) and in the bucket; the process holds nothing that a crash may not take.
"""
