"""The one package that knows the layout of the bucket: the names of objects, and what manifests say.

    <cluster>/<dc>/<node>/<host id>/data/<ks>/<table>-<id>[/.<index>]/<sstable>/<component>~<size>-<crc>-<epoch>
                                                                              /b~<size>-<hash>-<epoch>
                         /manifests/<tag>.json.zst     the node's commit point: written last, never overwritten
                         /pending/<tag>~<epoch>-<try>.json.zst     what a running backup means to reuse
              /<dc>/_owner.json                        who wrote here first
              /_backups/<tag>/<dc>.json                the cluster record: with it the backup exists
                             /<dc>.cql                 the tables' schema, for people
              /_gc/<dc>/<node>/<cycle>.jsonl.zst       what the collector may delete in its next cycle

A key carries size, checksum and epoch, so no object is ever overwritten: equal up to the epoch means equal bytes, and
another upload of them gets another key. A try that must not write a key again uses the epoch ``<epoch>x<try>``.
``crc`` is Cassandra's own Digest (CRC32) for ``Data.db``, CRC32C for the rest.

An encrypted object has ``e<key id>-<keyed hash>`` in place of ``crc`` or ``hash``, so it is never taken for one of
another key or for a plain one; ``size`` is that of what is in it. See docs/encrypt.md.

``b~…`` is a bundle: the components of one SSTable that have at most ``BUNDLED`` bytes each, one after the other in the
order of their names, with nothing before, between or after them. The manifest says where each begins. Where a few of
them changed, a delta holds those alone, and the manifest names members of it and of older bundles. ``hash`` is the
first 32 hex digits of the SHA-256 of ``<name> <size> <crc>`` and a newline for each member (crc as 8 hex digits). A
component of no bytes is in the manifest alone.

Everything read from a bucket is hostile until :func:`decode_manifest` has seen it: its names become paths on a disk.
"""

from agent.catalog.check import check_manifest, invalid
from agent.catalog.codec import (
    MAX_MANIFEST,
    MAX_OBJECT,
    decode_manifest,
    decode_pending,
    decode_record,
    decompress,
    digest,
    encode,
    find_sstables,
)
from agent.catalog.encoding import FRAME, OVERHEAD, PLAIN, Encoding, encoded_identity, encoded_size, encoding_in, frames
from agent.catalog.keys import (
    NodePath,
    TablePath,
    backups_prefix,
    bundle_identity,
    check_epoch,
    check_tag,
    data_prefix,
    derived_epoch,
    escape,
    file_name,
    identity,
    is_bundle,
    owns_epoch,
    record_key,
    schema_key,
    size_in,
    split_key,
    stored_size,
    table_prefix,
    unescape,
)
from agent.catalog.manifest import (
    BUNDLE,
    BUNDLED,
    DATA,
    FORMAT,
    MANIFEST_FORMAT,
    PLAIN_FORMAT,
    Component,
    Manifest,
    Owner,
    Pending,
    SSTable,
    StoredObject,
    Table,
    Totals,
)
from agent.catalog.packed import like
from agent.catalog.references import read_references

__all__ = [
    "BUNDLE",
    "BUNDLED",
    "DATA",
    "FORMAT",
    "FRAME",
    "MANIFEST_FORMAT",
    "MAX_MANIFEST",
    "MAX_OBJECT",
    "OVERHEAD",
    "PLAIN",
    "PLAIN_FORMAT",
    "Component",
    "Encoding",
    "Manifest",
    "NodePath",
    "Owner",
    "Pending",
    "SSTable",
    "StoredObject",
    "Table",
    "TablePath",
    "Totals",
    "backups_prefix",
    "bundle_identity",
    "check_epoch",
    "check_manifest",
    "check_tag",
    "data_prefix",
    "decode_manifest",
    "decode_pending",
    "decode_record",
    "decompress",
    "derived_epoch",
    "digest",
    "encode",
    "encoded_identity",
    "encoded_size",
    "encoding_in",
    "escape",
    "file_name",
    "find_sstables",
    "frames",
    "identity",
    "invalid",
    "is_bundle",
    "like",
    "owns_epoch",
    "read_references",
    "record_key",
    "schema_key",
    "size_in",
    "split_key",
    "stored_size",
    "table_prefix",
    "unescape",
]
