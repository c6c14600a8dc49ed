"""What several tests of the API share."""

from collections.abc import Iterator

import pytest

from tests.service.api.sockets import Service, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two models as it is by default, for bare connections."""
    with running(tmp_path_factory.mktemp("models")) as started:
        yield started
