"""Rules that others wrote for templates: cdk-nag's AwsSolutions and Serverless, and cfn-lint's.

What they find and is right here is listed with a reason; a line that no longer applies has to go.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from infra.local.ministack import ROOT
from tests.support.template import new_app

EVERYTHING: dict[str, Any] = {
    "agent": True,
    "alarm_email": "ops@example.com",
    "create_sender_identity": True,
    "model_id": "eu.amazon.nova-lite-v1:0",
    "waf": True,
    "web": True,
}


@dataclass(frozen=True)
class Suppression:
    """A rule that does not apply to some constructs, by their paths in the stack."""

    rule: str
    paths: tuple[str, ...]
    reason: str


def wildcards(paths: tuple[str, ...], reason: str, *found: str) -> list[Suppression]:
    """Return what cdk-nag says of wildcards in a policy: each is a finding of its own."""
    return [Suppression(f"AwsSolutions-IAM5[{each}]", paths, reason) for each in found]


TRIGGERS = (
    "SignIn/DefineAuthChallenge",
    "SignIn/CreateAuthChallenge",
    "SignIn/VerifyAuthChallengeResponse",
)
SWEEP = "Forgetting/Function"
POLICIES_OF_TRIGGERS = tuple(f"{each}Role/DefaultPolicy" for each in TRIGGERS)
RUNTIMES_ROLES = "Agent/GuestRole", "Agent/MemberRole"
# CDK's function that copies the page into its bucket, on a deploy alone.
COPYING = "Custom::CDKBucketDeployment8693BB64968944B69AAFB0CC9EB8756C"
LOG_GROUPS = "Resource::arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:"
LOGS_OF_GUESTS = f"{LOG_GROUPS}/aws/bedrock-agentcore/runtimes/EmailOtpAgentAC794D6AGuest*"
LOGS_OF_MEMBERS = f"{LOG_GROUPS}/aws/bedrock-agentcore/runtimes/EmailOtpAgentAC794D6AMember*"

ONE_PYTHON = (
    "Triggers, agent and tools are tested on one Python, 3.13, which Lambda supports until 2029."
)
NEXT_RUN = (
    "A run that failed or was lost is made up for by the next, within the hour; an alarm tells."
)
CDKS_RUNTIME = "CDK chooses the runtime of its own function, and moves it with its releases."
CDKS_POLICY = (
    "CDK writes this policy: its function reads the assets and writes the page's bucket alone."
)
OF_ONE_RUNTIME = (
    "AgentCore makes the log group and its streams, with an id at the end of the runtime's name."
)

SUPPRESSIONS = [
    *wildcards(
        (*POLICIES_OF_TRIGGERS, "Forgetting/FunctionRole/DefaultPolicy"),
        "X-Ray has no resource that a policy could name.",
        "Resource::*",
    ),
    *wildcards(
        ("SignIn/CreateAuthChallengeRole/DefaultPolicy",),
        "In its sandbox SES checks the recipient's identity too; a condition names the sender.",
        "Resource::arn:<AWS::Partition>:ses:<AWS::Region>:<AWS::AccountId>:identity/*",
    ),
    Suppression(
        "AwsSolutions-SMG4",
        ("SignIn/CodeKey",),
        "What is derived from it lives ten minutes at most, and it can be rotated by hand at any "
        "time: README, Limits.",
    ),
    Suppression(
        "AwsSolutions-COG1",
        ("SignIn/UserPool",),
        "No flow of the client takes a password, and those of the users are random and unknown.",
    ),
    Suppression(
        "AwsSolutions-COG2",
        ("SignIn/UserPool",),
        "A code by e-mail is the one factor here, and the README claims no more.",
    ),
    Suppression(
        "AwsSolutions-COG8",
        ("SignIn/UserPool",),
        "The plan Plus costs more for every guest; the ledger limits guesses and mails on each.",
    ),
    Suppression("AwsSolutions-L1", (*TRIGGERS, SWEEP), ONE_PYTHON),
    Suppression("Serverless-LambdaLatestVersion", (*TRIGGERS, SWEEP), ONE_PYTHON),
    Suppression("Serverless-LambdaDLQ", (SWEEP,), NEXT_RUN),
    Suppression("Serverless-EventBusDLQ", ("Forgetting/EachHour",), NEXT_RUN),
    Suppression(
        "Serverless-LambdaDLQ",
        TRIGGERS,
        "Cognito waits for the answer: no event of theirs is queued that could be lost.",
    ),
    Suppression(
        "Serverless-SNSRedrivePolicy",
        ("Monitoring/Alarms/ops@example.com",),
        "SNS tries a mail again for hours; the dashboard shows what an alarm that was lost said.",
    ),
    *wildcards(("Agent/GuestRole",), OF_ONE_RUNTIME, LOGS_OF_GUESTS),
    *wildcards(("Agent/GuestRole",), OF_ONE_RUNTIME, f"{LOGS_OF_GUESTS}:log-stream:*"),
    *wildcards(("Agent/MemberRole",), OF_ONE_RUNTIME, LOGS_OF_MEMBERS),
    *wildcards(("Agent/MemberRole",), OF_ONE_RUNTIME, f"{LOGS_OF_MEMBERS}:log-stream:*"),
    *wildcards(RUNTIMES_ROLES, "DescribeLogGroups lists all or none.", f"{LOG_GROUPS}*"),
    *wildcards(
        RUNTIMES_ROLES,
        "An inference profile hands on to its one model in regions that AWS chooses.",
        "Resource::arn:<AWS::Partition>:bedrock:*::foundation-model/amazon.nova-lite-v1:0",
    ),
    *wildcards(
        ("Agent/IdentityRole/DefaultPolicy",),
        "The endpoints of the one runtime that guests may call.",
        "Resource::<AgentGuestE6C3A7AA.AgentRuntimeArn>/*",
    ),
    Suppression(
        "AwsSolutions-COG7",
        ("Agent/Guests",),
        "A guest has no account yet; the credentials open the guest runtime and nothing else.",
    ),
    Suppression(
        "AwsSolutions-S1",
        ("Web/Bucket",),
        "CloudFront alone reads this bucket of public files; a log of that would be one more "
        "store, of network addresses.",
    ),
    Suppression(
        "AwsSolutions-CFR1",
        ("Web/Distribution",),
        "Guests travel, so the page is for every country.",
    ),
    Suppression(
        "AwsSolutions-CFR2",
        ("Web/Distribution",),
        "Files that anybody may read need no firewall; what can be abused is the pool, which `waf` "
        "is for.",
    ),
    Suppression(
        "AwsSolutions-CFR3",
        ("Web/Distribution",),
        "Logs of visitors' network addresses are personal data that nobody asked to keep.",
    ),
    Suppression(
        "AwsSolutions-CFR4",
        ("Web/Distribution",),
        "CloudFront's own name brings its own certificate and policy; README says how to host "
        "the page under another.",
    ),
    Suppression("AwsSolutions-L1", (COPYING,), CDKS_RUNTIME),
    Suppression("Serverless-LambdaLatestVersion", (COPYING,), CDKS_RUNTIME),
    Suppression(
        "Serverless-LambdaDLQ",
        (COPYING,),
        "CloudFormation hears how it ended, and fails the deploy if it did not end well.",
    ),
    Suppression(
        "Serverless-LambdaTracing",
        (COPYING,),
        "It runs on a deploy, and its log says all; CDK has no setting for it.",
    ),
    Suppression(
        "AwsSolutions-IAM4"
        "[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]",
        (f"{COPYING}/ServiceRole",),
        "CDK chooses the role of its own function; the policy lets it write logs and no more.",
    ),
    *wildcards(
        (f"{COPYING}/ServiceRole/DefaultPolicy",),
        CDKS_POLICY,
        "Action::s3:Abort*",
        "Action::s3:DeleteObject*",
        "Action::s3:GetBucket*",
        "Action::s3:GetObject*",
        "Action::s3:List*",
        "Resource::<WebBucketE51352C0.Arn>/*",
        "Resource::arn:<AWS::Partition>:s3:::cdk-hnb659fds-assets-<AWS::AccountId>-<AWS::Region>/*",
    ),
]
SUPPRESSED = {(path, each.rule) for each in SUPPRESSIONS for path in each.paths}
PACKS = {"AwsSolutions", "Serverless"}


@dataclass(frozen=True)
class Judged:
    """A template, and what the packs say of it: paths and rules."""

    template: Path
    packs: set[str]
    findings: set[tuple[str, str]]


def judge(**settings: Any) -> Judged:
    """Synthesise under both packs, of which warnings count as much as errors."""
    app = new_app(**settings)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    with pytest.raises(RuntimeError, match=r"validation-report\.json"):
        app.synth()  # CDK writes everything, then raises
    reports = json.loads(Path(app.outdir, "validation-report.json").read_text())["pluginReports"]
    return Judged(
        template=Path(app.outdir, "EmailOtp.template.json"),
        packs={report["pluginName"] for report in reports},
        findings={
            (
                construct["constructPath"].removeprefix("EmailOtp/").removesuffix("/Resource"),
                violation["ruleName"],
            )
            for report in reports
            for violation in report["violations"]
            for construct in violation["violatingConstructs"]
        },
    )


@pytest.fixture(scope="module")
def everything() -> Judged:
    """Return the stack with all that can be had."""
    return judge(**EVERYTHING)


@pytest.fixture(scope="module")
def plain() -> Judged:
    """Return what `cdk deploy -c sender=login@example.com` deploys."""
    return judge()


def test_stack_with_everything_keeps_both_packs_but_for_what_is_listed(everything: Judged) -> None:
    assert everything.packs >= PACKS
    assert everything.findings - SUPPRESSED == set()


def test_plain_stack_keeps_both_packs_but_for_what_is_listed(plain: Judged) -> None:
    assert plain.packs >= PACKS
    assert plain.findings - SUPPRESSED == set()


def test_every_suppression_still_applies(everything: Judged) -> None:
    assert SUPPRESSED - everything.findings == set()


def test_every_suppression_is_listed_once_and_has_a_reason() -> None:
    assert len(SUPPRESSED) == sum(len(each.paths) for each in SUPPRESSIONS)
    assert all(each.reason.endswith(".") and " " in each.reason for each in SUPPRESSIONS)


def test_cfn_lint_has_nothing_to_say(everything: Judged, plain: Judged) -> None:
    """But that CDK names a role among what a function waits for, and in its properties too."""
    templates = [str(each.template) for each in (everything, plain)]
    linting = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--format", "json", *templates],
        cwd=everything.template.parent,  # no configuration file of this machine
        capture_output=True,
        text=True,
        check=False,
    )
    assert not linting.stderr
    findings = json.loads(linting.stdout)
    assert {each["Filename"] for each in findings} == set(templates)
    assert [each for each in findings if each["Rule"]["Id"] != "W3005"] == []
    assert {each["Location"]["Path"][2] for each in findings} == {"DependsOn"}


def test_nothing_that_is_deployed_needs_these_tools() -> None:
    """They are for tests: a deployment installs neither."""
    sources = [ROOT / "app.py"]
    for folder in ("agent", "infra", "lambdas"):
        sources += (ROOT / folder).rglob("*.py")
    assert not [
        each
        for each in sources
        if "node_modules" not in each.parts and "cdk_nag" in each.read_text("utf-8")
    ]
