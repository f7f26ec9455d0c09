"""The calls to Cognito: users made once, failures named, and who may not sign in."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import ANY, Stubber

from agent.sign_in.client_only import open_for_client
from agent.sign_in.cognito import Cognito
from agent.sign_in.guests import GuestStore
from agent.sign_in.login import LoginFlow
from agent.sign_in.outcomes import CodeSent, ErrorCode, Refused, SignedIn
from tests.support.clock import Clock
from tests.support.fakes import CLIENT_ID, POOL_ID, FakeCognito, Signer, aws_error
from tests.support.logins import Logins, mailed_code

CHAT = "chat-of-ada"
ADA = "ada@example.com"


def test_a_sign_in_costs_three_cognito_calls_and_one_more_for_a_new_guest(
    login: Logins, cognito: FakeCognito
) -> None:
    login.answer_code(CHAT, mailed_code(login, cognito))
    first, cognito.calls = cognito.operations(), []
    login.answer_code(CHAT, mailed_code(login, cognito))
    assert first == [
        "AdminCreateUser",
        "AdminSetUserPassword",
        "AdminInitiateAuth",
        "AdminRespondToAuthChallenge",
    ]
    assert cognito.operations() == [
        "AdminCreateUser",
        "AdminInitiateAuth",
        "AdminRespondToAuthChallenge",
    ]


def test_new_user_is_made_unverified_without_cognitos_mail(
    login: Logins, cognito: FakeCognito
) -> None:
    login.request_code(CHAT, email="ADA@Example.com", locale="de")
    create = cognito.calls[0][1]
    assert create["Username"] == ADA
    assert create["MessageAction"] == "SUPPRESS"
    assert cognito.attributes[ADA] == {"email": ADA, "email_verified": "false", "locale": "de"}
    assert cognito.permanent == {cognito.users[ADA]}


def test_t30_two_first_logins_at_once_create_one_user_after_the_other(
    login: Logins, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cognito itself may keep both users of two calls in the same instant."""
    create, at_once = cognito.admin_create_user, threading.Semaphore(1)

    def create_alone(**arguments: Any) -> dict[str, Any]:
        assert at_once.acquire(blocking=False), "two calls for one address at once"
        time.sleep(0.05)
        try:
            return create(**arguments)
        finally:
            at_once.release()

    monkeypatch.setattr(cognito, "admin_create_user", create_alone)
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda chat: login.request_code(chat, email=ADA), "abcdef"))
    assert [type(outcome) for outcome in outcomes] == [CodeSent] * 6
    assert cognito.operations().count("AdminCreateUser") == 1  # T38: nobody queues for a lock


def test_t30_user_that_another_process_creates_at_once_gets_a_code(
    login: Logins, cognito: FakeCognito
) -> None:
    cognito.users[ADA] = "sub-of-the-other-call"
    cognito.attributes[ADA] = {"email": ADA}
    cognito.fail["AdminCreateUser"] = aws_error("AdminCreateUser", "AliasExistsException")
    outcome = login.answer_code(CHAT, mailed_code(login, cognito))
    assert isinstance(outcome, SignedIn)
    assert open_for_client(outcome.token_delivery)["cognito_sub"] == "sub-of-the-other-call"


def test_discarded_passwords_are_long_and_differ(login: Logins, cognito: FakeCognito) -> None:
    login.request_code(CHAT, email=ADA)
    login.request_code(CHAT, email="bob@example.com")
    passwords = {a["Password"] for o, a in cognito.calls if o == "AdminSetUserPassword"}
    assert len(passwords) == 2
    assert min(map(len, passwords)) > 40


def test_new_user_whose_password_could_not_be_set_signs_in_by_asking_again(
    login: Logins, cognito: FakeCognito
) -> None:
    cognito.fail["AdminSetUserPassword"] = aws_error("AdminSetUserPassword", "InternalError")
    assert login.request_code(CHAT, email=ADA) == Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)
    assert not cognito.mailed
    assert isinstance(login.answer_code(CHAT, mailed_code(login, cognito)), SignedIn)


def test_mail_that_could_not_be_sent_is_named(login: Logins, cognito: FakeCognito) -> None:
    cognito.fail["AdminInitiateAuth"] = aws_error(
        "AdminInitiateAuth",
        "UserLambdaValidationException",
        "CreateAuthChallenge failed with error ERR_EMAIL_DELIVERY_FAILED.",
    )
    assert login.request_code(CHAT, email=ADA) == Refused(
        error_code=ErrorCode.ERR_EMAIL_DELIVERY_FAILED
    )


@pytest.mark.parametrize(
    ("operation", "error", "expected"),
    [
        ("AdminCreateUser", "TooManyRequestsException", ErrorCode.RATE_LIMITED),
        ("AdminInitiateAuth", "TooManyRequestsException", ErrorCode.RATE_LIMITED),
        ("AdminInitiateAuth", "LimitExceededException", ErrorCode.RATE_LIMITED),
        ("AdminInitiateAuth", "ThrottlingException", ErrorCode.RATE_LIMITED),
        ("AdminCreateUser", "InvalidParameterException", ErrorCode.INVALID_EMAIL),
        ("AdminInitiateAuth", "InvalidParameterException", ErrorCode.AUTH_SERVICE_ERROR),
        ("AdminSetUserPassword", "InternalErrorException", ErrorCode.AUTH_SERVICE_ERROR),
        ("AdminInitiateAuth", "UnexpectedLambdaException", ErrorCode.AUTH_SERVICE_ERROR),
        ("AdminInitiateAuth", "UserLambdaValidationException", ErrorCode.AUTH_SERVICE_ERROR),
        ("AdminCreateUser", "AccessDeniedException", ErrorCode.AUTH_SERVICE_ERROR),
    ],
)
def test_failed_code_request_is_mapped_to_a_fixed_error(
    login: Logins, cognito: FakeCognito, operation: str, error: str, expected: ErrorCode
) -> None:
    cognito.fail[operation] = aws_error(operation, error, "secret detail")
    outcome = login.request_code(CHAT, email=ADA)
    assert isinstance(outcome, Refused)
    assert outcome.error_code is expected
    assert (outcome.retry_after_seconds is not None) == (expected is ErrorCode.RATE_LIMITED)
    assert "secret" not in outcome.message


def test_code_request_lost_on_the_way_is_a_fixed_error(login: Logins, cognito: FakeCognito) -> None:
    cognito.fail["AdminInitiateAuth"] = ConnectTimeoutError(endpoint_url="https://x")
    assert login.request_code(CHAT, email=ADA) == Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)


def test_t15_disabled_user_looks_like_any_other(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    def play(email: str) -> list[Any]:
        outcomes: list[Any] = [login.request_code(email, email=email)]
        return outcomes + [login.answer_code(email, "000000") for _ in range(4)]

    cognito.disabled.add("dis@example.com")
    assert play("dis@example.com") == play("dan@example.com")
    login.request_code("late", email="dis@example.com")
    clock.now += 300
    assert login.answer_code("late", "000000") == Refused(error_code=ErrorCode.OTP_EXPIRED)
    assert cognito.mailed == [m for m in cognito.mailed if m[0] != "dis@example.com"]


@pytest.mark.parametrize(
    "code",
    [
        "NotAuthorizedException",
        "UserNotFoundException",
        "UserNotConfirmedException",
        "PasswordResetRequiredException",
    ],
)
def test_t15_user_who_may_not_sign_in_is_told_what_all_are_told(
    login: Logins, cognito: FakeCognito, code: str
) -> None:
    usual = login.request_code("another chat", email=ADA)
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", code)
    assert login.request_code(CHAT, email=ADA) == usual


def test_t15_disabled_user_gets_a_code_like_those_of_the_stacks_settings(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    cognito.disabled.add("dis@example.com")
    cognito.parameters = {"code_length": "10", "attempts_left": "1"}
    login.request_code("long-coded", email="eve@example.com")
    expires_at = str(int(clock.now) + 120)
    cognito.parameters = {"code_length": "8", "attempts_left": "2", "expires_at": expires_at}
    usual = login.request_code("usual", email="dan@example.com")
    clock.now += 20
    login.request_code("joined", email="dan@example.com")
    clock.now += 20

    decoy = login.request_code("decoy", email="dis@example.com")

    assert isinstance(usual, CodeSent)
    assert decoy == usual.model_copy(update={"destination": "d***@e***.com"})


def test_requests_fit_the_real_api(guests: GuestStore, signer: Signer, clock: Clock) -> None:
    """Botocore checks every argument and answer against Cognito's own model."""
    client = boto3.client(
        "cognito-idp",
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    pool = Cognito(client, user_pool_id=POOL_ID, client_id=CLIENT_ID, clock=clock)
    login = Logins(LoginFlow(pool, guests, clock=clock), clock)
    id_token = signer.sign({"sub": "sub-1", "email": ADA})
    with Stubber(client) as stub:
        stub.add_client_error("admin_create_user", "UsernameExistsException")
        stub.add_response(
            "admin_initiate_auth",
            {
                "ChallengeName": "CUSTOM_CHALLENGE",
                "Session": "s" * 40,
                "ChallengeParameters": {"USERNAME": "sub-1", "code_length": "8"},
            },
            {
                "UserPoolId": POOL_ID,
                "ClientId": CLIENT_ID,
                "AuthFlow": "CUSTOM_AUTH",
                "AuthParameters": {"USERNAME": ADA},
            },
        )
        stub.add_response(
            "admin_respond_to_auth_challenge",
            {
                "AuthenticationResult": {
                    "IdToken": id_token,
                    "AccessToken": id_token,
                    "RefreshToken": "refresh",
                    "ExpiresIn": 900,
                }
            },
            {
                "UserPoolId": POOL_ID,
                "ClientId": CLIENT_ID,
                "ChallengeName": "CUSTOM_CHALLENGE",
                "Session": "s" * 40,
                "ChallengeResponses": {"USERNAME": "sub-1", "ANSWER": "12345678"},
                "ClientMetadata": {"correlation_id": ANY},
            },
        )
        login.request_code(CHAT, email=ADA)
        assert isinstance(login.answer_code(CHAT, "12345678"), SignedIn)
        stub.assert_no_pending_responses()


def test_t40_requests_with_one_token_at_once_ask_cognito_once(
    login: Logins, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T40: so do those with a token it refuses, until a minute has passed."""
    ask = cognito.get_user

    def slow(**arguments: Any) -> dict[str, Any]:
        time.sleep(0.05)
        return ask(**arguments)

    monkeypatch.setattr(cognito, "get_user", slow)
    cognito.refused.add("revoked")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(login.flow.cognito.is_signed_in, ["good", "revoked"] * 4))
    assert told == [True, False] * 4
    assert cognito.operations() == ["GetUser"] * 2


def test_enabled_again_is_signed_in_again_after_a_minute(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    cognito.refused.add("token")
    assert not login.flow.cognito.is_signed_in("token")
    cognito.refused.clear()
    clock.now += 59
    assert not login.flow.cognito.is_signed_in("token")
    clock.now += 1
    assert login.flow.cognito.is_signed_in("token")


def test_t40_tokens_that_begin_alike_are_told_apart(login: Logins, cognito: FakeCognito) -> None:
    """T40: as all of one pool do, for hundreds of characters."""
    ada, bob = "x" * 1_000 + "ada", "x" * 1_000 + "bob"
    cognito.refused.add(bob)
    assert login.flow.cognito.is_signed_in(ada)
    assert not login.flow.cognito.is_signed_in(bob)


def test_t38_users_of_two_addresses_are_created_at_once(
    login: Logins, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, both = cognito.admin_create_user, threading.Barrier(2)

    def create_both(**arguments: Any) -> Any:
        both.wait(5)
        return create(**arguments)

    monkeypatch.setattr(cognito, "admin_create_user", create_both)
    addresses = [ADA, "bob@example.com"]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(lambda address: login.request_code(address, email=address), addresses)
        )
    assert [type(outcome) for outcome in outcomes] == [CodeSent] * 2
    assert {address for address, _ in cognito.mailed} == set(addresses)


def test_creation_that_failed_is_tried_by_who_waited(
    login: Logins, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, failures = cognito.admin_create_user, [aws_error("AdminCreateUser", "InternalError")]

    def create_at_last(**arguments: Any) -> Any:
        time.sleep(0.1)
        if failures:
            raise failures.pop()
        return create(**arguments)

    monkeypatch.setattr(cognito, "admin_create_user", create_at_last)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda chat: login.request_code(chat, email=ADA), "ab"))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CodeSent", "Refused"]
    assert len(cognito.mailed) == 1
