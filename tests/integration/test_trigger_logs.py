"""T22: what a trigger's whole process writes while every logger says everything."""

import os
import subprocess
import sys

from infra.local.ministack import ROOT
from tests.support.triggers import ENVIRONMENT

# Whole sign-ins, with faults, of a process in which every logger there is says everything.
CANARY = """
import logging
logging.basicConfig(level=logging.DEBUG)
from aws_lambda_powertools.logging import utils
from tests.support import aws_stand_in
from tests.support.clock import Clock
from tests.support.triggers import *
from lambdas.email_otp import clients
patch = pytest.MonkeyPatch()
handler_modules()
patch.setattr(clients, "session", aws_session)
aws = aws_stand_in.renew()
clock = Clock(EVENTS_ISSUED_AT)
lambdas = Lambdas(clock)
secrets = []
for guest in (ADA, BOB, NEWCOMER):
    event = guest.first_round()
    event["request"]["clientMetadata"] = {"note": "canary-metadata", "correlation_id": "canary@x"}
    created = lambdas.create(event)
    code = aws.mails[-1].code
    lambdas.define(guest.decided([answered(created)]))
    lambdas.verify(guest.answer(created, "canary answer"))
    lambdas.verify(guest.answer(created, code))
    secrets.append(code)
clock.now += 60
aws.faults["AdminUpdateUserAttributes"] = aws_stand_in.refuse("AliasExistsException")
lambdas.verify(NOBODY.answer(lambdas.create(NOBODY.first_round()), "canary answer"))
throttled = {"UpdateItem": aws_stand_in.refuse("ThrottlingException")}
aws.after["SendEmail"] = lambda: aws.faults.update(throttled)
unnoted = lambdas.create(NEWCOMER.first_round())
del aws.faults["UpdateItem"]
secrets.append(aws.mails[-1].code)
assert lambdas.verify(NEWCOMER.answer(unnoted, aws.mails[-1].code))
def refuse_and_throttle():
    aws.faults.update(throttled)
    aws_stand_in.refuse("MessageRejected")()
aws.faults["SendEmail"] = refuse_and_throttle
clock.now += 60
for call in (lambda: lambdas.create(ADA.first_round()), lambda: lambdas.verify(
    BOB.answer(created, "0")), lambda: lambdas.define({"request": "canary-event"})):
    try:
        call()
    except Exception as error:
        assert str(error) in ("AUTH_SERVICE_ERROR", "ERR_EMAIL_DELIVERY_FAILED"), error
root = logging.getLogger()
assert root.level == logging.DEBUG
print("LOGGED ALL OF", *secrets)
"""


def test_no_code_address_or_event_is_logged_at_any_level() -> None:
    """T22: every logger at DEBUG, and Powertools told to log the event."""
    environment = {
        **ENVIRONMENT,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "POWERTOOLS_LOGGER_LOG_EVENT": "true",
        "POWERTOOLS_LOG_LEVEL": "DEBUG",
        "POWERTOOLS_DEBUG": "true",
    }
    run = subprocess.run(
        [sys.executable, "-c", CANARY],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    output, _, codes = run.stdout.partition("LOGGED ALL OF ")
    logged = output + run.stderr
    assert "challenge created" in logged
    assert "DEBUG" in logged
    for message in ("trigger failed", "delivery not noted", "user not updated"):
        assert message in logged
    for secret in [*codes.split(), "@", "example.com", "canary", "userAttributes", "314159"]:
        assert secret not in logged, secret
