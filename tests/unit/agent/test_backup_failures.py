"""A backup that fails: what it says, what stays, and that a successor ends what a dead process began."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from agent.protocol import Kind, State
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.backups import content, expected, manifest_of
from tests.unit.agent.conftest import World, request, until


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (StoreKind.FORBIDDEN, "AccessDenied"),
        (StoreKind.NO_BUCKET, "BucketMissing"),
        (StoreKind.UNAUTHENTICATED, "CredentialsRefused"),
        (StoreKind.STORE_FULL, "StorageFull"),
    ],
)
async def test_an_upload_that_fails_for_good_says_why_and_clears_the_snapshot(
    world: World, kind: StoreKind, reason: str
) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(kind), times=-1, skip=0))
    world.store = faulty
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert operation.error.reason == reason
    assert "as the test told" in operation.error.message
    assert world.data.snapshots("co-t1") == []
    assert not [key for key in await world.keys() if "/manifests/" in key]


async def test_a_failure_that_may_pass_keeps_the_snapshot_for_the_next_try(world: World) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(StoreKind.UNAVAILABLE), times=-1, skip=0))
    world.store = faulty
    async with world.agent() as agent:
        operation = await world.back_up(agent)
        assert operation.error is not None
        assert (operation.error.reason, operation.error.retryable) == ("StorageUnreachable", True)
        assert len(world.data.snapshots("co-t1")) > 0
        world.store = world.memory
        again = await world.do(agent, "b-again", Kind.BACKUP, world.backup_spec())
    assert again.state is State.SUCCEEDED
    assert world.data.snapshots("co-t1") == []


async def test_no_credentials_at_all_have_their_own_reason(world: World) -> None:
    faulty = FaultyStore(world.memory)
    message = "no credentials found: set AWS_ACCESS_KEY_ID"
    faulty.fail("put", Fault(StoreError(StoreKind.UNAUTHENTICATED, "open", "s3://b", "", message)))
    world.store = faulty
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.error is not None
    assert operation.error.reason == "CredentialsMissing"


async def test_without_a_snapshot_it_says_so(world: World) -> None:
    async with world.agent() as agent:
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("SnapshotGone", False)


async def test_a_cancelled_backup_clears_its_snapshot_and_commits_nothing(world: World) -> None:
    held = asyncio.Event()

    class Slow(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if "/data/" in key:
                held.set()
                await asyncio.Event().wait()
            return await super().put(key, body, if_absent=if_absent)

    world.store = Slow(world.memory)
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await held.wait()
        operation = await agent.operations.cancel("b")
        assert operation.state is State.CANCELLED
    assert world.data.snapshots("co-t1") == []
    assert await world.keys() == []


class Dying(FaultyStore):
    """The process dies at the ``at``-th request: before it, or (``after``) when it was done and the answer is lost."""

    def __init__(self, world: World, at: int, *, after: bool) -> None:
        super().__init__(world.memory)
        self.left = at
        self.after = after
        self.died = asyncio.Event()

    async def _do(self, verb: str, key: str, call: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            if self.after:
                await call()
            self.died.set()
            await asyncio.Event().wait()
        return await super()._do(verb, key, call)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
async def test_a_process_may_die_at_every_request_of_a_backup(
    world: World, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor ends the backup, once, with every byte: bundles, a plain object, and one in three parts."""
    monkeypatch.setattr(
        "agent.upload.Uploader.__init__.__kwdefaults__", {"single": 5 << 18, "part": 1 << 19, "journal": None}
    )
    for relative in world.data.tables[:6]:
        shutil.rmtree(world.data.data_dirs[0] / relative)
    del world.data.tables[:6]
    world.data.table("app", "one", 8, size=3 << 19)
    world.data.table("app", "two", 9, size=5 << 18)
    world.data.table("system_schema", "tables", 4, ("nb-7-big",), without=("Filter.db", "Summary.db"))
    step = 0
    while True:
        step += 1
        tag, backup = f"t{step}", {"epoch": f"e{step}", "backup_id": f"uid-{step}", "full": True}
        dying = Dying(world, step, after=after)
        world.store = dying
        async with world.agent() as agent:
            await world.do(agent, f"s-{tag}", Kind.SNAPSHOT, {"tag": tag})
            await agent.operations.put(f"b-{tag}", request(Kind.BACKUP, world.backup_spec(tag=tag, **backup)))
            over = asyncio.create_task(agent.operations.over(f"b-{tag}"))
            died = asyncio.create_task(dying.died.wait())
            await asyncio.wait([over, died], return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            died.cancel()
            if not dying.died.is_set():
                break
        world.store = world.memory
        async with world.agent() as agent:
            await agent.operations.over(f"b-{tag}")
            operation = agent.operations.get(f"b-{tag}")
            assert operation.attempts == 2
            assert await content(world.memory, await manifest_of(world, operation, tag)) == expected(world)
            assert world.data.snapshots(f"co-{tag}") == []
            assert await agent.snapshots.sweep([]) == []
            assert [upload async for upload in world.memory.list_uploads("")] == []
    assert step > 13, "the backup makes more requests than that"


async def test_a_process_may_die_while_cassandra_takes_the_snapshot(world: World) -> None:
    world.cassandra.hold = asyncio.Event()
    async with world.agent() as agent:
        await agent.operations.put("s", request(Kind.SNAPSHOT, {"tag": "t1"}))
        await until(lambda: world.cassandra.executed)
    world.data.snapshot("co-t1")  # Cassandra goes on without us, and gets half through
    world.data.snapshots("co-t1")[0].joinpath("manifest.json").unlink()
    world.cassandra.hold = None
    async with world.agent() as agent:
        await agent.operations.over("s")
        assert agent.operations.get("s").state is State.SUCCEEDED
        await agent.snapshots.scan("t1")


async def test_a_failure_stays_that_failure_when_the_process_dies_while_it_tidies(world: World) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(StoreKind.FORBIDDEN), times=-1))
    world.store = faulty
    async with world.agent() as agent:
        await world.do(agent, "s-t1", Kind.SNAPSHOT, {"tag": "t1"})
        tidying = asyncio.Event()

        async def stuck(tag: str) -> None:
            tidying.set()
            await asyncio.Event().wait()

        agent.snapshots.clear = stuck  # type: ignore[method-assign]
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await tidying.wait()
    world.store = world.memory
    async with world.agent() as agent:
        await agent.operations.over("b")
        operation = agent.operations.get("b")
    assert operation.error is not None
    assert operation.error.reason == "AccessDenied"
    assert world.data.snapshots("co-t1") == []
