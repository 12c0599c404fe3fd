"""Encrypted backups on a real MinIO, and by the command line."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent import catalog, coding
from agent.cli.console import Exit
from agent.protocol import Fault, Healing, Level, State
from backends.helpers import read_all
from tests.contract.test_command_line import Place, place
from tests.contract.test_verify import PARTS, PUT, grow, on
from tests.fakes.sstables import live_files
from tests.unit.agent.backups import PATH
from tests.unit.agent.conftest import World, node_data, world
from tests.unit.agent.test_bundle import expected, restored
from tests.unit.agent.verifying import Verifications, bundle_of, complete, data_of, flip

if TYPE_CHECKING:
    from backends.base import ObjectStore

__all__ = ["node_data", "place", "world"]


@pytest.mark.parametrize("store", ["s3"], indirect=True)
async def test_sent_in_parts_compared_healed_and_restored(world: World, store: ObjectStore) -> None:
    bucket = on(world, store)
    grow(world)
    (world.root / "key").write_bytes(os.urandom(32))
    world.settings = replace(world.settings, encryption_keys=world.root / "key")
    verify = Verifications(world)
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        assert (await verify(agent, level=Level.HASH)).compared == len(manifest.objects)
        hurt = [bundle_of(manifest, "nb-1-big"), data_of(manifest, PUT), data_of(manifest, PARTS)]
        for at, key in enumerate(hurt):
            await flip(bucket, key, at * 1000)
        found = await verify(agent, level=Level.READ, heal=True)
        assert {one.object.removeprefix(PATH.root): one.fault for one in found.findings} == dict.fromkeys(
            hurt, Fault.DAMAGED
        )
        assert {one.healing for one in found.findings} == {Healing.HEALED}
        assert (await verify(agent, level=Level.HASH)).intact
    digest = catalog.digest(await read_all(bucket, PATH.manifest("t1"), 1 << 20))
    target = world.root / "target"
    operation = await restored(bucket, digest, target, codings=coding.from_files(world.root / "key"))
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(target / "data") == expected(world)


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_the_command_line(place: Place) -> None:
    keys = place.root / "keys"
    keys.mkdir()
    (keys / "1").write_text("too short")
    refused = place.back_up("t1", "--encryption-keys", keys)
    assert refused.code == Exit.FAILED
    assert refused.err.rpartition("error: ")[2].count("\n") == 1, refused.err
    assert "too short" not in refused.err
    (keys / "1").write_text(os.urandom(32).hex())
    done = place.back_up("t1", "--encryption-keys", keys)
    assert done.code == Exit.DONE, done.err
    (key_id,) = place.agent("show", "t1", "--json").json["nodes"][0]["keyIds"]
    assert key_id in place.agent("show", "t1").out
    for more in ((), ("--dry-run",)):
        refused = place.restore("other", "t1", *more)
        assert refused.code == Exit.FAILED
        assert key_id in refused.err.rpartition("error: ")[2]
        assert "Traceback" not in refused.err
        assert not (place.root / "other" / "data").exists()
    back = place.restore("other", "t1", "--encryption-keys", keys)
    assert back.code == Exit.DONE, back.err
    assert live_files(place.root / "other" / "data") == live_files(place.data)
