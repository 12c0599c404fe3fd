"""What Cassandra is told: golden files, and the rules behind them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent import configuration, jvm
from agent.configuration import NodeConfig, Surroundings
from agent.errors import AgentError
from agent.settings import Settings
from agent.volume import Restored

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
SEED, OTHER = "c-0.c-nodes.ns.svc.cluster.local", "c-1.c-nodes.ns.svc.cluster.local"
NODE = NodeConfig(
    cluster_name="my cluster", datacenter_name="dc1", rack="r1", seeds=[SEED], first_pod="c-0", peers=[SEED, OTHER]
)
RESTORED = Restored(restore_id="r", tag="t", tokens=["-5", "7"], uuid_ids=True)


def around(**more: Any) -> Surroundings:
    values: dict[str, Any] = {
        "pod": "c-0", "pod_ip": "10.1.2.3", "data_dirs": ["/var/lib/cassandra/data"], "root": "/var/lib/cassandra",
        "empty": False,
    }  # fmt: skip
    return Surroundings(**(values | more))


def node(**more: Any) -> NodeConfig:
    return NodeConfig(**({field: getattr(NODE, field) for field in NODE.__struct_fields__} | more))


GOLDEN = """\
# Rendered by the agent at every start of the pod; a change here is lost.
cluster_name: "my cluster"
num_tokens: 16
partitioner: "org.apache.cassandra.dht.Murmur3Partitioner"
data_file_directories: ["/var/lib/cassandra/data"]
commitlog_directory: "/var/lib/cassandra/commitlog"
saved_caches_directory: "/var/lib/cassandra/saved_caches"
hints_directory: "/var/lib/cassandra/hints"
commitlog_sync: "periodic"
commitlog_sync_period: "10000ms"
listen_address: "10.1.2.3"
rpc_address: "0.0.0.0"
broadcast_rpc_address: "10.1.2.3"
storage_port: 7000
native_transport_port: 9042
endpoint_snitch: "GossipingPropertyFileSnitch"
seed_provider: [{"class_name": "%s", "parameters": [{"seeds": "10.1.2.3"}]}]
authenticator: "PasswordAuthenticator"
file_cache_size: "16MiB"
networking_cache_size: "8MiB"
""".replace("%s", "org.apache.cassandra.locator.SimpleSeedProvider")


def test_the_users_own_limit_gives_this_file() -> None:
    told = node(authenticator="PasswordAuthenticator")
    assert configuration.to_yaml(configuration.cassandra_yaml(told, around(), jvm.memory(512 * MIB), None)) == GOLDEN
    assert yaml.safe_load(GOLDEN)["seed_provider"][0]["parameters"] == [{"seeds": "10.1.2.3"}]


def test_the_official_entrypoint_finds_no_seeds_line_to_replace() -> None:
    assert "- seeds:" not in GOLDEN


@pytest.mark.parametrize(
    ("more", "told", "seeds"),
    [
        ({}, {}, ["10.1.2.3"]),
        ({"pod": "c-1", "pod_ip": "10.1.2.4"}, {}, [SEED]),
        ({"pod": "c-1"}, {"seeds": [SEED, OTHER]}, [SEED]),
        ({"pod": "c-1"}, {"seeds": [OTHER]}, [SEED]),
        ({}, {"seeds": [SEED, OTHER]}, ["10.1.2.3", OTHER]),
        ({"empty": True}, {}, ["10.1.2.3"]),
        ({"empty": True, "answering": [OTHER]}, {}, [OTHER]),
        ({"empty": True, "answering": [OTHER]}, {"seeds": [SEED, "away", OTHER]}, [OTHER]),
        ({"empty": False, "answering": [OTHER]}, {}, ["10.1.2.3"]),
        ({"pod": "c-10"}, {"seeds": ["c-1.x", "c-10.x"], "first_pod": "c-1"}, ["c-1.x"]),
    ],
)
def test_only_a_first_pod_that_has_its_data_names_itself(
    more: dict[str, Any], told: dict[str, Any], seeds: list[str]
) -> None:
    assert configuration.seeds(node(**told), around(**more)) == seeds


def test_a_first_pod_that_lost_its_volume_never_starts_a_second_cluster() -> None:
    with pytest.raises(AgentError, match="second cluster"):
        configuration.seeds(node(established=True), around(empty=True))
    assert configuration.seeds(node(established=True), around(empty=True, answering=[OTHER])) == [OTHER]
    assert configuration.seeds(node(established=True), around()) == ["10.1.2.3"]


def test_a_restored_node_has_its_tokens_for_ever() -> None:
    restored = Restored(restore_id="r", tag="t", tokens=["-5", "7"], uuid_ids=True, settings={
        "storage_compatibility_mode": "NONE", "uuid_sstable_identifiers_enabled": False, "data_file_directories": "x",
    })  # fmt: skip
    found = configuration.cassandra_yaml(node(), around(), None, restored)
    assert found["initial_token"] == "-5,7"
    assert (found["num_tokens"], found["auto_bootstrap"]) == (2, False)
    assert found["uuid_sstable_identifiers_enabled"] is True
    assert found["storage_compatibility_mode"] == "NONE"
    assert found["data_file_directories"] == ["/var/lib/cassandra/data"]


@pytest.mark.parametrize(
    ("recorded", "newer", "wanted"),
    [
        (None, False, None),
        ("CASSANDRA_4", False, "CASSANDRA_4"),
        (None, True, "UPGRADING"),
        ("CASSANDRA_4", True, "UPGRADING"),
        ("UPGRADING", True, "UPGRADING"),
        ("NONE", True, "NONE"),
    ],
)
def test_files_of_5_0_get_a_mode_that_opens_them(recorded: str | None, newer: bool, wanted: str | None) -> None:
    restored = Restored(
        restore_id="r", tag="t", tokens=["1"], newer_files=newer, settings={"storage_compatibility_mode": recorded}
    )
    assert configuration.cassandra_yaml(node(), around(), None, restored).get("storage_compatibility_mode") == wanted


def test_tokens_are_not_claimed_on_an_empty_volume() -> None:
    found = configuration.cassandra_yaml(node(), around(empty=True), None, RESTORED)
    assert "initial_token" not in found
    assert "auto_bootstrap" not in found
    assert found["num_tokens"] == 16


def test_tokens_are_spread_only_where_they_are_not_given() -> None:
    told = node(allocate_tokens_for_local_replication_factor=3)
    key = "allocate_tokens_for_local_replication_factor"
    assert configuration.cassandra_yaml(told, around(), None, None)[key] == 3
    assert key not in configuration.cassandra_yaml(told, around(), None, RESTORED)


def test_a_small_disk_gets_a_small_commit_log() -> None:
    found = configuration.cassandra_yaml(node(), around(disk=100 * MIB), None, None)
    assert (found["commitlog_segment_size"], found["commitlog_total_space"]) == ("8MiB", "16MiB")
    assert "commitlog_segment_size" not in configuration.cassandra_yaml(node(), around(disk=10 * GIB), None, None)


def test_before_4_1_the_names_hold_the_units() -> None:
    found = configuration.cassandra_yaml(node(), around(old_names=True, disk=MIB), jvm.memory(512 * MIB), None)
    assert found["commitlog_sync_period_in_ms"] == 10_000
    assert found["file_cache_size_in_mb"] == 16
    assert found["commitlog_segment_size_in_mb"] == 8


def test_of_3_x_nothing_is_asked_that_came_with_4_0() -> None:
    """It refuses to start with a setting that it does not know, and serves no CQL where it is not told to."""
    told = node(allocate_tokens_for_local_replication_factor=3)
    found = configuration.cassandra_yaml(told, around(old_names=True, thrift=True), jvm.memory(512 * MIB), None)
    assert (found["start_native_transport"], found["start_rpc"]) == (True, False)
    assert found["file_cache_size_in_mb"] == 16
    assert not [key for key in found if key.startswith(("networking_cache", "allocate_tokens"))]


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"clusterName":"","datacenterName":"d","rack":"r","seeds":["s"],"firstPod":"p"}']
)
def test_a_node_file_that_says_too_little_is_refused(text: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        configuration.decode_node(text)
    assert caught.value.reason == "ConfigurationInvalid"


@pytest.mark.parametrize(
    ("limit", "heap", "has"),
    [
        (512 * MIB, 176, ("-Xmx176M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=48M",
                          "-Xss320k", "-XX:MaxDirectMemorySize=64M")),
        (1 * GIB, 432, ("-Xmx432M", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=128M")),
        (2 * GIB, 944, ("-Xmx944M", "-XX:+UseG1GC")),
        (4 * GIB, 2048, ("-Xms2048M", "-Xmx2048M", "-XX:+UseG1GC")),
        (32 * GIB, 16384, ("-Xmx16384M",)),
        (48 * GIB, 16384, ("-Xmx16384M",)),
        (64 * GIB, 31 * 1024, ("-Xmx31744M",)),
        (100 * MIB, 64, ("-Xmx64M",)),
    ],
)  # fmt: skip
def test_memory_for_every_size(limit: int, heap: int, has: tuple[str, ...]) -> None:
    memory = jvm.memory(limit)
    assert memory is not None
    assert memory.heap == heap
    assert set(has) <= set(memory.options)
    assert ("-XX:TieredStopAtLevel=1" in memory.options) == (limit < GIB)
    assert (memory.file_cache is None) == (limit >= 4 * GIB)


def test_without_a_limit_the_image_decides() -> None:
    assert jvm.memory(None) is None
    text = "-Xmx8G\n-XX:+UseG1GC\n"
    assert jvm.without_choices(text, None) == text


SERVER = """\
# Options
-ea
-Xms4G
-Xmx4G
-Xmn800M
-Xss256k
-XX:+AlwaysPreTouch
-XX:+UseG1GC
-XX:G1RSetUpdatingPauseTimePercent=5
#-XX:+UseConcMarkSweepGC
-XX:+PerfDisableSharedMem
-XX:+UseThreadPriorities
-XX:MaxGCPauseMillis=300
--add-opens java.base/java.nio=ALL-UNNAMED
"""
RENDERED = """\
# Options
-ea
#-XX:+UseConcMarkSweepGC
-XX:+PerfDisableSharedMem
-XX:+UseThreadPriorities
--add-opens java.base/java.nio=ALL-UNNAMED
# --- the agent's, rendered anew at every start; lines above that spoke of heap or collector were dropped
-Xms88M
-Xmx176M
-XX:+UseSerialGC
-XX:MaxDirectMemorySize=64M
-XX:TieredStopAtLevel=1
-XX:ReservedCodeCacheSize=48M
-Xss320k
-javaagent:x
# --- end of the agent's
"""


def test_the_images_options_lose_what_ours_replace() -> None:
    memory = jvm.memory(512 * MIB)
    once = jvm.with_options(SERVER, memory, ("-javaagent:x",))
    assert once == RENDERED
    assert jvm.with_options(once, memory, ("-javaagent:x",)) == once
    large = jvm.with_options(once, jvm.memory(8 * GIB), ("-javaagent:x",))
    assert "-Xmx176M" not in large
    assert large.count("-Xmx") == 1
    assert "AlwaysPreTouch" in jvm.without_choices(SERVER, jvm.memory(8 * GIB))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "cassandra.yaml").write_text("cluster_name: Test\ncommitlog_sync_period: 10s\n")
    (conf / "jvm-server.options").write_text(SERVER)
    (conf / "jvm17-server.options").write_text("-XX:+UseG1GC\n-Dx=y\n")
    (conf / "cassandra-topology.properties").write_text("default=DC1:r1\n")
    jar = tmp_path / "jolokia.jar"
    jar.write_bytes(b"jar")
    return Settings(
        pod="c-0",
        pod_ip="10.1.2.3",
        data_dirs=(tmp_path / "data",),
        config_dir=conf,
        jolokia_jar=jar,
        memory_limit=512 * MIB,
    )


def write(settings: Settings, **more: Any) -> None:
    values: dict[str, Any] = {"restored": None, "empty": False, "answering": []}
    configuration.write(settings, NODE, **(values | more))


def files_in(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_writing_twice_changes_nothing(settings: Settings) -> None:
    write(settings)
    first = files_in(settings.config_dir)
    assert set(first) == {
        "cassandra.yaml", "cassandra.yaml.image", "cassandra-rackdc.properties", "jvm-server.options",
        "jvm17-server.options", "lib/jolokia.jar",
    }  # fmt: skip
    assert first["cassandra-rackdc.properties"].endswith(b"dc=dc1\nrack=r1\nprefer_local=false\n")
    assert first["jvm17-server.options"] == b"-Dx=y\n"
    jar = settings.config_dir / "lib" / "jolokia.jar"
    option = f"-javaagent:{jar}=host=127.0.0.1,port=8778,discoveryEnabled=false"
    assert option.encode() in first["jvm-server.options"].splitlines()
    write(settings)
    assert files_in(settings.config_dir) == first


def test_an_image_before_4_1_is_known_by_its_own_file_even_the_second_time(settings: Settings) -> None:
    (settings.config_dir / "cassandra.yaml").write_text("commitlog_sync_period_in_ms: 10000\n")
    for _ in range(2):
        write(settings)
        assert "commitlog_sync_period_in_ms" in (settings.config_dir / "cassandra.yaml").read_text()


def test_an_image_of_3_x_is_known_by_its_own_file_even_the_second_time(settings: Settings) -> None:
    (settings.config_dir / "cassandra.yaml").write_text("commitlog_sync_period_in_ms: 10000\nstart_rpc: false\n")
    for _ in range(2):
        write(settings)
        assert "start_native_transport: true" in (settings.config_dir / "cassandra.yaml").read_text()


def test_without_jolokia_it_says_so(settings: Settings) -> None:
    with pytest.raises(AgentError, match="jolokia"):
        write(dataclasses.replace(settings, jolokia_jar=settings.config_dir / "none.jar"))


def test_a_manifest_gets_what_a_restore_must_set(settings: Settings) -> None:
    write(settings, restored=RESTORED)
    found = configuration.carried_settings(settings.config_dir)
    assert found["uuid_sstable_identifiers_enabled"] is True
    assert found["num_tokens"] == 2
    assert configuration.carried_settings(settings.config_dir / "none") == {}
