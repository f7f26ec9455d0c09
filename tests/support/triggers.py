"""The three triggers in one process, and the events that Cognito calls them with."""

import importlib
import json
import sys
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.session import Session

from infra.local.ministack import ROOT
from lambdas.email_otp import clients
from lambdas.email_otp.code_key import CodeKey
from lambdas.email_otp.user import User
from tests.support import aws_stand_in
from tests.support.aws_stand_in import SECRET_ARN, TABLE
from tests.support.clock import Clock

EVENTS = ROOT / "tests" / "events"
POOL = "us-east-1_EXAMPLE01"
"""The user pool of tests/events."""
SUB = "11111111-2222-3333-4444-555555555555"
SIMULATOR = "success@simulator.amazonses.com"
"""SES's mailbox simulator, whom the events mail."""
EVENTS_ISSUED_AT = 1767225600
"""When the challenges in tests/events were issued, epoch seconds."""

UNREADABLE_METADATA: list[object] = [
    None,
    "",
    "null",
    "{}",
    "[]",
    "[1]",
    '"text"',
    '{"id":1}',
    "no JSON",
    "[" * 100_000,
    5,
    {},
]
"""What is no challenge of these triggers, in the place of `challengeMetadata`."""

ENVIRONMENT = {
    "LEDGER_TABLE_NAME": TABLE,
    "CODE_KEY_SECRET_ARN": SECRET_ARN,
    "CODE_TTL_SECONDS": "300",
    "CODE_LENGTH": "6",
    "MAX_ATTEMPTS": "3",
    "MAX_SENDS_PER_HOUR": "1000",
    "MAX_NEW_GUESTS_PER_HOUR": "200",
    "SENDER": "login@example.com",
    "APP_NAME": "Harbour Rooms",
    "POWERTOOLS_SERVICE_NAME": "email-otp",
    "POWERTOOLS_METRICS_NAMESPACE": "EmailOtp",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "example",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_EC2_METADATA_DISABLED": "true",
}
CONTEXT = SimpleNamespace(
    function_name="trigger",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:trigger",
    aws_request_id="00000000-0000-0000-0000-000000000000",
)

PUBLIC_PARAMETERS = {
    "delivery",
    "code_length",
    "expires_at",
    "attempts_left",
    "status",
    "retry_after_seconds",
    "busy",
}

KEY = CodeKey(version="v1", secret=b"example-key")
USER = User(name="ada", known=True, address="ada@example.com", locale="", email_verified=True)
"""Ada, as the handlers hand a user to what they share."""

type Event = dict[str, Any]


def saved_event(name: str) -> Event:
    """Return an event of tests/events, by its file's name."""
    event: Event = json.loads((EVENTS / f"{name}.json").read_text())
    return event


_make_session = clients.session.__wrapped__


@cache
def aws_session() -> Session:
    """Return the session to put in the place of the clients' own."""
    made = real_session()
    aws_stand_in.answer(made)
    return made


def real_session() -> Session:
    """Make a session as the functions do; its clients call AWS."""
    return _make_session()


@cache
def handler_modules() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Import Define, Create and Verify as Lambda does: with their environment set."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(clients, "session", aws_session)
        triggers = (
            "define_auth_challenge",
            "create_auth_challenge",
            "verify_auth_challenge_response",
        )
        names = [f"lambdas.{trigger}" for trigger in triggers]
        for name in names:
            sys.modules.pop(name, None)
        define, create, verify = (importlib.import_module(name) for name in names)
        # It may be here already, imported by a test outside of this folder, without a namespace.
        metrics = sys.modules["lambdas.email_otp.observability"].metrics
        metrics.namespace = ENVIRONMENT["POWERTOOLS_METRICS_NAMESPACE"]
        metrics.service = ENVIRONMENT["POWERTOOLS_SERVICE_NAME"]
        return define, create, verify


def started(trigger: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """Import a handler anew, as a process that starts does."""
    patch.delitem(sys.modules, f"lambdas.{trigger}")
    return importlib.import_module(f"lambdas.{trigger}")


class Lambdas:
    """One warm process of each trigger. Several may stand side by side, each with its key cache."""

    def __init__(self, clock: Clock, *, short_cut: bool = False, **settings: Any) -> None:
        from lambdas.email_otp.answering import Answerer
        from lambdas.email_otp.code_key import CodeKeys
        from lambdas.email_otp.issuing import Issuer
        from lambdas.email_otp.ledger import Ledger
        from lambdas.email_otp.mailer import Mailer

        self.define_module, self.create_module, self.verify_module = handler_modules()
        self.settings = replace(self.create_module.settings, **settings)
        ttl_seconds = self.settings.code_ttl_seconds
        dynamodb, ses, secrets_manager, _ = aws_clients(short_cut=short_cut)
        self.ledger = Ledger(dynamodb, TABLE, code_ttl_seconds=ttl_seconds, clock=clock)
        mailer = Mailer(
            ses,
            sender=self.settings.sender,
            app_name=self.settings.app_name,
            code_ttl_seconds=ttl_seconds,
        )
        create_keys = CodeKeys(secrets_manager, SECRET_ARN)
        self.issuer = Issuer(self.ledger, mailer, create_keys, self.settings)
        self.verify_keys = CodeKeys(secrets_manager, SECRET_ARN)
        self.answerer = Answerer(self.ledger, self.verify_keys, code_ttl_seconds=ttl_seconds)

    def define(self, event: Event) -> Event:
        """Call Define and return its response."""
        return _response(self.define_module.handler(_through_json(event), CONTEXT))

    def create(self, event: Event) -> Event:
        """Call Create and return its response."""
        module: Any = self.create_module
        module.issuer = self.issuer
        return _response(module.handler(_through_json(event), CONTEXT))

    def verify(self, event: Event) -> bool:
        """Call Verify and return whether it took the answer."""
        module: Any = self.verify_module
        module.answerer = self.answerer
        correct = _response(module.handler(_through_json(event), CONTEXT))["answerCorrect"]
        assert isinstance(correct, bool)
        return correct


@dataclass(frozen=True)
class Guest:
    """Who signs in: a user of the pool, or a name nobody has."""

    name: str = SUB
    email: str | None = "ada@example.com"
    locale: str | None = None
    email_verified: str = "true"

    def first_round(self) -> Event:
        """Return Create's event of a new sign-in."""
        return self._event("create_first_round", session=[])

    def later_round(self, created: Event, *, rounds: int = 1) -> Event:
        """Return Create's event after wrong answers to what an earlier Create returned."""
        return self._event("create_later_round", session=[answered(created)] * rounds)

    def decided(self, rounds: list[Event]) -> Event:
        """Return Define's event after some rounds."""
        return self._event("define_first_round", session=rounds)

    def answer(self, created: Event, answer: object) -> Event:
        """Return Verify's event for an answer to what Create returned."""
        return self._event(
            "verify_right_answer",
            privateChallengeParameters=created["privateChallengeParameters"],
            challengeAnswer=answer,
        )

    def _event(self, template: str, **request: Any) -> Event:
        event = saved_event(template)
        event["userName"] = self.name
        event["request"] |= request
        if self.email is None:
            event["request"] |= {"userAttributes": {}, "userNotFound": True}
        else:
            attributes = {
                "sub": self.name,
                "email": self.email,
                "email_verified": self.email_verified,
                "cognito:user_status": "CONFIRMED",
            }
            if self.locale is not None:
                attributes["locale"] = self.locale
            event["request"]["userAttributes"] = attributes
        return event


ADA = Guest()
NEWCOMER = Guest(email_verified="false")
"""Ada before she ever signed in."""
BOB = Guest(name="22222222-3333-4444-5555-666666666666", email="bob@example.com")
NOBODY = Guest(name="33333333-4444-4555-8666-777777777777", email=None)


def answered(created: Event, *, correct: bool = False) -> Event:
    """Return one entry of a later event's `session`."""
    return {
        "challengeName": "CUSTOM_CHALLENGE",
        "challengeResult": correct,
        "challengeMetadata": created["challengeMetadata"],
    }


def wrong(code: str) -> str:
    """Return another code of the same length."""
    return str((int(code) + 1) % 10 ** len(code)).zfill(len(code))


def assert_well_formed_definition(response: Event) -> None:
    """Check that one step is chosen."""
    assert isinstance(response["issueTokens"], bool)
    assert isinstance(response["failAuthentication"], bool)
    ended = response["issueTokens"] or response["failAuthentication"]
    assert not (response["issueTokens"] and response["failAuthentication"])
    assert ended or response["challengeName"] == "CUSTOM_CHALLENGE"


def assert_well_formed_challenge(response: Event) -> None:
    """Check what Cognito wants: text in every parameter, and a private one."""
    public, private = response["publicChallengeParameters"], response["privateChallengeParameters"]
    assert set(public) == PUBLIC_PARAMETERS
    assert private
    assert all(isinstance(value, str) for value in [*public.values(), *private.values()])
    assert isinstance(response["challengeMetadata"], str)
    assert public["status"] in {"sent", "throttled", "expired"}


@cache
def aws_clients(*, short_cut: bool) -> tuple[Any, Any, Any, Any]:
    """Return the ledger's, the mailer's, the code key's client and Cognito's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(clients, "session", aws_session)
        made = clients.dynamodb(), clients.ses(), clients.secrets_manager(), clients.cognito()
        if not short_cut:
            return made
        dynamodb, ses, secrets_manager, cognito = (aws_stand_in.ShortCut(each) for each in made)
        return dynamodb, ses, secrets_manager, cognito


def _through_json(event: Event) -> Event:
    """Copy an event as Lambda hands it over, so that no test relies on shared objects."""
    copied: Event = json.loads(json.dumps(event))
    return copied


def _response(event: Event) -> Event:
    response: Event = json.loads(json.dumps(event))["response"]
    return response
