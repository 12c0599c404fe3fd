"""cassandra-medusa's backups, made into ours. Read from its source, 0.31.0 and 0.20.1, which lay out the same.

    [<prefix>/]<fqdn>/<backup>/meta/manifest.json          [{keyspace, columnfamily, objects: [{path, MD5, size}]}]
                                   /tokenmap.json          {fqdn: {tokens, rack, dc, is_up}}, of the whole datacenter
                                   /schema.cql  /server_version.json
                                   /differential           (``incremental`` in old ones) only then is data shared
              <fqdn>/data/<ks>/<table>-<id>[/.<index>]/<file>             of all differential backups
              <fqdn>/<backup>/data/<ks>/<table>-<id>[/.<index>]/<file>    of a full one
              index/backup_index/<backup>/manifest_<fqdn>.json …          copies of meta, to list by

``path`` begins with the prefix. ``MD5`` is the store's word: S3's ETag (hex, with ``-<parts>`` for an upload in parts),
GCS's and Azure's MD5 in base64, or nothing. A name may have been written over by a later backup, so size and MD5 are
compared with what is there now. Host ids, the cluster's name and Medusa's own version are not recorded.
"""
