"""Two embedded AWS side by side: one under AWS's rules, and MiniStack as it comes."""

from collections.abc import Iterator

import pytest

from infra.local import ministack
from infra.settings import LOCAL_REGION
from tests.support.deployment import Deployment
from tests.support.scripted_pool import ScriptedPool


@pytest.fixture(scope="package")
def bare_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Start MiniStack without AWS's rules."""
    directory = tmp_path_factory.mktemp("bare")
    running = ministack.start(directory, ministack.free_port(), end_with_us=True, bare=True)
    yield Deployment({"endpoint_url": running.endpoint_url, "region": LOCAL_REGION})
    ministack.stop(directory)


@pytest.fixture(scope="package")
def strict_pool(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> ScriptedPool:
    return ScriptedPool.make(stack, tmp_path_factory.mktemp("strict-triggers"))


@pytest.fixture(scope="package")
def bare_pool(bare_aws: Deployment, tmp_path_factory: pytest.TempPathFactory) -> ScriptedPool:
    return ScriptedPool.make(bare_aws, tmp_path_factory.mktemp("bare-triggers"))


@pytest.fixture
def strict(strict_pool: ScriptedPool) -> Iterator[ScriptedPool]:
    """Give a pool under AWS's rules, whose triggers and switches are as ever."""
    strict_pool.play()
    yield strict_pool
    strict_pool.aws.switch()


@pytest.fixture
def bare(bare_pool: ScriptedPool) -> ScriptedPool:
    """Give the same pool in MiniStack as it comes."""
    bare_pool.play()
    return bare_pool
