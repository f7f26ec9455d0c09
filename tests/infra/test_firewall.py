"""The firewall: what one network address may do, and what it never touches."""

from typing import Any

import pytest

from tests.support.template import Template, written


@pytest.fixture
def rule(tuned: Template) -> dict[str, Any]:
    (found,) = tuned.only("AWS::WAFv2::WebACL")["Properties"]["Rules"]
    return dict(found)


def test_there_is_none_unless_it_is_asked_for(aws: Template) -> None:
    assert not {
        each["Type"]
        for each in aws.body["Resources"].values()
        if each["Type"].startswith("AWS::WAFv2::")
    }


def test_it_is_tied_to_the_pool_and_lets_everything_else_through(tuned: Template) -> None:
    (web_acl,) = tuned.resources("AWS::WAFv2::WebACL")
    association = tuned.only("AWS::WAFv2::WebACLAssociation")["Properties"]
    assert association == {
        "ResourceArn": tuned.arn(tuned.only("AWS::Cognito::UserPool")),
        "WebACLArn": {"Fn::GetAtt": [web_acl, "Arn"]},
    }
    properties = tuned.only("AWS::WAFv2::WebACL")["Properties"]
    assert properties["Scope"] == "REGIONAL"
    assert properties["DefaultAction"] == {"Allow": {}}


def test_one_address_is_blocked_after_300_calls_in_five_minutes(rule: dict[str, Any]) -> None:
    assert rule["Action"] == {"Block": {}}
    statement = rule["Statement"]["RateBasedStatement"]
    assert statement["AggregateKeyType"] == "IP"
    assert (statement["Limit"], statement["EvaluationWindowSec"]) == (300, 300)


def test_calls_of_the_agent_and_refreshes_are_not_counted(rule: dict[str, Any]) -> None:
    """WAF sees no `Admin...` call; `GetUser` it sees, from one address for all members."""
    scope = rule["Statement"]["RateBasedStatement"]["ScopeDownStatement"]
    matches = [each["ByteMatchStatement"] for each in scope["OrStatement"]["Statements"]]
    assert {each["SearchString"] for each in matches} == {"InitiateAuth", "RespondToAuthChallenge"}
    for each in matches:
        assert each["FieldToMatch"] == {"SingleHeader": {"Name": "x-amzn-cognito-operation-name"}}
        assert each["PositionalConstraint"] == "EXACTLY"
        assert each["TextTransformations"] == [{"Priority": 0, "Type": "NONE"}]


def test_what_it_blocks_is_counted_under_names_of_its_own(
    tuned: Template, rule: dict[str, Any]
) -> None:
    web_acl = tuned.only("AWS::WAFv2::WebACL")["Properties"]
    visible = [web_acl["VisibilityConfig"], rule["VisibilityConfig"]]
    assert all(each["CloudWatchMetricsEnabled"] for each in visible)
    names = [written(each["MetricName"]) for each in visible]
    assert len(set(names)) == 2
    assert all(name.startswith("EmailOtpFirewall") for name in names)
