"""What is said, and what never is."""

from __future__ import annotations

import io
import json

import pytest

from agent.cli import console
from agent.cli.console import Console, UsageError
from agent.errors import AgentError, Reason
from backends.errors import Kind, StoreError


def consoles(**more: bool) -> tuple[Console, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Console(out, err, **more), out, err


def test_lines_or_one_document() -> None:
    shown, out, _ = consoles()
    shown.line("text")
    shown.value({"a": 1})
    assert out.getvalue() == "text\n"
    shown, out, _ = consoles(json=True)
    shown.line("text")
    shown.value({"a": 1})
    assert json.loads(out.getvalue()) == {"a": 1}


@pytest.mark.parametrize("items", [[], [1], [1, 2, {"x": "y"}]])
def test_an_array_as_it_comes(items: list[object]) -> None:
    shown, out, _ = consoles(json=True)
    for one in items:
        shown.item(one)
    shown.end_items()
    assert json.loads(out.getvalue()) == items


def test_quiet_says_no_notes_but_errors() -> None:
    shown, _, err = consoles(quiet=True)
    shown.note("note")
    shown.error(UsageError("wrong"))
    assert err.getvalue() == "error: wrong\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AgentError(Reason.BACKUP_NOT_FOUND, "no such backup"), "no such backup"),
        (StoreError(Kind.NO_BUCKET, "list", "s3://b", "", "there is no bucket"), "list s3://b: there is no bucket"),
        (PermissionError(13, "Permission denied", "/data"), "/data: Permission denied"),
        (ValueError("odd"), "unexpected ValueError: odd; AGENT_LOG_LEVEL=ERROR shows where"),
        (AgentError(Reason.INTERNAL, "odd; the agent's log has the trace"), "odd; AGENT_LOG_LEVEL=ERROR shows where"),
        (AgentError(Reason.CORRUPT, "two\nlines\x1b[2J"), "two?lines?[2J"),
    ],
)
def test_an_error_is_one_sentence(error: Exception, text: str) -> None:
    assert console.sentence(error) == text


def test_an_error_has_no_secret() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert secret not in console.sentence(ValueError(f"secret_access_key={secret} AKIAIOSFODNN7EXAMPLE"))
    assert "AKIA" not in console.sentence(ValueError("AKIAIOSFODNN7EXAMPLE"))


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 50, "5.0 PiB")])
def test_sizes(count: int, text: str) -> None:
    assert console.size(count) == text
