"""Every asynchronous test runs on asyncio and on trio, both under a clock that jumps."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from virtual_time import JumpingLoop


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loop, and its clock."""
    if request.param == "trio":
        return "trio", {"clock": MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": JumpingLoop}
