"""What an operation is asked to do, read so that nothing of it is left out in silence."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from agent.errors import AgentError, Reason
from agent.protocol import OperationRequest  # noqa: TC001  as everything of the protocol
from agent.settings import VERSION

T = TypeVar("T")
_NOT_KNOWN = "unknown field"  # in msgspec's words


def understood(request: OperationRequest, spec_type: type[T]) -> T:
    """The spec. InvalidSpec; AgentTooOld where it has what only a later agent knows, which means that it is wanted:
    a field with its default is not sent.
    """
    try:
        return msgspec.convert(request.spec, spec_type)
    except msgspec.ValidationError as error:
        raise _refusal(request.kind, error) from error


def _refusal(kind: str, error: Exception) -> AgentError:
    if _NOT_KNOWN not in str(error):
        return AgentError(Reason.INVALID_SPEC, f"the spec of the {kind} is wrong: {error}")
    message = (
        f"the agent (version {VERSION}) is older than who asks, and its {kind} cannot do what is wanted ({error}): "
        "give the datacenter a newer spec.sidecarImage, then replace its pods one after the other"
    )
    return AgentError(Reason.AGENT_TOO_OLD, message)
