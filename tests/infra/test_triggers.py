"""The trigger functions: their contract with the handlers, and exactly what each may do."""

import pytest

from tests.support.template import Template, written

HANDLERS = ["define_auth_challenge", "create_auth_challenge", "verify_auth_challenge_response"]


@pytest.fixture(params=HANDLERS)
def handler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_function_ends_when_cognito_stops_waiting(aws: Template, handler: str) -> None:
    assert aws.function(handler)["Timeout"] == 5


def test_runtime_and_memory(aws: Template) -> None:
    for handler in HANDLERS:
        function = aws.function(handler)
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
    assert [aws.function(handler)["MemorySize"] for handler in HANDLERS] == [512, 1024, 1024]


def test_logs_are_kept_for_a_month(aws: Template, handler: str) -> None:
    log_group = aws.function(handler)["LoggingConfig"]["LogGroup"]["Ref"]
    assert aws.body["Resources"][log_group]["Properties"]["RetentionInDays"] == 30


def test_calls_are_traced(aws: Template, handler: str) -> None:
    assert aws.function(handler)["TracingConfig"] == {"Mode": "Active"}


def powertools(handler: str) -> dict[str, str]:
    return {
        "POWERTOOLS_SERVICE_NAME": handler,
        "POWERTOOLS_METRICS_NAMESPACE": "EmailOtp",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


def ledger_and_key(template: Template) -> dict[str, object]:
    (ledger,) = (
        name
        for name, table in template.resources("AWS::DynamoDB::Table").items()
        if table == template.table("sub")
    )
    return {
        "LEDGER_TABLE_NAME": {"Ref": ledger},
        "CODE_KEY_SECRET_ARN": template.arn(template.only("AWS::SecretsManager::Secret"), "Id"),
    }


def configuration_set(template: Template) -> str:
    (name,) = template.resources("AWS::SES::ConfigurationSet")
    return name


def test_environment_of_each_trigger(aws: Template) -> None:
    environments = [aws.function(handler)["Environment"]["Variables"] for handler in HANDLERS]
    shared = ledger_and_key(aws) | {"CODE_TTL_SECONDS": "300"}
    assert environments == [
        powertools(HANDLERS[0]),
        powertools(HANDLERS[1])
        | shared
        | {
            "CONFIGURATION_SET_NAME": {"Ref": configuration_set(aws)},
            "SENDER": "login@example.com",
            "APP_NAME": "example.com",
            "CODE_LENGTH": "6",
            "MAX_ATTEMPTS": "3",
            "MAX_SENDS_PER_HOUR": "1000",
            "MAX_NEW_GUESTS_PER_HOUR": "200",
        },
        powertools(HANDLERS[2]) | shared,
    ]


def test_settings_reach_the_triggers(tuned: Template) -> None:
    create = tuned.function("create_auth_challenge")["Environment"]["Variables"]
    expected = {
        "APP_NAME": "Guest desk",
        "CODE_LENGTH": "8",
        "CODE_TTL_SECONDS": "600",
        "MAX_ATTEMPTS": "2",
        "MAX_SENDS_PER_HOUR": "50",
        "MAX_NEW_GUESTS_PER_HOUR": "20",
    }
    assert expected.items() <= create.items()
    verify = tuned.function("verify_auth_challenge_response")["Environment"]["Variables"]
    assert verify["CODE_TTL_SECONDS"] == "600"


def logs_statement(template: Template, handler: str) -> dict[str, object]:
    log_group = template.function(handler)["LoggingConfig"]["LogGroup"]["Ref"]
    return {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": {"Fn::GetAtt": [log_group, "Arn"]},
    }


# X-Ray has no resource that a policy could name.
TRACE = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
TRACES: dict[str, object] = {"Effect": "Allow", "Action": TRACE, "Resource": "*"}


def code_key_statement(template: Template) -> dict[str, object]:
    return {
        "Effect": "Allow",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": template.arn(template.only("AWS::SecretsManager::Secret"), "Id"),
    }


def test_define_may_write_its_log_and_traces_and_nothing_else(aws: Template) -> None:
    handler = "define_auth_challenge"
    assert aws.statements(handler) == [logs_statement(aws, handler), TRACES]


def ledger_statement(template: Template) -> dict[str, object]:
    return {
        "Effect": "Allow",
        "Action": "dynamodb:UpdateItem",
        "Resource": template.arn(template.table("sub")),
    }


def test_create_may_use_ledger_key_and_its_sender(aws: Template) -> None:
    ses = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:"
    *others, mail = aws.statements("create_auth_challenge")
    assert others == [
        logs_statement(aws, "create_auth_challenge"),
        TRACES,
        ledger_statement(aws),
        code_key_statement(aws),
    ]
    assert written(mail) == {
        "Effect": "Allow",
        "Action": "ses:SendEmail",
        # SES checks the configuration set that a mail names as a resource of its own.
        "Resource": [
            f"{ses}configuration-set/${{{configuration_set(aws)}}}",
            f"{ses}identity/*",
        ],
        "Condition": {"StringEquals": {"ses:FromAddress": "login@example.com"}},
    }


def test_create_in_ministack_differs_in_the_mail_statement_alone(local: Template) -> None:
    assert local.statements("create_auth_challenge") == [
        logs_statement(local, "create_auth_challenge"),
        # CDK makes one statement of what is about the same resources.
        TRACES | {"Action": ["ses:SendEmail", *TRACE]},
        ledger_statement(local),
        code_key_statement(local),
    ]


def test_verify_may_use_ledger_and_key_and_mark_addresses(aws: Template) -> None:
    handler = "verify_auth_challenge_response"
    assert aws.statements(handler) == [
        logs_statement(aws, handler),
        TRACES,
        ledger_statement(aws),
        code_key_statement(aws),
        {
            "Effect": "Allow",
            "Action": "cognito-idp:AdminUpdateUserAttributes",
            "Resource": aws.arn(aws.only("AWS::Cognito::UserPool")),
        },
    ]


def test_only_lambda_may_assume_the_functions_roles(aws: Template) -> None:
    roles = aws.resources("AWS::IAM::Role").values()
    assert len(roles) == 4
    for role in roles:
        assert role["Properties"]["AssumeRolePolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "lambda.amazonaws.com"},
            }
        ]


def test_code_key_is_generated_and_long(aws: Template) -> None:
    secret = aws.only("AWS::SecretsManager::Secret")["Properties"]
    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert "SecretString" not in secret
