"""The stack that all tests share: deployed once, by the CDK CLI, into a MiniStack of its own."""

from collections.abc import Iterator

import pytest

from infra import local
from tests.deployment import Deployment


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that ends with the test run."""
    with local.deployed(tmp_path_factory.mktemp("stack")) as outputs:
        yield Deployment(outputs)
