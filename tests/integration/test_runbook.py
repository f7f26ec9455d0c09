"""The runbook's command for users with long codes, as a shell reads it, asked of the ledger."""

import json
import re
import subprocess

from infra.local.ministack import ROOT
from tests.support.deployment import Deployment, other_than


def arguments_of(command: str) -> list[str]:
    """Return what a shell hands to the AWS CLI."""
    shell = f'aws() {{ printf "%s\\n" "$@"; }}\n{command}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.splitlines()


def test_runbook_finds_the_users_who_have_long_codes(stack: Deployment) -> None:
    tried, mistyped = stack.new_user(), stack.new_user()
    for address, wrong_answers in ((tried, 10), (mistyped, 2)):
        for _ in range(wrong_answers // 2):
            challenge = stack.initiate(address)
            code = stack.code_mailed_to(address)
            challenge = stack.respond(challenge, other_than(code))
            stack.respond(challenge, other_than(code))
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    [command] = re.findall(r"(?s)```\n(aws dynamodb scan.*?)```", runbook)
    service, operation, *options = arguments_of(
        command.replace("<OtpLedgerTableName>", stack.outputs["OtpLedgerTableName"])
    )
    assert (service, operation) == ("dynamodb", "scan")
    given = dict(zip(options[::2], options[1::2], strict=True))
    found = stack.dynamodb.scan(
        TableName=given["--table-name"],
        FilterExpression=given["--filter-expression"],
        ProjectionExpression=given["--projection-expression"],
        ExpressionAttributeNames=json.loads(given["--expression-attribute-names"]),
        ExpressionAttributeValues=json.loads(given["--expression-attribute-values"]),
    )
    subs = [item["sub"]["S"] for item in found["Items"]]
    assert stack.attributes(tried)["sub"] in subs
    assert stack.attributes(mistyped)["sub"] not in subs
