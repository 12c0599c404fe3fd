"""Cassandra's configuration: pure renderers, and one thin writer. Runs before every start of Cassandra.

``node.json`` (the operator's) + what the volume says + the memory limit → cassandra.yaml, cassandra-rackdc.properties,
the JVM's options. What is left out of cassandra.yaml has Cassandra's own default.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import yaml

from agent import files, jvm
from agent.errors import AgentError, Reason
from agent.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from agent.settings import Settings
    from agent.volume import Restored

HEADER = "# Rendered by the agent at every start of the pod; a change here is lost.\n"
STORAGE_PORT = 7000
SMALL_DISK = 1 << 30  # bytes; below, a commit log of 32 MiB segments would fill the volume
_YAML, _RACKDC = "cassandra.yaml", "cassandra-rackdc.properties"
_SERVER_OPTIONS = ("jvm-server.options", "jvm.options")  # 4.0 and later; 3.11
_JAVA_OPTIONS = ("jvm8-server.options", "jvm11-server.options", "jvm17-server.options", "jvm21-server.options")
_CARRIED = ("uuid_sstable_identifiers_enabled", "storage_compatibility_mode")
_OLD_MODE = "CASSANDRA_4"
_SEEDS = "org.apache.cassandra.locator.SimpleSeedProvider"

log = structlog.get_logger(__name__)


class NodeConfig(msgspec.Struct, rename="camel", kw_only=True):
    """``/etc/node/node.json``, one for all pods of a rack. ``seeds`` and ``peers`` are DNS names.

    ``established``: the datacenter was up once. Its first pod then never starts as an empty seed: with an empty volume
    and no peer that answers it waits and fails, because a ring of its own would be a second cluster.
    """

    cluster_name: str
    datacenter_name: str
    rack: str
    seeds: list[str]
    first_pod: str
    peers: list[str] = []
    num_tokens: int = 16
    authenticator: str = ""
    authorizer: str = ""
    role_manager: str = ""
    allocate_tokens_for_local_replication_factor: int | None = None
    established: bool = False


class Surroundings(msgspec.Struct, kw_only=True):
    """What only the pod can know. ``answering``: peers whose storage port accepts a connection."""

    pod: str
    pod_ip: str
    data_dirs: list[str]
    root: str  # of commit log, caches and hints
    empty: bool  # no Cassandra ever ran on this volume
    answering: list[str] = []
    disk: int = 0  # bytes of the volume
    old_names: bool = False  # the image is older than 4.1: sizes and times have their unit in the name
    thrift: bool = False  # the image is of 3.x: it does not start with a setting that came with 4.0


def decode_node(data: bytes) -> NodeConfig:
    try:
        node = msgspec.json.decode(data, type=NodeConfig)
    except msgspec.MsgspecError as error:
        raise AgentError(Reason.CONFIGURATION_INVALID, f"node.json cannot be used: {error}") from error
    if not (node.cluster_name and node.datacenter_name and node.rack and node.seeds and node.first_pod):
        message = "node.json needs clusterName, datacenterName, rack, seeds and firstPod"
        raise AgentError(Reason.CONFIGURATION_INVALID, message)
    return node


def names_pod(host: str, pod: str) -> bool:
    """Whether a DNS name of a headless service is that of the pod."""
    return host.partition(".")[0] == pod


def seeds(node: NodeConfig, around: Surroundings) -> list[str]:
    """A node that names itself a seed never streams data: only the first pod may, and not with a volume it lost.

    The first pod names itself by address: its own DNS record may not be there yet.
    """
    others = [host for host in node.seeds if not names_pod(host, around.pod)]
    if around.pod != node.first_pod:
        return others or [host for host in node.peers if not names_pod(host, around.pod)]
    if around.empty and around.answering:
        return [host for host in others if host in around.answering] or list(around.answering)
    if around.empty and node.established:
        message = (
            f"{around.pod} is the first pod, its volume is empty, and no other node of {node.datacenter_name} answers:"
            " it would start a second cluster; bring another node up first"
        )
        raise AgentError(Reason.CONFIGURATION_INVALID, message, retryable=True)
    return [around.pod_ip, *others]


def cassandra_yaml(
    node: NodeConfig, around: Surroundings, memory: jvm.Memory | None, restored: Restored | None
) -> dict[str, Any]:
    """The settings. ``restored`` counts only on a volume with data: an empty one must stream like any new node."""
    settings: dict[str, Any] = {
        "cluster_name": node.cluster_name,
        "num_tokens": node.num_tokens,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "data_file_directories": around.data_dirs,
        "commitlog_directory": f"{around.root}/commitlog",
        "saved_caches_directory": f"{around.root}/saved_caches",
        "hints_directory": f"{around.root}/hints",
        "commitlog_sync": "periodic",
        **_timed(around, "commitlog_sync_period", 10_000),
        "listen_address": around.pod_ip,
        "rpc_address": "0.0.0.0",  # noqa: S104  the pod's network is Kubernetes' to guard
        "broadcast_rpc_address": around.pod_ip,
        "storage_port": STORAGE_PORT,
        "native_transport_port": 9042,
        "endpoint_snitch": "GossipingPropertyFileSnitch",
        # In flow style: the official image's entrypoint replaces what follows "- seeds:" by the pod's own address.
        "seed_provider": [{"class_name": _SEEDS, "parameters": [{"seeds": ",".join(seeds(node, around))}]}],
    }
    for key in ("authenticator", "authorizer", "role_manager"):
        if value := getattr(node, key):
            settings[key] = value
    if memory and memory.file_cache is not None and memory.networking_cache is not None:
        settings |= _sized(around, "file_cache_size", memory.file_cache)
        if not around.thrift:
            settings |= _sized(around, "networking_cache_size", memory.networking_cache)
    if around.thrift:  # 3.x serves Thrift and not CQL where nothing is said
        settings |= {"start_native_transport": True, "start_rpc": False}
    if 0 < around.disk < SMALL_DISK:
        settings |= _sized(around, "commitlog_segment_size", 8)
        settings |= _sized(around, "commitlog_total_space", max(16, around.disk // 8 // jvm.MIB))
    if restored is not None and not around.empty:
        settings |= carried(restored)
    elif node.allocate_tokens_for_local_replication_factor and not around.thrift:
        settings["allocate_tokens_for_local_replication_factor"] = node.allocate_tokens_for_local_replication_factor
    return settings


def carried(restored: Restored) -> dict[str, Any]:
    """Settings of a restored node: where its data belongs.

    Cassandra reads the tokens at its first start and wants their number for ever. What the files need is set whatever
    the source's cassandra.yaml said: a node that finds files which it may not have does not start.
    """
    carried: dict[str, Any] = {
        key: restored.settings[key] for key in _CARRIED if restored.settings.get(key) is not None
    }
    if restored.uuid_ids:
        carried["uuid_sstable_identifiers_enabled"] = True
    if restored.newer_files and carried.get("storage_compatibility_mode", _OLD_MODE) == _OLD_MODE:
        carried["storage_compatibility_mode"] = "UPGRADING"  # the least that opens them
    tokens = ",".join(restored.tokens)
    return carried | {"initial_token": tokens, "num_tokens": len(restored.tokens), "auto_bootstrap": False}


def _sized(around: Surroundings, name: str, mib: int) -> dict[str, Any]:
    return {f"{name}_in_mb": mib} if around.old_names else {name: f"{mib}MiB"}


def _timed(around: Surroundings, name: str, milliseconds: int) -> dict[str, Any]:
    return {f"{name}_in_ms": milliseconds} if around.old_names else {name: f"{milliseconds}ms"}


def to_yaml(settings: Mapping[str, Any]) -> str:
    """One line a setting, values as JSON, which is YAML."""
    return HEADER + "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def rackdc(node: NodeConfig) -> str:
    return f"{HEADER}dc={node.datacenter_name}\nrack={node.rack}\nprefer_local=false\n"


def uses_old_names(image_yaml: str) -> bool:
    """4.1 moved units from names into values (CASSANDRA-15234)."""
    return "commitlog_sync_period_in_ms:" in image_yaml


def serves_thrift(image_yaml: str) -> bool:
    """4.0 removed it (CASSANDRA-11115)."""
    return "start_rpc:" in image_yaml


def jolokia_option(jar: Path) -> str:
    return f"-javaagent:{jar}=host=127.0.0.1,port=8778,discoveryEnabled=false"


def write(
    settings: Settings, node: NodeConfig, *, restored: Restored | None, empty: bool, answering: Collection[str]
) -> None:
    """Renders everything into ``settings.config_dir``. Blocks. Rendering again changes nothing but what changed."""
    directory = settings.config_dir
    image = _image_yaml(directory)
    around = Surroundings(
        pod=settings.pod, pod_ip=settings.pod_ip, data_dirs=[str(path) for path in settings.data_dirs],
        root=str(settings.data_dirs[0].parent), empty=empty, answering=sorted(answering),
        disk=files.free_bytes(settings.data_dirs[0])[1], old_names=uses_old_names(image), thrift=serves_thrift(image),
    )  # fmt: skip
    memory = jvm.memory(settings.memory_limit)
    text = to_yaml(cassandra_yaml(node, around, memory, restored))
    write_atomic(directory / _YAML, text.encode(), mode=0o644)
    write_atomic(directory / _RACKDC, rackdc(node).encode(), mode=0o644)
    files.remove(directory / "cassandra-topology.properties")  # 3.11's example would name racks for unknown peers
    extra = _install_jolokia(settings)
    main = next((name for name in _SERVER_OPTIONS if (directory / name).exists()), _SERVER_OPTIONS[0])
    for name in (*_SERVER_OPTIONS, *_JAVA_OPTIONS):
        path = directory / name
        if name == main:
            written = jvm.with_options(path.read_text() if path.exists() else "", memory, extra)
        elif path.exists():
            written = jvm.without_choices(path.read_text(), memory)
        else:
            continue
        write_atomic(path, written.encode(), mode=0o644)
    log.info("configuration rendered", directory=str(directory), heap_mib=memory.heap if memory else None)


def _image_yaml(directory: Path) -> str:
    """The image's own cassandra.yaml, kept aside at the first rendering."""
    path, kept = directory / _YAML, directory / f"{_YAML}.image"
    if path.exists() and not (text := path.read_text()).startswith(HEADER):
        write_atomic(kept, text.encode(), mode=0o644)
    return kept.read_text() if kept.exists() else ""


def _install_jolokia(settings: Settings) -> tuple[str, ...]:
    """Into the configuration volume, the one place that both containers see."""
    if not settings.jolokia_jar.exists():
        message = f"{settings.jolokia_jar} is not there: without it nothing can be asked of Cassandra"
        raise AgentError(Reason.CONFIGURATION_INVALID, message)
    target = settings.config_dir / "lib" / "jolokia.jar"
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    shutil.copyfile(settings.jolokia_jar, temporary)
    temporary.chmod(0o644)
    temporary.replace(target)
    return (jolokia_option(target),)


def carried_settings(config_dir: Path) -> dict[str, str | int | bool | None]:
    """For the manifest: what a restore of this node must set as well."""
    try:
        found = yaml.safe_load((config_dir / _YAML).read_text())
    except (OSError, yaml.YAMLError) as error:
        log.warning("cassandra.yaml cannot be read for the manifest", error=str(error))
        return {}
    keys: Sequence[str] = (*_CARRIED, "num_tokens", "data_file_directories")
    return {
        key: str(found[key]) if isinstance(found[key], list) else found[key] for key in keys if key in (found or {})
    }
