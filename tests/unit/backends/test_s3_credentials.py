"""Keys that are read again when a store refuses them: once, by one, and not for other reasons."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiobotocore.credentials import AioCredentials
from botocore.exceptions import NoCredentialsError

from backends.s3_credentials import AGAIN, Keys

if TYPE_CHECKING:
    from collections.abc import Callable


class Chain:
    """Gives each of ``names`` in turn, the last for ever; an exception is raised."""

    def __init__(self, *names: str | Exception | None) -> None:
        self.names = list(names)
        self.walks = 0

    async def __call__(self) -> AioCredentials | None:
        self.walks += 1
        await asyncio.sleep(0)
        name = self.names.pop(0) if len(self.names) > 1 else self.names[0]
        if isinstance(name, Exception):
            raise name
        return None if name is None else AioCredentials(name, "secret\n", " token ", method="env")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def loaded(chain: Chain, clock: Callable[[], float] = lambda: 0.0) -> Keys:
    keys = Keys(chain, clock)
    await keys.load()
    return keys


async def test_blanks_around_keys_are_cut() -> None:
    frozen = await (await loaded(Chain("\tid\n"))).get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("id", "secret", "token")


async def test_no_keys() -> None:
    with pytest.raises(NoCredentialsError):
        await loaded(Chain(None))


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "InvalidToken"])
async def test_rotated_keys_are_found(code: str) -> None:
    keys = await loaded(Chain("old", "new"))
    assert await keys.refused(code, keys.stamp)
    assert (await keys.get_frozen_credentials()).access_key == "new"
    assert keys.stamp == 1


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "NoSuchKey", ""])
async def test_other_refusals_are_no_reason(code: str) -> None:
    chain = Chain("old", "new")
    keys = await loaded(chain)
    assert not await keys.refused(code, keys.stamp)
    assert chain.walks == 1


async def test_the_same_keys_are_not_tried_again() -> None:
    chain = Chain("old")
    keys = await loaded(chain)
    assert not await keys.refused("ExpiredToken", keys.stamp)
    assert (chain.walks, keys.stamp) == (2, 0)


async def test_many_refusals_at_once_are_one_walk() -> None:
    chain = Chain("old", "new")
    keys = await loaded(chain)
    assert all(await asyncio.gather(*(keys.refused("ExpiredToken", 0) for _ in range(20))))
    assert (chain.walks, keys.stamp) == (2, 1)


async def test_a_late_refusal_of_the_former_keys_is_no_second_walk() -> None:
    chain = Chain("old", "new", "newer")
    keys = await loaded(chain)
    assert await keys.refused("ExpiredToken", 0)
    assert await keys.refused("ExpiredToken", 0)
    assert chain.walks == 2


async def test_keys_refused_at_once_are_given_up_and_later_ones_are_not() -> None:
    clock = Clock()
    keys = await loaded(Chain("old", "new", "newer"), clock)
    assert await keys.refused("ExpiredToken", 0)
    assert not await keys.refused("ExpiredToken", 1)
    clock.now += AGAIN
    assert await keys.refused("ExpiredToken", 1)
    assert (await keys.get_frozen_credentials()).access_key == "newer"


async def test_a_chain_that_breaks_keeps_the_keys() -> None:
    keys = await loaded(Chain("old", OSError("no file")))
    with pytest.raises(OSError, match="no file"):
        await keys.refused("ExpiredToken", 0)
    assert (await keys.get_frozen_credentials()).access_key == "old"
    assert keys.stamp == 0
