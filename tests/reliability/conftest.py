"""A control plane for the tests of runners, on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from sdk_plane import Plane, Proxy, proxy_to, running_plane


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    """A running control plane."""
    with running_plane() as plane:
        yield plane


@pytest.fixture
async def proxy(plane: Plane) -> AsyncIterator[Proxy]:
    """A proxy in front of the control plane."""
    async with proxy_to(plane.url) as proxy:
        yield proxy
