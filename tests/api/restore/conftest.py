from __future__ import annotations

from tests.api.backup.conftest import crds, world  # noqa: F401  fixtures
