from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller import builtin
from controller.resource import Key
from reconcilers.backup import lock

if TYPE_CHECKING:
    from controller.client import Client


@pytest.fixture
def datacenter(namespace: str) -> Key:
    return Key(namespace, "foo")


def everybody(_uid: str) -> bool:
    return True


def nobody(_uid: str) -> bool:
    return False


async def test_the_first_one_has_it(client: Client, datacenter: Key) -> None:
    assert await lock.acquire(client, datacenter, "a", alive=everybody) == "a"
    assert await lock.acquire(client, datacenter, "a", alive=everybody) == "a"
    assert await lock.acquire(client, datacenter, "b", alive=everybody) == "a"


async def test_a_holder_that_is_gone_is_replaced(client: Client, datacenter: Key) -> None:
    await lock.acquire(client, datacenter, "a", alive=everybody)
    assert await lock.acquire(client, datacenter, "b", alive=nobody) == "b"
    assert await lock.acquire(client, datacenter, "a", alive=lambda uid: uid == "b") == "b"


async def test_only_its_holder_gives_it_back(client: Client, datacenter: Key) -> None:
    await lock.release(client, datacenter, "a")
    await lock.acquire(client, datacenter, "a", alive=everybody)
    await lock.release(client, datacenter, "b")
    assert await lock.acquire(client, datacenter, "b", alive=everybody) == "a"
    await lock.release(client, datacenter, "a")
    assert await lock.acquire(client, datacenter, "b", alive=everybody) == "b"


async def test_two_that_replace_the_same_holder(client: Client, datacenter: Key) -> None:
    """The other one was faster: after the look at the holder, before the write."""
    await lock.acquire(client, datacenter, "gone", alive=everybody)

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

        async def patch(self, *args: object, **named: object) -> object:
            assert await lock.acquire(client, datacenter, "fast", alive=nobody) == "fast"
            return await client.patch(*args, **named)

    assert await lock.acquire(Slow(), datacenter, "slow", alive=nobody) == ""
    lease = await client.get(builtin.LEASES, Key(datacenter.namespace, "cback-foo"))
    assert lease["spec"]["holderIdentity"] == "fast"


async def test_released_between_create_and_get(client: Client, datacenter: Key) -> None:
    await lock.acquire(client, datacenter, "a", alive=everybody)

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

        async def get(self, *args: object, **named: object) -> object:
            await lock.release(client, datacenter, "a")
            return await client.get(*args, **named)

    assert await lock.acquire(Slow(), datacenter, "b", alive=everybody) == ""
    assert await lock.acquire(client, datacenter, "b", alive=everybody) == "b"
