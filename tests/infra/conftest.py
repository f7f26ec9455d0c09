"""The synthesised templates that infra tests share: one synth a variant, for the whole run."""

import pytest

from tests.support.template import Template, synthesise


@pytest.fixture(scope="session")
def aws() -> Template:
    """Return what `cdk deploy -c sender=login@example.com` deploys."""
    return synthesise()


@pytest.fixture(scope="session")
def tuned() -> Template:
    """Return the stack with other than the default settings."""
    return synthesise(
        create_sender_identity=True,
        app_name="Guest desk",
        code_length=8,
        code_ttl_seconds=600,
        max_attempts=2,
        max_sends_per_hour=50,
        max_new_guests_per_hour=20,
        access_token_minutes=5,
        refresh_token_days=7,
        refresh_token_rotation=False,
        alarm_email="ops@example.com",
        removal_policy="destroy",
        waf=True,
    )


@pytest.fixture(scope="session")
def hosted() -> Template:
    """Return the stack with the agent and the page."""
    return synthesise(agent=True, web=True, model_id="eu.amazon.nova-lite-v1:0")


@pytest.fixture(scope="session")
def protected() -> Template:
    """Return the stack whose users and guests nobody deletes by mistake."""
    return synthesise(removal_policy="protect")


@pytest.fixture(scope="session")
def local() -> Template:
    """Return what goes into MiniStack."""
    return synthesise(local=True)
