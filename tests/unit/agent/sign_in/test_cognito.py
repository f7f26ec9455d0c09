"""The calls to Cognito: users made once, failures named, and who may not sign in."""

import logging
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
from agent.sign_in.creation_times import CreationTimes
from agent.sign_in.guests import GuestStore
from agent.sign_in.login import LoginFlow
from agent.sign_in.newcomers import Newcomers
from agent.sign_in.outcomes import CodeSent, ErrorCode, Refused, SignedIn
from tests.support.clock import NOW, Clock
from tests.support.fakes import (
    CLIENT_ID,
    POOL_ID,
    FakeCognito,
    FakeDynamoDb,
    Signer,
    aws_error,
)
from tests.support.logins import Logins, mailed_code

CHAT = "chat-of-ada"
ADA = "ada@example.com"
HOUR = NOW // 3600


def hour_of(dynamodb: FakeDynamoDb, hour: int = HOUR) -> dict[str, Any]:
    """Return what is kept of the newcomers of a clock hour."""
    return dynamodb.items.get(f"newcomers#{hour}", {})


def use_up(dynamodb: FakeDynamoDb, hour: int = HOUR, left: int = 0) -> None:
    """Leave so many of an hour's newcomers."""
    dynamodb.items[f"newcomers#{hour}"] = {"created": {"N": str(200 - left)}}


def test_a_sign_in_costs_three_cognito_calls_and_two_more_for_a_new_guest(
    login: Logins, cognito: FakeCognito
) -> None:
    login.answer_code(CHAT, mailed_code(login, cognito))
    first, cognito.calls = cognito.operations(), []
    login.answer_code(CHAT, mailed_code(login, cognito))
    assert first == [
        "AdminGetUser",
        "AdminCreateUser",
        "AdminSetUserPassword",
        "AdminInitiateAuth",
        "AdminRespondToAuthChallenge",
    ]
    assert cognito.operations() == [
        "AdminGetUser",
        "AdminInitiateAuth",
        "AdminRespondToAuthChallenge",
    ]


def test_new_user_is_made_unverified_without_cognitos_mail(
    login: Logins, cognito: FakeCognito
) -> None:
    login.request_code(CHAT, email="ADA@Example.com", locale="de")
    (get, _), (operation, create) = cognito.calls[:2]
    assert (get, operation) == ("AdminGetUser", "AdminCreateUser")
    assert create["Username"] == ADA
    assert create["MessageAction"] == "SUPPRESS"
    assert cognito.attributes[ADA] == {"email": ADA, "email_verified": "false", "locale": "de"}
    assert cognito.permanent == {cognito.users[ADA]}


def test_t30_two_first_logins_at_once_create_one_user_after_the_other(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, monkeypatch: pytest.MonkeyPatch
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
    assert hour_of(dynamodb)["created"] == {"N": "1"}


def test_t30_user_that_another_process_creates_at_once_gets_a_code(
    login: Logins, cognito: FakeCognito
) -> None:
    cognito.users[ADA] = "sub-of-the-other-call"
    cognito.attributes[ADA] = {"email": ADA}
    unknown = aws_error("AdminGetUser", "UserNotFoundException")
    cognito.fail["AdminGetUser"] = unknown  # as it was when this one asked
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
        ("AdminGetUser", "TooManyRequestsException", ErrorCode.RATE_LIMITED),
        ("AdminGetUser", "InvalidParameterException", ErrorCode.INVALID_EMAIL),
        ("AdminGetUser", "NotAuthorizedException", ErrorCode.AUTH_SERVICE_ERROR),
        ("AdminGetUser", "InternalErrorException", ErrorCode.AUTH_SERVICE_ERROR),
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


def test_requests_fit_the_real_api(
    guests: GuestStore, newcomers: Newcomers, signer: Signer, clock: Clock, waits: list[float]
) -> None:
    """Botocore checks every argument and answer against Cognito's own model."""
    client = boto3.client(
        "cognito-idp",
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    pool = Cognito(
        client,
        user_pool_id=POOL_ID,
        client_id=CLIENT_ID,
        newcomers=newcomers,
        creation_times=CreationTimes(sleep=waits.append),
        clock=clock,
    )
    login = Logins(LoginFlow(pool, guests, clock=clock), clock)
    id_token = signer.sign({"sub": "sub-1", "email": ADA})
    with Stubber(client) as stub:
        stub.add_client_error(
            "admin_get_user",
            "UserNotFoundException",
            expected_params={"UserPoolId": POOL_ID, "Username": ADA},
        )
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


def test_t41_users_are_created_within_the_hours_newcomers_and_all_hear_the_same(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, clock: Clock
) -> None:
    """T41: known and beyond the budget, also in what is sent and answered after it."""
    login.request_code("eve's", email="eve@example.com")
    use_up(dynamodb, left=2)
    for name in "abc":
        login.request_code(name, email=f"{name}@example.com")
    assert set(cognito.users) == {"eve@example.com", "a@example.com", "b@example.com"}
    assert hour_of(dynamodb)["created"] == {"N": "200"}

    clock.now += 31

    def play(chat: str, email: str) -> list[Any]:
        sent = login.request_code(chat, email=email)
        return [sent.output(), *(login.answer_code(chat, "000000") for _ in range(4))]

    known, refused = play("known", "eve@example.com"), play("refused", "ed@example.com")
    assert known == refused
    assert known[0]["busy"]
    assert known[0]["try_again_in_minutes"] == 60
    assert "ed@example.com" not in cognito.users


def test_t41_flood_beyond_the_newcomers_writes_nothing(
    login: Logins, dynamodb: FakeDynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T41: a refused write costs as much as one of the whole item."""
    use_up(dynamodb)
    monkeypatch.setattr(dynamodb, "update_item", None)
    for number in range(5):
        assert isinstance(login.request_code(CHAT, email=f"x{number}@example.com"), CodeSent)


def test_t41_returning_guest_costs_none_of_the_newcomers(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    """T41: and gets their mail when all are taken."""
    login.request_code(CHAT, email=ADA)
    use_up(dynamodb)
    outcome = login.answer_code(CHAT, mailed_code(login, cognito))
    assert isinstance(outcome, SignedIn)
    assert hour_of(dynamodb)["created"] == {"N": "200"}


def test_t41_new_hour_has_newcomers_of_its_own(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, clock: Clock
) -> None:
    use_up(dynamodb)
    clock.now += 3_599
    login.request_code("late", email=ADA)
    assert not cognito.users
    clock.now += 1
    sent = login.request_code("new", email=ADA)
    assert isinstance(sent, CodeSent)
    assert not sent.busy
    assert set(cognito.users) == {ADA}


def test_t41_newcomers_used_up_in_between_create_nobody(
    login: Logins,
    cognito: FakeCognito,
    dynamodb: FakeDynamoDb,
    newcomers: Newcomers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T41: others took the last ones between the look and the count."""
    use_up(dynamodb)
    monkeypatch.setattr(newcomers, "are_used_up", lambda: False)
    sent = login.request_code(CHAT, email=ADA)
    assert isinstance(sent, CodeSent)
    assert sent.busy
    assert not cognito.users


def test_t41_refused_newcomer_is_logged_once_and_without_the_address(
    login: Logins, dynamodb: FakeDynamoDb, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="agent")
    login.request_code("known", email="eve@example.com")
    use_up(dynamodb)
    login.request_code("known", email="eve@example.com")
    assert "newcomers' budget used up" not in caplog.messages
    login.request_code(CHAT, email=ADA)
    (line,) = [r for r in caplog.records if r.getMessage() == "newcomers' budget used up"]
    assert line.levelno == logging.INFO
    assert vars(line)["correlation_id"]
    assert ADA not in str(vars(line))


@pytest.mark.parametrize("failing", ["all", "ADD created"])
def test_t41_newcomer_who_cannot_be_counted_is_not_created(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, failing: str
) -> None:
    error = aws_error("UpdateItem", "InternalServerError")
    if failing == "all":
        dynamodb.fail = error
    else:
        dynamodb.fail_on[failing] = error
    assert login.request_code(CHAT, email=ADA) == Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)
    assert cognito.operations() == ["AdminGetUser"]


def test_created_user_is_noted_in_the_hour_that_counted_them(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, clock: Clock
) -> None:
    """Also if the clock has ticked over meanwhile."""
    clock.now += 3_599
    create = cognito.admin_create_user

    def create_late(**arguments: Any) -> Any:
        clock.now += 1
        return create(**arguments)

    cognito.admin_create_user = create_late  # type: ignore[method-assign]
    login.request_code(CHAT, email=ADA)
    assert hour_of(dynamodb)["subs"] == {"SS": [cognito.users[ADA]]}
    assert not hour_of(dynamodb, HOUR + 1)


def test_user_who_could_not_be_noted_signs_in_all_the_same(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, caplog: pytest.LogCaptureFixture
) -> None:
    dynamodb.fail_on["ADD subs"] = aws_error("UpdateItem", "InternalServerError", "canary")
    assert isinstance(login.answer_code(CHAT, mailed_code(login, cognito)), SignedIn)
    assert "newcomer not noted" in caplog.messages
    assert "canary" not in caplog.text + str([vars(record) for record in caplog.records])
    assert cognito.permanent == {cognito.users[ADA]}


def test_user_whose_password_could_not_be_set_is_noted(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    cognito.fail["AdminSetUserPassword"] = aws_error("AdminSetUserPassword", "InternalError")
    login.request_code(CHAT, email=ADA)
    assert hour_of(dynamodb)["subs"] == {"SS": [cognito.users[ADA]]}


def test_t41_known_and_refused_take_as_long_as_a_creation_took(
    login: Logins,
    cognito: FakeCognito,
    dynamodb: FakeDynamoDb,
    clock: Clock,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T41: a disabled user too; what they have done meanwhile counts."""
    create, read = cognito.admin_create_user, dynamodb.get_item

    def create_slowly(**arguments: Any) -> Any:
        clock.now += 5
        return create(**arguments)

    def read_slowly(**arguments: Any) -> Any:
        clock.now += 2
        return read(**arguments)

    monkeypatch.setattr(cognito, "admin_create_user", create_slowly)
    monkeypatch.setattr(dynamodb, "get_item", read_slowly)
    login.request_code("new", email=ADA)
    assert not waits
    login.request_code("known", email=ADA)
    cognito.disabled.add(ADA)
    login.request_code("disabled", email=ADA)
    use_up(dynamodb)
    login.request_code("refused", email="ed@example.com")
    assert waits == [5, 5, 5]


def test_t15_decoy_is_as_busy_as_the_codes_of_this_hour(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    def decoy() -> bool:
        clock.now += 31
        sent = login.request_code("decoy", email="dis@example.com")
        assert isinstance(sent, CodeSent)
        return sent.busy

    cognito.disabled.add("dis@example.com")
    assert not decoy()
    for busy in ("true", "false", "true"):
        cognito.parameters = {"busy": busy}
        login.request_code("usual", email=ADA)
        assert str(decoy()).lower() == busy
    clock.now += 3_600
    assert not decoy()
