"""A control plane for each test, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from api_world import World, running


@pytest.fixture
def anyio_backend() -> str:
    """The control API runs on asyncio, as its server does."""
    return "asyncio"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The application over a store in memory whose clock the test may move."""
    async with running() as found:
        yield found
