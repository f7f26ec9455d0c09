"""The checks of signing in, on pools that sign everybody in, nobody, or tell too much."""

import time
from types import SimpleNamespace
from typing import Any, override

import boto3
import httpx
import pytest

from lambdas.email_otp.code_key import CodeKey
from tests.aws import sign_in
from tests.aws.check import Check, Failed
from tests.aws.sign_in import Mailed, SignedIn
from tests.aws.stack import Response, Stack, User
from tests.support.hosted_stand_in import OUTPUTS, REGION

CODE = "314159"


class Keys:
    """A code key."""

    def current(self) -> CodeKey:
        return CodeKey(version="EXAMPLE", secret=b"example-key-not-a-secret")


class Pool(Stack):
    """A pool that answers without asking anybody.

    Attributes:
        answers: What the next answers to challenges get; the last one for ever.
        told: The challenge's parameters.
    """

    keys = Keys()  # type: ignore[assignment]

    def __init__(self, *answers: Response | None, **told: str) -> None:
        super().__init__(boto3.Session(region_name=REGION), OUTPUTS, httpx.Client())
        self.answers = [*answers]
        self.told = {
            "delivery": "EMAIL",
            "code_length": "6",
            "expires_at": str(int(time.time()) + 300),
            "attempts_left": "3",
            "status": "sent",
        } | told
        self.verified = "true"

    @override
    def new_user(self, *, newcomer: bool = False, mailbox: str = "success") -> User:
        return User(self.new_address(), "a-sub")

    @override
    def begin(self, address: str, *, public: bool = False) -> Response:
        return challenge(**self.told)

    @override
    def answer(self, challenge: Response, answer: str, *, public: bool = False) -> Response | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @override
    def last_code_of(self, ledger_key: str) -> str | None:
        return CODE

    @override
    def attributes(self, username: str) -> dict[str, str]:
        return {"email_verified": self.verified}


def challenge(**told: str) -> Response:
    return {"Session": "a-session", "ChallengeParameters": {"USERNAME": "a-sub"} | told}


def needed(each: Check, pool: Pool) -> list[Any]:
    mailed = Mailed(pool.new_user(), pool.begin(""), CODE)
    results = {
        sign_in.code_is_mailed: mailed,
        sign_in.agent_signs_in: SignedIn(mailed, {}),
        sign_in.wrong_codes_end_session: mailed.user,
    }
    return [results[other] for other in each.needs]


TOKENS: Response = {"AuthenticationResult": {"AccessToken": "x"}}


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        (sign_in.code_works_once, "the same session took the code again"),
        (sign_in.wrong_codes_end_session, "a wrong code signed in"),
        (sign_in.session_answers_once, "a Session that was used took the right code"),
        (sign_in.unknown_looks_known, "nobody was signed in"),
        (sign_in.expired_code_is_refused, "it signed in"),
    ],
)
def test_pool_that_signs_everybody_in_fails(each: Check, reason: str) -> None:
    pool = Pool(TOKENS, expires_at="0")
    with pytest.raises(Failed, match=reason):
        each.run(pool, *needed(each, pool))


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        (sign_in.agent_signs_in, "the right code brought no tokens"),
        (sign_in.anybody_signs_in, "the right code brought no tokens"),
        (sign_in.nobody_is_locked_out, "brought no tokens"),
        (sign_in.wrong_codes_end_session, "attempts_left is 0, not 2"),
    ],
)
def test_pool_that_signs_nobody_in_fails(each: Check, reason: str) -> None:
    pool = Pool(None)
    with pytest.raises(Failed, match=reason):
        each.run(pool, *needed(each, pool))


def test_code_that_works_again_in_another_session_fails() -> None:
    pool = Pool(None, TOKENS)
    with pytest.raises(Failed, match="another session took the code again"):
        sign_in.code_works_once.run(pool, *needed(sign_in.code_works_once, pool))


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ([challenge(attempts_left="0")], "the session went on after the last attempt"),
        ([None, TOKENS], "an ended session took the code"),
    ],
)
def test_session_that_does_not_end_fails(last: list[Response | None], reason: str) -> None:
    pool = Pool(challenge(attempts_left="2"), challenge(attempts_left="1"), *last)
    with pytest.raises(Failed, match=reason):
        sign_in.wrong_codes_end_session.run(pool)


def test_pool_that_counts_no_wrong_answers_fails() -> None:
    with pytest.raises(Failed, match="attempts_left is 3, not 2"):
        sign_in.wrong_codes_end_session.run(Pool(challenge(attempts_left="3")))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"status": "throttled"}, "the challenge's status is throttled"),
        ({"delivery": "SMS"}, "does not say how the code goes out"),
        ({"code_length": "8"}, "code_length is not the code's"),
        ({"expires_at": "0"}, "the code has expired already"),
    ],
)
def test_challenge_that_tells_wrong_things_fails(told: dict[str, str], reason: str) -> None:
    with pytest.raises(Failed, match=reason):
        sign_in.code_is_mailed.run(Pool(None, **told))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"email": "a***@e***.com"}, "its challenge has other parameters"),
        ({"status": "throttled"}, "its status is different"),
    ],
)
def test_pool_that_tells_who_exists_fails(told: dict[str, str], reason: str) -> None:
    known = needed(sign_in.unknown_looks_known, Pool(None))
    with pytest.raises(Failed, match=reason):
        sign_in.unknown_looks_known.run(Pool(None, **told), *known)


def test_address_that_is_verified_before_its_code_was_right_fails() -> None:
    pool = Pool(None)
    with pytest.raises(Failed, match="email_verified is true, not false"):
        sign_in.address_is_verified.run(pool, *needed(sign_in.address_is_verified, pool))


def test_expired_code_that_still_seems_good_fails() -> None:
    pool = Pool(challenge(status="sent"), expires_at="0")
    with pytest.raises(Failed, match="the next challenge's status is sent"):
        sign_in.expired_code_is_refused.run(pool, *needed(sign_in.expired_code_is_refused, pool))


def test_pool_in_which_anybody_signs_up_fails() -> None:
    pool = Pool(None)
    pool.public_cognito = SimpleNamespace(sign_up=lambda **_: {})
    with pytest.raises(Failed, match="SignUp made a user"):
        sign_in.no_self_sign_up.run(pool)
