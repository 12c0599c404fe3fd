"""The init container: plan or no plan, and the API while it restores."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from structlog.testing import capture_logs

from agent import init
from agent.errors import AgentError
from agent.protocol import Operation, RestorePlan, State
from agent.settings import Settings
from backends.errors import Kind as StoreKind
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.conftest import LOCATION, World, digest_of, until
from tests.unit.agent.test_server import serving, write_credentials

if TYPE_CHECKING:
    from pathlib import Path

    from agent.protocol import NodeDigest


@pytest.fixture
async def pod(world: World) -> Settings:
    """An empty pod beside the node of ``world``, with a plan to become it."""
    async with world.agent() as agent:
        node = digest_of(await world.back_up(agent))
    root = world.root / "pod"
    settings = dataclasses.replace(
        world.settings, data_dirs=(root / "data",), state_dir=root / ".agent", config_dir=root / "conf",
        plan_dir=root / "plans", node_file=root / "node.json", jolokia_jar=root / "jolokia.jar", failure_linger=30.0,
    )  # fmt: skip
    world.settings = settings
    settings.config_dir.mkdir(parents=True)
    settings.plan_dir.mkdir()
    settings.jolokia_jar.write_bytes(b"jar")
    names = {"clusterName": "new", "datacenterName": "dc1", "rack": "r1", "seeds": ["c-0.x"], "firstPod": "c-0"}
    settings.node_file.write_bytes(msgspec.json.encode(names))
    write_plan(settings, node)
    return settings


def write_plan(settings: Settings, node: NodeDigest, pod: str = "c-0", **more: Any) -> None:
    values: dict[str, Any] = {
        "restore_id": "rid", "location": LOCATION, "cluster": "my cluster", "datacenter": "dc1", "node": "c-0",
        "tag": "t1", "digest": node.digest,
    }  # fmt: skip
    (settings.plan_dir / f"{pod}.json").write_bytes(msgspec.json.encode(RestorePlan(**(values | more))))


def rendered(settings: Settings) -> str:
    return (settings.config_dir / "cassandra.yaml").read_text()


async def run(world: World, settings: Settings) -> int:
    return await init.run(settings, asyncio.Event(), open_store=world.open_store)


async def test_a_planned_pod_is_restored_and_configured(world: World, pod: Settings) -> None:
    write_credentials(pod.credentials_dir)
    assert await run(world, pod) == 0
    assert '"-3074457345618258603,3074457345618258602"' in rendered(pod)
    assert "auto_bootstrap: false" in rendered(pod)
    assert (pod.data_dirs[0] / "app").is_dir()
    opened = world.opened
    assert await run(world, pod) == 0
    assert world.opened == opened, "a restart asks nothing of the store"


async def test_a_restore_tells_how_long_the_event_loop_was_held_up(world: World, pod: Settings) -> None:
    write_credentials(pod.credentials_dir)
    with capture_logs() as logs:
        assert await run(world, pod) == 0
    (line,) = [line for line in logs if line["event"] == "event loop stalls"]
    assert 0 <= line["p99_ms"] <= line["max_ms"] + 1


async def test_no_plan_at_all_is_a_plain_start(world: World, pod: Settings) -> None:
    (pod.plan_dir / "c-0.json").unlink()
    assert await run(world, pod) == 0
    assert "initial_token" not in rendered(pod)
    pod.plan_dir.rmdir()
    assert await run(world, pod) == 0


async def test_plans_without_this_pods_are_a_failure(world: World, pod: Settings) -> None:
    (pod.plan_dir / "c-0.json").rename(pod.plan_dir / "c-7.json")
    with pytest.raises(AgentError, match="no plan for c-0"):
        await run(world, pod)
    assert not (pod.config_dir / "cassandra.yaml").exists()


@pytest.mark.parametrize("text", [b"", b"{", b'{"restoreId": 5}'])
async def test_an_unreadable_plan_is_a_failure(world: World, pod: Settings, text: bytes) -> None:
    (pod.plan_dir / "c-0.json").write_bytes(text)
    with pytest.raises(AgentError, match="cannot be read"):
        await run(world, pod)


async def test_a_failure_stays_readable_until_it_is_dismissed_and_is_tried_again(world: World, pod: Settings) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("get", Fault(store_error(StoreKind.FORBIDDEN), times=-1))
    world.store = faulty
    codes: list[int] = []

    async def start(stop: asyncio.Event) -> None:
        codes.append(await init.run(pod, stop, open_store=world.open_store))

    async with serving(world, start) as api:
        operation = Operation(id="", kind="restore", state=State.PENDING, revision=0, session="")  # type: ignore[arg-type]
        while not operation.state.final:
            status, body = await api("GET", f"/v1/operations/rid-c-0?since={operation.revision}&wait=10")
            assert status == 200
            operation = msgspec.convert(body, Operation)
        assert operation.error is not None
        assert operation.error.reason == "AccessDenied"
        assert codes == []
        assert (await api("DELETE", "/v1/operations/rid-c-0"))[0] == 200
        await until(lambda: codes)
    assert codes == [1]
    world.store = world.memory
    assert await run(world, pod) == 0
    assert "initial_token" in rendered(pod)


async def test_nobody_comes_for_the_failure(world: World, pod: Settings) -> None:
    write_credentials(pod.credentials_dir)
    (pod.data_dirs[0] / "ks" / "t-1").mkdir(parents=True)
    (pod.data_dirs[0] / "ks" / "t-1" / "x").touch()
    assert await run(world, dataclasses.replace(pod, failure_linger=0.01)) == 1


async def test_sigterm_ends_a_restore_that_goes_on_later(world: World, pod: Settings) -> None:
    write_credentials(pod.credentials_dir)
    stop = asyncio.Event()

    class Stopping(FaultyStore):
        async def get(self, key: str, **more: Any) -> Any:
            if "/data/" in key:
                stop.set()
                await asyncio.Event().wait()
            async for chunk in super().get(key, **more):
                yield chunk

    world.store = Stopping(world.memory)
    assert await init.run(pod, stop, open_store=world.open_store) == 1
    world.store = world.memory
    assert await run(world, pod) == 0


async def test_only_who_listens_answers() -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await init.reachable(["127.0.0.1", "no-such-host.invalid"], port) == ["127.0.0.1"]
    assert await init.reachable(["127.0.0.1"], port) == []


def test_settings_come_from_the_pod(tmp_path: Path) -> None:
    found = Settings.from_env({
        "POD_NAME": "c-0", "POD_IP": "10.0.0.9", "CASSANDRA_MEMORY_LIMIT": "536870912", "AGENT_PORT": "1234",
        "CASSANDRA_DATA_DIRS": "/a:/b", "AGENT_STATE_DIR": str(tmp_path),
    })  # fmt: skip
    assert (found.pod, found.address, found.port, found.memory_limit) == ("c-0", "10.0.0.9", 1234, 512 << 20)
    assert [str(path) for path in found.data_dirs] == ["/a", "/b"]
    assert Settings.from_env({}).memory_limit is None


def test_nothing_is_encoded_unless_it_is_asked_for() -> None:
    none, both = (
        Settings.from_env(env)
        for env in ({"AGENT_COMPRESSION": "none"}, {"AGENT_ENCRYPTION_KEYS": "/k", "AGENT_COMPRESSION": "zstd"})
    )
    assert (none.encryption_keys, none.compress) == (None, False)
    assert (str(both.encryption_keys), both.compress) == ("/k", True)


@pytest.mark.parametrize(
    "env", [{"JOLOKIA_URL": "http://10.0.0.1:8778/"}, {"AGENT_PORT": "many"}, {"AGENT_COMPRESSION": "gzip"}]
)
def test_odd_settings_are_named(env: dict[str, str]) -> None:
    with pytest.raises(AgentError, match=next(iter(env))):
        Settings.from_env(env)
