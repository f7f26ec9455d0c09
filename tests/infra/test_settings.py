"""Settings: what is accepted, and the sentence that refuses what is not."""

import re
from dataclasses import MISSING, Field, fields
from typing import Any

import pytest

from infra.local.ministack import ROOT
from infra.settings import Settings, SettingsError
from lambdas.email_otp.settings import CreateSettings, described


def from_context(**context: Any) -> Settings:
    return Settings.from_context({"sender": "login@example.com", **context})


def test_sender_alone_gives_the_defaults() -> None:
    assert from_context() == Settings(
        sender="login@example.com",
        create_sender_identity=False,
        app_name="example.com",
        code_length=6,
        code_ttl_seconds=300,
        max_attempts=3,
        max_sends_per_hour=1000,
        max_new_guests_per_hour=200,
        forget_unanswered_after_hours=24,
        waf=False,
        access_token_minutes=15,
        refresh_token_days=30,
        refresh_token_rotation=True,
        alarm_email=None,
        agent=False,
        model_id=None,
        web=False,
        removal_policy="retain",
        local=False,
    )


@pytest.mark.parametrize(
    "model_id",
    [
        "offline",
        "amazon.nova-lite-v1:0",
        "us-gov.anthropic.claude-3-haiku-20240307-v1:0:200k",
        "minimax.minimax-m2.5",
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3",
        "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:custom-model/amazon.nova-lite-v1:0/a1b2c3",
    ],
)
def test_agent_takes_models_and_profiles_by_id_or_arn(model_id: str) -> None:
    settings = from_context(agent="true", web="true", model_id=model_id)
    assert (settings.agent, settings.web, settings.model_id) == (True, True, model_id)


@pytest.mark.parametrize(
    "model_id",
    [
        "*",
        "amazon.*",
        "amazon.nova-lite-v1:?",
        "amazon.${aws:username}",
        "arn:aws:bedrock:*:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
        "arn:aws:s3:::bucket/key",
        "amazon nova",
        "amazon.nova-lite-v1:0\n",
        "amazon..nova",
        "nova-lite",
        "OFFLINE",
    ],
)
def test_model_id_that_means_more_in_a_policy_is_refused(model_id: str) -> None:
    with pytest.raises(SettingsError, match=r"model_id is .*: pass the id or ARN of a Bedrock"):
        from_context(agent=True, model_id=model_id)


@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        ({"agent": True}, "model_id is missing: pass the Bedrock model that the agent asks"),
        ({"web": True}, "web needs the agent: pass agent=true"),
        ({"model_id": "offline"}, "model_id needs the agent: pass agent=true"),
        ({"agent": "yes"}, "agent is 'yes': pass agent=true or agent=false"),
    ],
)
def test_agent_and_page_say_what_they_need(context: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        from_context(**context)


def test_strings_of_the_command_line_become_their_types() -> None:
    settings = from_context(
        code_length="10", create_sender_identity="true", refresh_token_rotation="False"
    )
    assert settings.code_length == 10
    assert settings.create_sender_identity is True
    assert settings.refresh_token_rotation is False


def test_numbers_and_booleans_of_cdk_json_are_taken() -> None:
    settings = from_context(code_length=10, create_sender_identity=True, max_attempts=1.0)
    assert (settings.code_length, settings.create_sender_identity) == (10, True)
    assert settings.max_attempts == 1


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("code_length", 6, 10),
        ("code_ttl_seconds", 60, 600),
        ("max_attempts", 1, 3),
        ("max_sends_per_hour", 1, 1_000_000),
        ("max_new_guests_per_hour", 1, 2000),
        ("forget_unanswered_after_hours", 2, 168),
        ("access_token_minutes", 5, 1440),
        ("refresh_token_days", 1, 3650),
    ],
)
def test_numbers_have_ranges(name: str, low: int, high: int) -> None:
    assert getattr(from_context(**{name: str(low)}), name) == low
    assert getattr(from_context(**{name: str(high)}), name) == high
    for outside in (low - 1, high + 1):
        with pytest.raises(SettingsError, match=rf"{name} is {outside}: .* {low} to {high}$"):
            from_context(**{name: outside})


def test_trigger_takes_what_the_stack_takes() -> None:
    for ends in (
        {"code_length": 6, "code_ttl_seconds": 60, "max_attempts": 1, "max_sends_per_hour": 1},
        {
            "code_length": 10,
            "code_ttl_seconds": 600,
            "max_attempts": 3,
            "max_sends_per_hour": 1_000_000,
        },
    ):
        settings = from_context(**ends)
        environment = CreateSettings.to_environment(settings)
        read = CreateSettings.from_environment(environment)
        assert {name: getattr(read, name) for name in ends} == ends


def row(field: Field[Any]) -> str:
    """Write a setting as the README's table has it."""
    kind, setting = described(field)
    match field.default:
        case default if default is MISSING:
            shown = "required"
        case bool() as default:
            shown = f"`{str(default).lower()}`"
        case int() as default:
            shown = str(default)
        case "":
            shown = "the sender's domain"
        case None:
            shown = "none"
        case default:
            shown = f"`{default}`"
    bounds = f", {setting.low} to {setting.high}" if kind is int else ""
    return f"| `{field.name}` | {shown} | {setting.meaning}{bounds} |"


def test_readme_says_what_every_setting_means() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| setting | default | meaning |\n| --- | --- | --- |\n")[2]
    told = re.match(r"(\|.*\n)*", table)
    assert told
    assert sorted(told[0].splitlines()) == sorted(row(field) for field in fields(Settings))


@pytest.mark.parametrize("value", ["", "six", "6.5", "-6", "٦", 6.5, True, "9" * 5000])
def test_number_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"code_length is .*: pass a whole number"):
        from_context(code_length=value)


@pytest.mark.parametrize("value", ["", "yes", "1", 1, "true "])
def test_boolean_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"local is .*: pass local=true or local=false"):
        from_context(local=value)


@pytest.mark.parametrize("name", ["sender", "alarm_email"])
@pytest.mark.parametrize(
    "address",
    [
        "",
        "login",
        "@example.com",
        "login@",
        "login@localhost",
        "Desk <login@example.com>",
        "login@example.com, other@example.com",
        "login@example.com\r\nBcc: other@example.com",
        "login@example.com\n",
        "lo gin@example.com",
        "login..desk@example.com",
        ".login@example.com",
        "login@exam_ple.com",
        "login@-example.com",
        "login@example..com",
        "logín@example.com",
        "login@ехample.com",  # noqa: RUF001 - a homoglyph domain
        "*@example.com",
        "${aws:username}@example.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 60 + ("." + "c" * 60) * 4 + ".com",
        5,
    ],
)
def test_address_that_is_not_plain_is_refused(name: str, address: object) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is .*: pass "):
        from_context(**{name: address})


def test_address_with_tag_and_subdomain_is_taken() -> None:
    assert from_context(sender="Sign-in+de@mail.example.com").app_name == "mail.example.com"


@pytest.mark.parametrize("name", ["two\nlines", " padded ", "tab\t", "x" * 65, "bell\a"])
def test_app_name_that_is_not_one_line_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"app_name .*: pass"):
        from_context(app_name=name)


def test_unknown_removal_policy_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"removal_policy is 'keep': pass retain .* or destroy"):
        from_context(removal_policy="keep")


@pytest.mark.parametrize("name", ["kode_length", "codeLength", "CODE_LENGTH", "agents"])
def test_name_that_is_no_setting_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is no setting: did you mean [a-z_]+[?]$"):
        from_context(**{name: "7"})


def test_cdks_own_context_is_left_alone() -> None:
    own = {"@aws-cdk/core:flag": True, "aws:cdk:key": 1, "acknowledged-issue-numbers": [1]}
    assert from_context(**own) == from_context()
