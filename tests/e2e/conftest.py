"""What end-to-end tests share."""

from collections.abc import Iterator

import pytest

from tests.e2e.contract_client import Api, serving


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server of the module's own, asked as the operator."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server.api
