"""The settings of the service."""

import pytest

from agent.service.settings import ServiceSettings
from agent.sign_in.settings import SettingsError

GOOD = {
    "USER_POOL_ID": "eu-west-1_AbCdEf123",
    "USER_POOL_CLIENT_ID": "client1",
    "GUESTS_TABLE_NAME": "guests",
    "AWS_REGION": "eu-west-1",
    "MODEL_ID": "offline",
}


def test_defaults() -> None:
    settings = ServiceSettings.load(GOOD)
    assert (settings.app_name, settings.port) == ("Guest desk", 8080)
    assert settings.issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf123"


def test_what_is_set_is_used() -> None:
    chosen = {"APP_NAME": "Harbour Inn", "MODEL_ID": "eu.example.model-1", "PORT": "65535"}
    settings = ServiceSettings.load(GOOD | chosen)
    assert settings.app_name == "Harbour Inn"
    assert settings.model_id == "eu.example.model-1"
    assert settings.port == 65535


@pytest.mark.parametrize("model_id", ["", "  ", None])
def test_no_model_is_served_by_accident(model_id: str | None) -> None:
    """Not even the rule-based one: it has a name to ask for it by."""
    environment = {name: value for name, value in GOOD.items() if name != "MODEL_ID"}
    if model_id is not None:
        environment["MODEL_ID"] = model_id
    with pytest.raises(SettingsError, match=r"MODEL_ID is not set: .* offline"):
        ServiceSettings.load(environment)


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        ServiceSettings.load({"PORT": "http"})
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        "USER_POOL_ID",
        "USER_POOL_CLIENT_ID",
        "GUESTS_TABLE_NAME",
        "AWS_REGION",
        "MODEL_ID",
        "PORT",
    ]


@pytest.mark.parametrize("port", ["http", "0", "65536", "\u00b2", "8" * 5000])
def test_port_that_cannot_be_right_is_named(port: str) -> None:
    with pytest.raises(SettingsError, match="PORT"):
        ServiceSettings.load(GOOD | {"PORT": port})
