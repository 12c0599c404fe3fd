"""From an operator to the API server and to the agents: what befalls its requests is planned in the world."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from controller.errors import Conflict, NotLeading, ServerError, Timeout
from reconcilers.agents import AgentUnreachable
from tests.unit.reconcilers.backup.model.fates import Fate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from controller.resource import Resource
    from reconcilers.agents import Address
    from tests.unit.reconcilers.backup.model.fates import Fates
    from tests.unit.reconcilers.backup.model.operator import Operator

T = TypeVar("T")
_READS = frozenset({"get", "list"})
_UNDONE = (Fate.CONFLICT, Fate.REFUSED, Fate.TIMES_OUT, Fate.LATE)
_LATE = 12.0  # seconds: later than anybody waits for an answer, sooner than a silent agent is given up


class _Way:
    """From one operator to where it sends requests; what befalls them is planned in ``fates``."""

    def __init__(self, operator: Operator, fates: Fates, turns: int) -> None:
        self._operator = operator
        self._fates = fates
        self._turns = turns  # that others have before a request arrives

    def _fate(self, _what: str) -> Fate | None:
        return self._fates.next()

    async def _send(
        self,
        what: str,
        do: Callable[[], Awaitable[T]],
        errors: Mapping[Fate, Exception],
        befalls: Callable[[Fate], None] = lambda _: None,
    ) -> T:
        """``errors`` has what it is to the operator that a request has no effect, or no answer."""
        operator, world = self._operator, self._operator.world
        for _ in range(self._turns):
            await operator.breathe()
        fate = self._fate(what)
        if fate:
            world.say(f"{operator.name}'s {what} {fate}")
            befalls(fate)
        if fate in _UNDONE and fate in errors:
            raise errors[fate]
        if fate is Fate.HANGS:
            await world.clock.sleep(9.0)
        if fate in {Fate.DIES_BEFORE, Fate.DIES_LATE}:
            await world.dies(operator)
        answer = await do()
        if fate is Fate.LOST:
            raise errors[fate]
        if fate is Fate.SLOW:
            await world.clock.sleep(4.0)
        if fate is Fate.DIES_AFTER:
            await world.dies(operator)
        return answer


class Wire(_Way):
    """The operator's client. Agents hear of what it does before the API server has written it."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(operator, operator.world.calls, turns=3)

    def __getattr__(self, verb: str) -> Any:
        return partial(self._call, verb)

    async def _call(self, verb: str, resource: Resource, *args: Any, **named: Any) -> Any:
        operator, world = self._operator, self._operator.world
        late = Timeout("no answer in time")
        errors: dict[Fate, Exception] = {
            Fate.REFUSED: ServerError("the API server is overloaded", status=503), Fate.TIMES_OUT: late, Fate.LOST: late
        }  # fmt: skip
        if verb.startswith("patch"):
            errors[Fate.CONFLICT] = Conflict("the object has been modified", status=409)

        def do() -> Awaitable[Any]:
            if operator.deposed and verb not in _READS:
                raise NotLeading("this process does not hold the Lease any more")
            world.author = operator
            answer: Awaitable[Any] = getattr(world.server, verb)(resource, *args, **named)
            return answer

        if len(world.living()) > 1:  # two that disagree correct each other without end, but not in no time
            await world.clock.sleep(0.2)
        return await self._send(f"{verb} of {resource.plural}", do, errors)


class Line(_Way):
    """The operator's way to the agents."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(operator, operator.world.requests, turns=1)

    def _fate(self, what: str) -> Fate | None:
        starts = self._operator.world.starts
        return (starts.next() if what.startswith("PUT") else None) or self._fates.next()

    async def request(self, address: Address, method: str, path: str, **named: Any) -> tuple[int, bytes]:
        world, what = self._operator.world, f"{method} to {address.pod}"
        silence = AgentUnreachable("AgentUnreachable", f"the agent of {address.pod} does not answer: reset")
        errors = dict.fromkeys((*_UNDONE, Fate.LOST), silence)

        def befalls(fate: Fate) -> None:
            world.disturbed[address.pod] = world.clock.monotonic()
            if fate in {Fate.LATE, Fate.DIES_LATE} and method != "GET":
                world.later(_LATE, lambda: world.to_agent_late(address, method, path, **named))

        return await self._send(what, lambda: world.to_agent(address, method, path, **named), errors, befalls)
