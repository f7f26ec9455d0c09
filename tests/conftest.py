"""What all tests share: the stack, deployed once into a MiniStack of its own, and the agent."""

from collections.abc import Iterator

import pytest

from infra.local import deployment
from tests.support.agent_process import running_agent
from tests.support.deployment import Deployment


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Deploy into a MiniStack that ends with the test run."""
    # Hundreds of tests are newcomers, within an hour.
    many = {"max_new_guests_per_hour": "2000"}
    with deployment.deployed(tmp_path_factory.mktemp("stack"), context=many) as outputs:
        yield Deployment(outputs)


@pytest.fixture(scope="session")
def agent_url(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the agent against that stack, under its role alone."""
    with running_agent(tmp_path_factory.mktemp("agent"), stack.outputs) as url:
        yield url
