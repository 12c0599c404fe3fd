"""A backup that is forgotten: what goes, in which order, and what is refused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import catalog, records
from agent.catalog import FORMAT, NodePath
from agent.errors import AgentError
from agent.forget import ForgetHandler
from agent.protocol import (
    ClusterRecord,
    CollectSpec,
    CommitSpec,
    ForgetSpec,
    Kind,
    OperationRequest,
    RecordedNode,
    State,
)
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from backends.memory import MemoryStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import write_sstable
from tests.unit.agent.backups import PATH, content, expected
from tests.unit.agent.conftest import LOCATION, digest_of
from tests.unit.agent.pool import StandingJob
from tests.unit.agent.test_collector import DAY, HOUR, Bucket, Dying, manifest, object_key

if TYPE_CHECKING:
    from agent.job import Job
    from tests.unit.agent.conftest import World

NODES = ("n", "n-1", "n-10", "n.a")


class Cluster(Bucket):
    """Of several nodes, all with a manifest of ``t1``; the first two are in its record."""

    empty: list[str]

    async def filled(self) -> Cluster:
        digests = []
        for node in NODES:
            path = NodePath("c", "dc", node)
            data = catalog.encode(manifest("t1", [object_key("nb-1-big")], "uid-1"))
            digests.append(RecordedNode(node=node, rack="r", host_id="h", digest=catalog.digest(data)))
            await self.put(path.root + object_key("nb-1-big"))
            await self.put(path.manifest("t1"), data)
        record = ClusterRecord(
            format=FORMAT, tag="t1", backup_id="uid-1", cluster="c", datacenter="dc", nodes=digests[:2]
        )
        await self.put(catalog.record_key("c", "t1", "dc"), msgspec.json.encode(record))
        await self.put(catalog.schema_key("c", "t1", "dc"))
        await self.put("c/dc/_owner.json")
        await self.put("c/dc2/n/manifests/t1.json.zst")
        return self

    async def forget(self, *jobs: Any, **more: Any) -> int:
        values: dict[str, Any] = {"location": LOCATION, "cluster": "c", "datacenter": "dc", "tag": "t1",
                                  "backup_id": "uid-1"}  # fmt: skip
        spec = ForgetSpec(**(values | more))
        operations: Any = SimpleNamespace(unfinished=lambda: list(jobs))
        handler = ForgetHandler(self.open_store, lambda: operations)
        handler.check(spec)
        result = await handler.run(StandingJob("f"), spec)  # type: ignore[arg-type]
        self.empty = result["empty"]
        return result["manifests"]  # type: ignore[no-any-return]

    async def fails(self, reason: str, *jobs: Any, **more: Any) -> AgentError:
        before = await self.all()
        with pytest.raises(AgentError) as caught:
            await self.forget(*jobs, **more)
        assert str(caught.value.reason) == reason
        assert await self.all() == before
        return caught.value

    async def manifests(self) -> list[str]:
        return [key for key in await self.all() if key.startswith("c/dc/") and "/manifests/" in key]


@pytest.fixture
async def cluster() -> Cluster:
    return await Cluster().filled()


async def test_the_record_goes_first_then_every_nodes_manifest_and_no_data(cluster: Cluster) -> None:
    store = cluster.store = FaultyStore(cluster.memory)
    assert await cluster.forget() == 4
    deleted = [key for verb, key in store.keys if verb == "delete" and "clock" not in key]
    assert deleted[0] == catalog.record_key("c", "t1", "dc")
    assert sorted(deleted[1:5]) == sorted(NodePath("c", "dc", node).manifest("t1") for node in NODES)
    left = await cluster.all()
    data = [f"c/dc/{node}/{object_key('nb-1-big')}" for node in NODES]
    assert left == sorted([*data, "c/dc/_owner.json", "c/dc2/n/manifests/t1.json.zst"])
    assert await cluster.forget() == 0  # done is done


async def test_it_says_which_nodes_have_no_backup_left(cluster: Cluster) -> None:
    kept = NodePath("c", "dc", "n-10")
    await cluster.put(kept.manifest("t2"), catalog.encode(manifest("t2", [], "uid-2")))
    for _ in range(2):  # who asks may have missed the first answer
        await cluster.forget()
        assert sorted(cluster.empty) == ["n", "n-1", "n.a"]


async def test_another_backup_of_that_name_stays(cluster: Cluster) -> None:
    error = await cluster.fails("SnapshotTagExists", backup_id="uid-7")
    assert "uid-7" in error.message


async def test_of_a_backup_without_a_record_only_its_own_manifests_go(cluster: Cluster) -> None:
    """It failed; and another one of that name has begun where it had."""
    await cluster.memory.delete([catalog.record_key("c", "t1", "dc")])
    path = NodePath("c", "dc", "n-1")
    await cluster.put(path.manifest("t1"), catalog.encode(manifest("t1", [], "uid-2")))
    await cluster.put(NodePath("c", "dc", "n").manifest("t1"), b"torn")
    cluster.now += 2 * HOUR
    assert await cluster.forget() == 3
    assert await cluster.manifests() == [path.manifest("t1")]


async def test_one_whose_record_may_be_on_its_way_is_refused_for_an_hour(cluster: Cluster) -> None:
    await cluster.memory.delete([catalog.record_key("c", "t1", "dc")])
    assert (await cluster.fails("BackupRunning")).retryable
    cluster.now += HOUR
    assert await cluster.forget() == 4


async def test_one_that_runs_is_refused(cluster: Cluster) -> None:
    cluster.path = NodePath("c", "dc", "n-2")
    key = await cluster.pending("t1", [], backup_id="uid-1")
    error = await cluster.fails("BackupRunning")
    assert "n-2" in error.message
    assert error.retryable
    cluster.now += HOUR  # no heartbeat since
    assert await cluster.forget() == 5
    assert key not in await cluster.all()


async def test_one_that_runs_here_is_refused(cluster: Cluster) -> None:
    request = OperationRequest(kind=Kind.BACKUP, spec={"tag": "t1"})
    job: Job = SimpleNamespace(entry=SimpleNamespace(request=request))  # type: ignore[assignment]
    await cluster.fails("BackupRunning", job)


async def test_what_a_crash_left_beside_the_manifest_is_no_running_backup(cluster: Cluster) -> None:
    await cluster.pending("t1", None, backup_id="uid-1")
    assert await cluster.forget() == 4


async def test_it_may_die_at_any_request_and_goes_on(cluster: Cluster) -> None:
    step = 0
    while True:
        step += 1
        cluster = await Cluster().filled()
        dying = cluster.store = Dying(cluster.memory, step, after=bool(step % 2))
        work = asyncio.create_task(cluster.forget())
        died = asyncio.create_task(dying.died.wait())
        await asyncio.wait([work, died], return_when=asyncio.FIRST_COMPLETED)
        dying.dead = True
        for task in (work, died):
            task.cancel()
        await asyncio.gather(work, died, return_exceptions=True)
        cluster.store = cluster.memory
        record = catalog.record_key("c", "t1", "dc")
        assert record not in await cluster.all() or len(await cluster.manifests()) == 4
        cluster.now += DAY
        await cluster.forget()
        assert await cluster.manifests() == []
        if not dying.died.is_set():
            break
    assert step > 20, "it makes more requests than that"


async def test_an_agent_forgets_and_frees_and_the_other_backup_stays_whole(world: World) -> None:
    """All of it by operations, as an operator asks for them."""
    now = 1_800_000_000.0
    world.store = world.memory = MemoryStore(clock=lambda: now)
    about = {"location": LOCATION, "cluster": "my cluster", "datacenter": "dc1"}
    async with world.agent() as agent:
        for number, tag in enumerate(("t1", "t2"), start=1):
            directory = world.data.data_dirs[0] / world.data.tables[0]
            for compacted in directory.glob(f"nb-{7 + number}-big-*"):
                compacted.unlink()
            write_sstable(directory, f"nb-{8 + number}-big", size=700, seed=number)
            more = {"epoch": f"e{number}", "backup_id": f"uid-{number}"}
            node = digest_of(await world.back_up(agent, tag, **more))
            spec = CommitSpec(tag=tag, backup_id=f"uid-{number}", nodes=[node], **about)
            assert (await world.do(agent, f"c-{tag}", Kind.COMMIT, spec)).state is State.SUCCEEDED
        before = await world.keys()
        forgotten = await world.do(agent, "f", Kind.FORGET, ForgetSpec(tag="t1", backup_id="uid-1", **about))
        assert forgotten.result == {"manifests": 1, "empty": []}, forgotten.error
        for number in range(2):
            now += DAY + 1
            cycle = await world.do(agent, f"gc-{number}", Kind.COLLECT, CollectSpec(node="c-0", **about))
            assert cycle.state is State.SUCCEEDED, cycle.error
        assert (cycle.result["candidates"], cycle.result["deleted"]) == (1, 1)
        manifest = await records.find_manifest(world.memory, PATH, "t2")
    assert manifest is not None
    assert await content(world.memory, manifest[0]) == expected(world)
    gone = {key for key in before if "/data/" in key} - set(await world.keys())
    assert ["nb-9-big" in key and key.endswith("-e1") for key in gone] == [True]


async def test_a_failure_is_told_and_the_next_try_ends_it(cluster: Cluster) -> None:
    faulty = cluster.store = FaultyStore(cluster.memory)
    faulty.fail("delete", Fault(store_error(StoreKind.FORBIDDEN), key=NodePath("c", "dc", "n-10").manifest("t1")))
    with pytest.raises(StoreError, match="as the test told"):
        await cluster.forget()
    assert catalog.record_key("c", "t1", "dc") not in await cluster.all()
    cluster.now += HOUR
    await cluster.forget()
    assert await cluster.manifests() == []
