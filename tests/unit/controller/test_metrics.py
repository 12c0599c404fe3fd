"""Series exist before anything has happened."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from controller import metrics
metrics.init_controller("dc")
metrics.init_resource("pods")
print(metrics.render().decode())
"""


def test_series_start_at_zero() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = set(run.stdout.splitlines())
    assert {
        'operator_reconciles_total{controller="dc",outcome="error"} 0.0',
        'operator_reconcile_seconds_count{controller="dc"} 0.0',
        'operator_queue_depth{controller="dc"} 0.0',
        'operator_api_requests_total{code="200",verb="apply"} 0.0',
        'operator_watch_failures_total{resource="pods"} 0.0',
        'operator_events_total{result="dropped"} 0.0',
        "operator_leading 0.0",
    } <= lines
