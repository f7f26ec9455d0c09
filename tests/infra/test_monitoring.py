"""The dashboard and the alarms: what they show is counted, what rings is in the runbook."""

import ast
import json
import re
from itertools import combinations
from typing import Any, get_args

import pytest

from infra.local.ministack import ROOT
from lambdas.email_otp.answering import Decision
from tests.support.template import Template, synthesise

RUNBOOK = "docs/runbook.md"
HOUR, FIVE_MINUTES = 3600, 300
COUNTED_BY_LAMBDA = {"Errors": "Sum", "Throttles": "Sum", "Duration": "p99"}
COUNTED_BY_SES = {"Bounce", "Complaint", "Reject"}


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    """Return the alarms' properties by their names in `infra/monitoring.py`."""
    return {
        logical_id.removeprefix("Monitoring")[:-8]: alarm["Properties"]
        for logical_id, alarm in template.resources("AWS::CloudWatch::Alarm").items()
    }


def value_of(alarm: dict[str, Any], data: dict[str, float]) -> float:
    """Work out an alarm's expression from metrics by id; the others have no data."""
    expression, *metrics = alarm["Metrics"]
    ids = {metric["Id"] for metric in metrics}
    assert data.keys() <= ids
    known = {metric: data.get(metric) for metric in ids} | {
        "FILL": lambda metric, filler: filler if metric is None else metric,
        "MAX": max,
        "IF": lambda condition, yes, no: yes if condition else no,
    }
    return float(eval(expression["Expression"], {}, known))  # noqa: S307 - the template's own


def rings(template: Template, name: str, **data: float) -> bool:
    alarm = alarms(template)[name]
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    return value_of(alarm, data) >= float(alarm["Threshold"])


def rendered(value: Any) -> str:
    """Write a template's value out, with resources' names for what AWS will know of them."""
    match value:
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(map(rendered, parts))
        case {"Ref": name}:
            return str(name)
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
    return str(value)


def widgets(template: Template) -> list[dict[str, Any]]:
    body = rendered(template.only("AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"])
    return list(json.loads(body)["widgets"])


def lines(widget: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """Return a graph's metrics and expressions: what each is of, and its options."""
    return [(line[:-1], line[-1]) for line in widget["properties"].get("metrics", [])]


def named_metrics(template: Template) -> set[tuple[str, ...]]:
    """Return every metric of an alarm or a widget: its namespace, name, dimension and statistic."""
    found = {
        (*metric, options["stat"])
        for widget in widgets(template)
        for metric, options in lines(widget)
        if metric
    }
    for alarm in alarms(template).values():
        for statistic in (each["MetricStat"] for each in alarm["Metrics"][1:]):
            metric = statistic["Metric"]
            (dimension,) = metric["Dimensions"]
            found.add(
                (
                    metric["Namespace"],
                    metric["MetricName"],
                    dimension["Name"],
                    rendered(dimension["Value"]),
                    statistic["Stat"],
                )
            )
    return found


def counted_by(module: str) -> set[str]:
    """Return the metrics that a module of the triggers counts, with those that it imports."""
    source = ROOT / f"{module.replace('.', '/')}.py"
    if not source.exists():
        return set()
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        match node:
            case ast.Call(
                func=ast.Name("count"),
                args=[ast.JoinedStr(values=[ast.Constant(str(prefix)), ast.FormattedValue()])],
            ):
                found |= {f"{prefix}{each.capitalize()}" for each in get_args(Decision.__value__)}
            case ast.Call(func=ast.Name("count")):
                found |= {
                    each.value
                    for each in ast.walk(node)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
            case ast.ImportFrom(module=str(origin)) if origin.startswith("lambdas"):
                found |= counted_by(origin)
    return found


def test_neither_alarm_nor_dashboard_without_an_address(aws: Template) -> None:
    assert not {
        each["Type"]
        for each in aws.body["Resources"].values()
        if each["Type"].startswith(("AWS::CloudWatch::", "AWS::SNS::"))
    }


def test_every_alarm_is_mailed_to_the_team(tuned: Template) -> None:
    """T02, T10b, T11: the team hears of guesses, of a used-up cap and of refused mails."""
    (topic,) = tuned.resources("AWS::SNS::Topic")
    subscription = tuned.only("AWS::SNS::Subscription")["Properties"]
    assert subscription == {
        "Endpoint": "ops@example.com",
        "Protocol": "email",
        "TopicArn": {"Ref": topic},
    }
    assert alarms(tuned)
    for alarm in alarms(tuned).values():
        assert alarm["AlarmActions"] == [{"Ref": topic}]
        assert alarm["TreatMissingData"] == "notBreaching"


def test_alarms_watch_an_hour_of_guests_and_minutes_of_triggers(tuned: Template) -> None:
    watched = {}
    for name, alarm in alarms(tuned).items():
        (seconds,) = {each["MetricStat"]["Period"] for each in alarm["Metrics"][1:]}
        watched[name] = (seconds, alarm["EvaluationPeriods"])
    assert watched == {
        "HourlyCapNear": (HOUR, 1),
        "NewcomersBudgetNear": (HOUR, 1),
        "CodesGuessed": (HOUR, 1),
        "MailsBounce": (HOUR, 1),
        "MailsReported": (HOUR, 1),
        "NobodySignsIn": (HOUR, 1),
        "SweepFails": (HOUR, 1),
        "TriggersFail": (FIVE_MINUTES, 1),
        "TriggersThrottled": (FIVE_MINUTES, 1),
        # One slow call in a quiet quarter of an hour is no alarm.
        "TriggersSlow": (FIVE_MINUTES, 3),
    }


@pytest.mark.parametrize(
    ("name", "quiet", "loud"),
    [
        ("HourlyCapNear", {"codeSent": 39}, {"codeSent": 40}),
        (
            "HourlyCapNear",
            {"codeSent": 20, "longCodeSent": 19},
            {"codeSent": 20, "longCodeSent": 20},
        ),
        ("NewcomersBudgetNear", {"newcomerCodeSent": 15}, {"newcomerCodeSent": 16}),
        (
            "NewcomersBudgetNear",
            {"newcomerCodeSent": 5, "mailboxFull": 10},
            {"newcomerCodeSent": 5, "mailboxFull": 10, "newcomersBudgetUsedUp": 1},
        ),
        ("CodesGuessed", {"answerWrong": 49}, {"answerWrong": 50}),
        (
            "CodesGuessed",
            {"answerWrong": 399, "codeSent": 200, "newcomerCodeSent": 100, "longCodeSent": 100},
            {"answerWrong": 400, "codeSent": 200, "newcomerCodeSent": 100, "longCodeSent": 100},
        ),
        # One guest of four who mistypes their address.
        ("MailsBounce", {"bounces": 4, "newcomerCodeSent": 16}, {"bounces": 5}),
        (
            "MailsBounce",
            {"bounces": 29, "codeSent": 500, "newcomerCodeSent": 90, "longCodeSent": 10},
            {"bounces": 30, "codeSent": 500, "newcomerCodeSent": 90, "longCodeSent": 10},
        ),
        ("MailsReported", {"complaints": 0}, {"complaints": 1}),
        ("TriggersFail", {"errorsCreate": 4}, {"errorsCreate": 5}),
        ("TriggersFail", {"errorsDefine": 4}, {"errorsDefine": 2, "errorsVerify": 3}),
        ("TriggersThrottled", {"throttlesDefine": 4}, {"throttlesDefine": 4, "throttlesVerify": 1}),
        ("TriggersSlow", {"durationCreate": 2999}, {"durationCreate": 3000}),
        (
            "TriggersSlow",
            {"durationCreate": 2000, "durationVerify": 2000},
            {"durationVerify": 3000},
        ),
        ("SweepFails", {"errorsSweep": 2}, {"errorsSweep": 3}),
        ("NobodySignsIn", {"started": 19}, {"started": 20}),
        ("NobodySignsIn", {"started": 1000, "done": 1}, {"started": 1000, "done": 0}),
    ],
)
def test_alarm_rings_from_its_threshold_on(
    tuned: Template, name: str, quiet: dict[str, float], loud: dict[str, float]
) -> None:
    assert not rings(tuned, name)
    assert not rings(tuned, name, **quiet)
    assert rings(tuned, name, **loud)


def test_newcomers_do_not_bring_the_cap_of_returning_guests_near(tuned: Template) -> None:
    metrics = alarms(tuned)["HourlyCapNear"]["Metrics"][1:]
    counted = {each["MetricStat"]["Metric"]["MetricName"] for each in metrics}
    assert counted == {"CodeSent", "LongCodeSent"}


def test_alarms_may_publish_to_their_topic_and_nobody_without_tls(tuned: Template) -> None:
    """A policy of one's own replaces the one that lets alarms publish."""
    (topic,) = tuned.resources("AWS::SNS::Topic")
    policy = tuned.only("AWS::SNS::TopicPolicy")["Properties"]
    assert policy["Topics"] == [{"Ref": topic}]
    denied, allowed = policy["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Principal"]) == ("Deny", "*")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert allowed.pop("Sid")
    assert allowed == {
        "Effect": "Allow",
        "Action": "sns:Publish",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        "Resource": {"Ref": topic},
    }


def test_alarm_of_the_smallest_cap_waits_for_a_mail() -> None:
    smallest = synthesise(max_sends_per_hour=1, alarm_email="ops@example.com")
    assert not rings(smallest, "HourlyCapNear", codeSent=0)
    assert rings(smallest, "HourlyCapNear", codeSent=1)


def test_slow_triggers_ring_before_cognito_gives_up(tuned: Template) -> None:
    """A quarter of Cognito's time is left for a process's start, which is not in `Duration`."""
    milliseconds = alarms(tuned)["TriggersSlow"]["Threshold"]
    assert milliseconds <= tuned.function("create_auth_challenge")["Timeout"] * 1000 * 0.75


def test_every_metric_that_is_named_is_one_that_a_trigger_counts(tuned: Template) -> None:
    """Under that trigger's own names, which are those of its environment."""
    own = {
        (
            environment["POWERTOOLS_METRICS_NAMESPACE"],
            name,
            "service",
            environment["POWERTOOLS_SERVICE_NAME"],
            "Sum",
        )
        for function in tuned.resources("AWS::Lambda::Function").values()
        for environment in [function["Properties"]["Environment"]["Variables"]]
        for name in counted_by(function["Properties"]["Handler"].removesuffix(".handler"))
        # Lambda's own count of errors holds these too.
        if name != "TriggerFailed"
    }
    of_lambda = {
        ("AWS/Lambda", name, "FunctionName", function, statistic)
        for function in tuned.resources("AWS::Lambda::Function")
        for name, statistic in COUNTED_BY_LAMBDA.items()
        # The sweep takes as long as it needs, and who misses its turn has another in an hour.
        if name == "Errors" or not function.startswith("Forgetting")
    }
    (configuration_set,) = tuned.resources("AWS::SES::ConfigurationSet")
    of_ses = {
        ("AWS/SES", name, "ses:configuration-set", configuration_set, "Sum")
        for name in COUNTED_BY_SES
    }
    assert len(own) == 17
    assert named_metrics(tuned) == own | of_lambda | of_ses


def test_dashboard_shows_all_that_is_counted(tuned: Template) -> None:
    shown = {metric[1] for widget in widgets(tuned) for metric, _ in lines(widget) if metric}
    assert shown == {metric[1] for metric in named_metrics(tuned)}


def test_dashboards_of_two_regions_do_not_share_a_name(tuned: Template) -> None:
    name = tuned.only("AWS::CloudWatch::Dashboard")["Properties"]["DashboardName"]
    assert rendered(name) == "EmailOtp-AWS::Region"


def test_dashboard_begins_with_the_state_of_every_alarm(tuned: Template) -> None:
    first, *others = widgets(tuned)
    assert first["type"] == "alarm"
    assert sorted(first["properties"]["alarms"]) == sorted(
        f"{alarm}.Arn" for alarm in tuned.resources("AWS::CloudWatch::Alarm")
    )
    assert {each["type"] for each in others} == {"metric"}
    assert all(first["y"] + first["height"] <= each["y"] for each in others)


def test_widgets_have_titles_and_do_not_overlap(tuned: Template) -> None:
    shown = widgets(tuned)
    assert len({each["properties"]["title"] for each in shown}) == len(shown)
    for each in shown:
        assert each["x"] >= 0
        assert each["x"] + each["width"] <= 24
    for one, other in combinations(shown, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        above = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or above


def test_expressions_of_graphs_use_their_own_hidden_metrics(tuned: Template) -> None:
    """Every id as CloudWatch wants them, and every line that is seen has a plain name."""
    expressions = 0
    for widget in widgets(tuned):
        ids = [options["id"] for _, options in lines(widget) if "id" in options]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_]*", each) for each in ids)
        used: set[str] = set()
        for metric, options in lines(widget):
            if not metric:
                expressions += 1
                used |= set(re.findall(r"FILL\((\w+), 0\)", options["expression"]))
            # CDK labels an expression with itself.
            plain = options.get("label") not in (None, options.get("expression"))
            assert plain or options["visible"] is False
        assert used == set(ids)
    assert expressions == 2


def limited(template: Template, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the graph of a metric that has lines across it, and these lines."""
    (graph,) = (
        each
        for each in widgets(template)
        if "annotations" in each["properties"]
        and name in {metric[1] for metric, _ in lines(each) if metric}
    )
    return graph, graph["properties"]["annotations"]["horizontal"]


def test_durations_stand_beside_what_cognito_waits(tuned: Template) -> None:
    graph, (line,) = limited(tuned, "Duration")
    assert {metric[1] for metric, _ in lines(graph)} == {"Duration"}
    assert line["value"] == tuned.function("create_auth_challenge")["Timeout"] * 1000


def test_mails_of_an_hour_stand_beside_their_budgets(tuned: Template) -> None:
    graph, budgets = limited(tuned, "CodeSent")
    assert {metric[1] for metric, _ in lines(graph)} == {"CodeSent", "NewcomerCodeSent"}
    assert graph["properties"]["period"] == HOUR
    assert not any("period" in options for _, options in lines(graph))
    assert {each["label"]: each["value"] for each in budgets} == {
        "max_sends_per_hour": 50,
        "max_new_guests_per_hour": 20,
    }


def test_runbook_has_a_heading_for_each_alarm_and_no_other(tuned: Template) -> None:
    """The mail names the heading."""
    runbook = (ROOT / RUNBOOK).read_text("utf-8")
    alarms_part = re.search(r"^## Alarms\n(.*?)^## ", runbook, re.MULTILINE | re.DOTALL)
    assert alarms_part
    headings = re.findall(r"^### (.*)$", alarms_part[1], re.MULTILINE)
    assert sorted(headings) == sorted(alarms(tuned))
    readme = (ROOT / "README.md").read_text("utf-8")
    assert {*re.findall(r"\]\(docs/runbook\.md#(\w+)\)", readme)} == {
        name.lower() for name in alarms(tuned)
    }
    for name, alarm in alarms(tuned).items():
        assert alarm["AlarmDescription"].endswith(f" What to do: {name} in {RUNBOOK}.")
