"""Two embedded AWS side by side: one under AWS's rules, and MiniStack as it comes."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

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


@pytest.fixture(scope="package", autouse=True)
def slow_trigger_on_bare(
    bare_aws: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[int]]:
    """Play a trigger that is slower than Cognito waits, beside all tests; gives its calls' number.

    A release of MiniStack that waits no longer has no switch to wait less.
    """
    pool = ScriptedPool.make(bare_aws, tmp_path_factory.mktemp("slow-triggers"), name="slow")

    def slow() -> int:
        pool.play(CreateAuthChallenge={"slow_calls": 9, "seconds": 5.5})
        pool.initiate(pool.new_user())
        return len(pool.events("CreateAuth"))

    with ThreadPoolExecutor() as beside:
        yield beside.submit(slow)


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
