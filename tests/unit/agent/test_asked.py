"""What a later operator asks of an agent that does not know it yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import protocol
from agent.asked import understood
from agent.errors import AgentError
from agent.files import write_atomic
from agent.init import find_plan
from agent.journal import Entry
from agent.protocol import Asked, ClusterRecord, Kind, Node, Operation, OperationRequest, State
from agent.serve import Agent
from tests.unit.agent.test_operations import REQUEST, Process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.agent.conftest import World

ASKED = sorted(Asked.__subclasses__(), key=lambda one: one.__name__)


@pytest.mark.parametrize("asked", ASKED, ids=lambda one: one.__name__)
def test_a_field_of_a_later_version_is_refused_and_not_ignored(asked: type[Any]) -> None:
    with pytest.raises(AgentError, match="of_tomorrow") as caught:
        understood(OperationRequest(kind=Kind.BACKUP, spec={"of_tomorrow": 1}), asked)
    assert (caught.value.reason, caught.value.retryable) == ("AgentTooOld", False)
    assert "spec.sidecarImage" in caught.value.message


def test_so_is_one_further_down() -> None:
    place = {"backupType": "AWS_S3", "target": "b", "of_tomorrow": "x"}
    with pytest.raises(AgentError) as caught:
        understood(OperationRequest(kind=Kind.FORGET, spec={"location": place, "cluster": "c"}), protocol.ForgetSpec)
    assert caught.value.reason == "AgentTooOld"


@pytest.mark.parametrize("asked", ASKED, ids=lambda one: one.__name__)
def test_what_is_not_wanted_is_not_sent(asked: type[Any]) -> None:
    """So that an older agent does whatever it can."""
    needed = {field.name: "" for field in msgspec.structs.fields(asked) if field.required}
    assert len(msgspec.to_builtins(asked(**needed))) == len(needed)


async def test_every_operation_reads_what_it_is_asked_so(world: World) -> None:
    handlers = Agent(world.settings, open_store=world.open_store)._handlers(world.open_store)
    assert len(handlers) > 5
    assert all(issubclass(handler.spec_type, Asked) for handler in handlers.values())


def test_an_answer_and_a_record_may_have_more() -> None:
    """Of a later agent, and of a later backup."""
    node = {"session": "s", "agentVersion": "9", "ofTomorrow": 1}
    assert msgspec.convert(node, Node).session == "s"
    lost = {"node": "c-1", "rack": "r", "ofTomorrow": 1}
    record = {
        "format": 1, "tag": "t", "backupId": "b", "cluster": "c", "datacenter": "d", "nodes": [], "missing": [lost],
        "ofTomorrow": 1,
    }  # fmt: skip
    assert msgspec.convert(record, ClusterRecord).missing[0].node == "c-1"


async def test_an_agent_that_was_put_back_says_what_it_cannot_go_on_with(tmp_path: Path) -> None:
    """A later one has journalled it."""
    request = OperationRequest(kind=REQUEST.kind, spec={**REQUEST.spec, "ofTomorrow": 1})
    operation = Operation(id="a", kind=request.kind, state=State.RUNNING, revision=1, session="s")
    write_atomic(tmp_path / "a.json", msgspec.json.encode(Entry(request=request, operation=operation)))
    async with Process(tmp_path) as process:
        await process.operations.over("a")
        error = process.operations.get("a").error
        assert error is not None
        assert error.reason == "AgentTooOld"
        assert process.fake.runs == 0


def test_a_plan_of_a_later_operator_restores_nothing_by_halves(tmp_path: Path) -> None:
    plan = {
        "restoreId": "r", "location": {"backupType": "AWS_S3", "target": "b"}, "cluster": "c", "datacenter": "d",
        "node": "c-0", "tag": "t", "digest": "x",
    }  # fmt: skip
    path = tmp_path / "c-0.json"
    path.write_bytes(msgspec.json.encode(plan))
    assert find_plan(tmp_path, "c-0") is not None
    path.write_bytes(msgspec.json.encode(plan | {"ofTomorrow": 1}))
    with pytest.raises(AgentError, match="ofTomorrow"):
        find_plan(tmp_path, "c-0")
