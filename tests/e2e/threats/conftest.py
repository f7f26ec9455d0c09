"""The agents under attack: one with an obedient model, one that trusts a key of the tests."""

import time
from collections.abc import Iterator

import pytest

from agent.service.settings import ServiceSettings
from agent.sign_in import EmailOtp
from agent.sign_in.identity import KeySet, TokenVerifier, fetch_jwks
from tests.support.attacks import Member, Puppet
from tests.support.clock import Clock
from tests.support.deployment import Deployment
from tests.support.fakes import Signer
from tests.support.serving import KeyServer, email_otp_of, serving, settings_of


@pytest.fixture(scope="session")
def settings(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    return settings_of(stack, tmp_path_factory.mktemp("threats"))


@pytest.fixture(scope="session")
def email_otp(settings: ServiceSettings) -> EmailOtp:
    return email_otp_of(settings)


@pytest.fixture(scope="session")
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture(scope="session")
def puppet_url(settings: ServiceSettings, email_otp: EmailOtp, puppet: Puppet) -> Iterator[str]:
    """Serve the agent with a model in an attacker's hands."""
    with serving(settings, email_otp=email_otp, model=puppet) as url:
        yield url


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Make a key for the tests to sign tokens with."""
    return Signer()


@pytest.fixture(scope="session")
def key_server(signer: Signer) -> KeyServer:
    return KeyServer(signer.jwks["keys"])


@pytest.fixture(scope="session")
def key_clock() -> Clock:
    """Make the clock of the key set."""
    return Clock()


@pytest.fixture(scope="session")
def signed_url(
    settings: ServiceSettings, email_otp: EmailOtp, key_server: KeyServer, key_clock: Clock
) -> Iterator[str]:
    """Serve the agent, which trusts the tests' key instead of the pool's."""
    with key_server.running() as keys_url:
        verifier = TokenVerifier(
            issuer=settings.issuer,
            client_id=settings.user_pool_client_id,
            keys=KeySet(lambda: fetch_jwks(keys_url), key_clock),
            clock=time.time,
        )
        with serving(settings, email_otp=email_otp, verifier=verifier) as url:
            yield url


@pytest.fixture(scope="session")
def ada(stack: Deployment, agent_url: str) -> Member:
    return Member(stack, agent_url)


@pytest.fixture(scope="session")
def bob(stack: Deployment, agent_url: str) -> Member:
    return Member(stack, agent_url)
