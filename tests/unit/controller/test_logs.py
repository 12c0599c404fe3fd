from __future__ import annotations

import json
import logging
import subprocess
import sys

from controller.logs import hide_secrets

PROGRAM = """
import logging, structlog
from controller.logs import setup
setup("json", "info")
log = structlog.get_logger("x")
log.debug("not shown")
log.info("said", namespace="ns", agent_token="t0p", data={"p": "t0p"}, master_key=b"t0p")
try:
    raise ValueError("a defect")
except ValueError:
    log.exception("failed")
logging.getLogger("aiohttp").info("not shown")
logging.getLogger("aiohttp").warning("from a library")
"""


def test_one_json_object_a_line_and_no_secret() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("said", "info"),
        ("failed", "error"),
        ("from a library", "warning"),
    ]
    assert lines[0]["namespace"] == "ns"
    assert lines[1]["exception"][0]["exc_value"] == "a defect"
    assert "t0p" not in run.stderr
    assert run.stdout == ""


def test_names_that_say_secret() -> None:
    event = {"event": "x", "Authorization": "a", "agentToken": "a", "userPassword": "a", "stringData": "a", "name": "n"}
    hidden = hide_secrets(logging.getLogger(), "info", event)
    assert [k for k, v in hidden.items() if v == "***"] == ["Authorization", "agentToken", "userPassword", "stringData"]
