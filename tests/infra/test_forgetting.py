"""The sweep's function: when it runs, what it knows, and exactly what it may do."""

from tests.support.template import Template, synthesise

HANDLER = "forget_unanswered"


def test_it_runs_each_hour_and_nobody_else_may_start_it(aws: Template, local: Template) -> None:
    for template in (aws, local):
        rule = template.only("AWS::Events::Rule")
        function = template.function(HANDLER)
        (arn,) = (
            template.arn(each)
            for each in template.resources("AWS::Lambda::Function").values()
            if each["Properties"] == function
        )
        assert rule["Properties"]["State"] == "ENABLED"
        assert rule["Properties"]["ScheduleExpression"] == "cron(17 * * * ? *)"
        assert [target["Arn"] for target in rule["Properties"]["Targets"]] == [arn]
        (permission,) = (
            each["Properties"]
            for each in template.resources("AWS::Lambda::Permission").values()
            if each["Properties"]["FunctionName"] == arn
        )
        assert permission["Principal"] == "events.amazonaws.com"
        assert permission["SourceArn"] == template.arn(rule)


def test_it_has_the_time_and_the_machine_of_a_long_run(aws: Template) -> None:
    function = aws.function(HANDLER)
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
    assert (function["Timeout"], function["MemorySize"]) == (900, 512)
    assert function["TracingConfig"] == {"Mode": "Active"}


def test_its_logs_are_kept_for_a_month(aws: Template) -> None:
    log_group = aws.body["Resources"][aws.function(HANDLER)["LoggingConfig"]["LogGroup"]["Ref"]]
    assert log_group["Properties"]["RetentionInDays"] == 30
    assert log_group["DeletionPolicy"] == "Delete"


def test_its_environment(aws: Template) -> None:
    pool = aws.arn(aws.only("AWS::Cognito::UserPool"))["Fn::GetAtt"][0]
    guests, ledger = (aws.arn(aws.table(key))["Fn::GetAtt"][0] for key in ("cognito_sub", "sub"))
    assert aws.function(HANDLER)["Environment"]["Variables"] == {
        "POWERTOOLS_SERVICE_NAME": HANDLER,
        "POWERTOOLS_METRICS_NAMESPACE": "EmailOtp",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "USER_POOL_ID": {"Ref": pool},
        "GUESTS_TABLE_NAME": {"Ref": guests},
        "LEDGER_TABLE_NAME": {"Ref": ledger},
        "FORGET_UNANSWERED_AFTER_HOURS": "24",
    }


def test_setting_reaches_it() -> None:
    slower = synthesise(forget_unanswered_after_hours=48)
    variables = slower.function(HANDLER)["Environment"]["Variables"]
    assert variables["FORGET_UNANSWERED_AFTER_HOURS"] == "48"


def test_it_removes_users_and_ledger_items_and_of_guests_changes_its_lists_alone(
    aws: Template,
) -> None:
    """T45: not even by mistake can it change a guest's record."""
    log_group = aws.function(HANDLER)["LoggingConfig"]["LogGroup"]["Ref"]
    guests = aws.arn(aws.table("cognito_sub"))
    assert aws.statements(HANDLER) == [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": {"Fn::GetAtt": [log_group, "Arn"]},
        },
        # X-Ray has no resource that a policy could name.
        {
            "Effect": "Allow",
            "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": ["cognito-idp:AdminDeleteUser", "cognito-idp:AdminGetUser"],
            "Resource": aws.arn(aws.only("AWS::Cognito::UserPool")),
        },
        {
            "Effect": "Allow",
            "Action": ["dynamodb:DeleteItem", "dynamodb:UpdateItem"],
            "Resource": aws.arn(aws.table("sub")),
        },
        {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": guests},
        {
            "Effect": "Allow",
            "Action": ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:UpdateItem"],
            "Resource": guests,
            "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["newcomers#*"]}},
        },
    ]
