"""What each request and answer makes of one chat's sign-in."""

import logging
import threading
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from agent.sign_in.client_only import open_for_client
from agent.sign_in.outcomes import MESSAGES, CodeSent, ErrorCode, Refused, SignedIn
from agent.sign_in.visitor_input import AddressFault
from tests.support.clock import NOW, Clock
from tests.support.fakes import FakeCognito, FakeDynamoDb, aws_error
from tests.support.logins import Logins, mailed_code

CHAT = "chat-of-ada"
THROTTLED = {"status": "throttled", "retry_after_seconds": "540"}
ADA = "ada@example.com"


def wrong(code: str) -> str:
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def test_right_code_signs_in_and_makes_the_guest(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    code = mailed_code(login, cognito)
    outcome = login.answer_code(CHAT, code)
    assert isinstance(outcome, SignedIn)
    event = open_for_client(outcome.token_delivery)
    assert set(event) == {
        "event_type",
        "success",
        "id_token",
        "access_token",
        "refresh_token",
        "expires_in",
        "guest_id",
        "email",
        "cognito_sub",
    }
    assert event["event_type"] == "auth_tokens"
    assert event["cognito_sub"] == cognito.users[ADA]
    assert event["email"] == ADA
    assert dynamodb.items[cognito.users[ADA]]["name"] == {"S": "Ada"}
    assert login.pending[CHAT].code is None


def test_code_sent_tells_the_masked_address_alone(login: Logins) -> None:
    sent = login.request_code(CHAT, email=ADA)
    assert sent == CodeSent(
        destination="a***@e***.com",
        code_length=6,
        expires_in_seconds=300,
        attempts_left=3,
        retry_after_seconds=30,
        new_mail=True,
        busy=False,
    )


def test_wrong_code_keeps_the_login_with_the_new_session(
    login: Logins, cognito: FakeCognito
) -> None:
    code = mailed_code(login, cognito)
    assert login.answer_code(CHAT, wrong(code)) == Refused(
        error_code=ErrorCode.INVALID_OTP, attempts_left=2
    )
    assert login.answer_code(CHAT, wrong(code)) == Refused(
        error_code=ErrorCode.INVALID_OTP, attempts_left=1
    )
    assert isinstance(login.answer_code(CHAT, code), SignedIn)


def test_later_round_that_takes_up_a_newer_code_asks_for_its_digits(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    """And hides its digits as long as it lives."""
    mailed_code(login, cognito)
    clock.now += 250
    cognito.parameters = {"code_length": "16", "expires_at": str(NOW + 2_000)}
    wrong_code = Refused(error_code=ErrorCode.INVALID_OTP, attempts_left=2)
    assert login.answer_code(CHAT, "000000") == wrong_code
    too_short = wrong_code.model_copy(update={"message": "The code has 16 digits."})
    assert login.answer_code(CHAT, "000000") == too_short  # costs none
    cognito.parameters = {}
    (session,) = cognito.sessions
    email, _, left, _ = cognito.sessions[session]
    cognito.sessions[session] = (email, "1234567890123456", left, NOW + 2_000)
    clock.now = NOW + 1_900
    assert login.expects_code(CHAT)
    assert isinstance(login.answer_code(CHAT, "1234567890123456"), SignedIn)


def test_later_round_of_a_code_that_wrong_answers_killed_is_expired(
    login: Logins, cognito: FakeCognito
) -> None:
    mailed_code(login, cognito)
    cognito.parameters = {"status": "expired"}
    over = Refused(error_code=ErrorCode.OTP_EXPIRED, retry_after_seconds=30)
    assert login.answer_code(CHAT, "000000") == over
    pending = Refused(error_code=ErrorCode.NO_LOGIN_PENDING, retry_after_seconds=30)
    assert login.answer_code(CHAT, "000000") == pending


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 60), (1, 60), (60, 59), (3_539, 2), (3_540, 1), (3_599.5, 1)]
)
def test_busy_tells_the_minutes_until_the_clock_hour_ends(
    login: Logins, cognito: FakeCognito, clock: Clock, seconds: float, minutes: int
) -> None:
    clock.now += seconds
    cognito.parameters = {"busy": "true"}
    sent = login.request_code(CHAT, email=ADA)
    assert isinstance(sent, CodeSent)
    assert (sent.busy, sent.try_again_in_minutes) == (True, minutes)
    assert sent.output()["try_again_in_minutes"] == minutes


def test_challenge_of_triggers_that_say_nothing_of_it_is_not_busy(
    login: Logins, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the version before, while an upgrade runs."""
    initiate = cognito.admin_initiate_auth

    def older(**arguments: Any) -> dict[str, Any]:
        response = initiate(**arguments)
        del response["ChallengeParameters"]["busy"]
        return response

    monkeypatch.setattr(cognito, "admin_initiate_auth", older)
    sent = login.request_code(CHAT, email=ADA)
    assert isinstance(sent, CodeSent)
    assert not sent.busy
    assert "try_again_in_minutes" not in sent.output()


def test_third_wrong_code_ends_the_login(login: Logins, cognito: FakeCognito) -> None:
    code = mailed_code(login, cognito)
    for _ in range(2):
        login.answer_code(CHAT, wrong(code))
    over = Refused(error_code=ErrorCode.MAX_ATTEMPTS_EXCEEDED, retry_after_seconds=30)
    assert login.answer_code(CHAT, wrong(code)) == over
    pending = Refused(error_code=ErrorCode.NO_LOGIN_PENDING, retry_after_seconds=30)
    assert login.answer_code(CHAT, code) == pending


def use_up(login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, how: str) -> Refused:
    """End a login without a sign-in; return the last outcome."""
    code = mailed_code(login, cognito)
    if how == "guest not stored":
        dynamodb.fail = aws_error("UpdateItem", "InternalServerError")
    if how == "session lost":
        cognito.sessions.clear()
    answers = [wrong(code)] * 3 if how == "wrong codes" else [code]
    outcome = [login.answer_code(CHAT, answer) for answer in answers][-1]
    dynamodb.fail = None
    assert isinstance(outcome, Refused)
    return outcome


@pytest.mark.parametrize(
    ("how", "known"),
    [
        ("wrong codes", True),
        ("session lost", True),
        ("guest not stored", True),
        ("wrong codes", False),
    ],
)
def test_end_of_a_login_tells_when_a_new_code_can_be_mailed(
    login: Logins,
    cognito: FakeCognito,
    dynamodb: FakeDynamoDb,
    clock: Clock,
    how: str,
    known: bool,
) -> None:
    if not known:
        login.request_code("another chat", email=ADA)
        cognito.disabled.add(ADA)
        cognito.mailed.append((ADA, "000000"))
    cognito.parameters = {"retry_after_seconds": "12"} if known else {}
    wait = 12 if known else 30
    assert use_up(login, cognito, dynamodb, how).retry_after_seconds == wait
    clock.now += wait - 1.5
    for code in ("", "123456"):
        pending = Refused(error_code=ErrorCode.NO_LOGIN_PENDING, retry_after_seconds=2)
        assert login.answer_code(CHAT, code) == pending
    clock.now += 2
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)
    cognito.parameters = {}
    sent = login.request_code(CHAT, email=ADA)
    assert isinstance(sent, CodeSent)
    assert sent.new_mail


@pytest.mark.parametrize("wait", [30, 22, 540])
def test_code_that_is_taken_up_after_too_many_wrong_tries_is_no_new_mail(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, wait: int
) -> None:
    use_up(login, cognito, dynamodb, "wrong codes")
    cognito.parameters = {"retry_after_seconds": str(wait)}
    joined = login.request_code(CHAT, email=ADA)
    assert isinstance(joined, CodeSent)
    assert (joined.new_mail, joined.attempts_left) == (False, 3)
    assert joined.retry_after_seconds == wait
    assert isinstance(login.answer_code(CHAT, cognito.mailed[-1][1]), SignedIn)


def test_login_that_ended_for_one_address_tells_nothing_of_another(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    use_up(login, cognito, dynamodb, "wrong codes")
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "InternalErrorException")
    login.request_code(CHAT, email="bob@example.com")
    assert login.answer_code(CHAT, "123456") == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)


def test_answer_that_failed_for_now_leaves_a_new_code_to_be_asked_for(
    login: Logins, cognito: FakeCognito
) -> None:
    code = mailed_code(login, cognito)
    cognito.fail["AdminRespondToAuthChallenge"] = aws_error(
        "AdminRespondToAuthChallenge", "InternalErrorException"
    )
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)
    assert isinstance(login.request_code(CHAT, email=ADA), CodeSent)


def test_name_given_before_a_used_up_code_is_kept(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb, clock: Clock
) -> None:
    use_up(login, cognito, dynamodb, "wrong codes")
    clock.now += 30
    login.request_code(CHAT, email=ADA)
    outcome = login.answer_code(CHAT, cognito.mailed[-1][1])
    assert isinstance(outcome, SignedIn)
    assert outcome.name == "Ada"


def test_address_that_the_team_changed_reaches_the_record_and_the_browser(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    login.answer_code(CHAT, mailed_code(login, cognito))
    sub = cognito.users[ADA] = cognito.users.pop(ADA)
    cognito.users["new@example.com"] = sub
    outcome = login.answer_code(CHAT, mailed_code(login, cognito, "new@example.com"))
    assert isinstance(outcome, SignedIn)
    assert open_for_client(outcome.token_delivery)["email"] == "new@example.com"
    assert dynamodb.items[sub]["email"] == {"S": "new@example.com"}


@pytest.mark.parametrize(
    "text", [".ada@example.com", "foo.@docomo.ne.jp", "ada@b\u00fccher.example"]
)
def test_what_is_wrong_with_an_address_is_said(
    login: Logins, cognito: FakeCognito, text: str
) -> None:
    refused = login.request_code(CHAT, email=text)
    assert isinstance(refused, Refused)
    assert refused.error_code is ErrorCode.INVALID_EMAIL
    assert refused.message in set(AddressFault)
    assert not cognito.calls


def test_late_code_is_expired(login: Logins, cognito: FakeCognito, clock: Clock) -> None:
    code = mailed_code(login, cognito)
    clock.now += 300
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.OTP_EXPIRED)
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)


def test_session_that_cognito_has_forgotten_is_expired_after_the_codes_life(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    code = mailed_code(login, cognito)
    cognito.sessions.clear()
    clock.now += 400
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.OTP_EXPIRED)


def test_code_of_another_length_costs_no_attempt(login: Logins, cognito: FakeCognito) -> None:
    mailed_code(login, cognito)
    for code in ("", "12345", "1234567"):
        assert login.answer_code(CHAT, code) == Refused(
            error_code=ErrorCode.INVALID_OTP, message="The code has 6 digits.", attempts_left=3
        )
    assert "AdminRespondToAuthChallenge" not in cognito.operations()


def test_long_code_of_a_newer_mail_is_answered(login: Logins, cognito: FakeCognito) -> None:
    mailed_code(login, cognito)
    assert login.answer_code(CHAT, "4071933602581147") == Refused(
        error_code=ErrorCode.INVALID_OTP, attempts_left=2
    )
    assert cognito.calls[-1][1]["ChallengeResponses"]["ANSWER"] == "4071933602581147"


def test_verify_without_a_login_says_so(login: Logins) -> None:
    assert login.answer_code(CHAT, "123456") == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)


def test_t20_pending_login_cannot_be_used_from_another_chat(
    login: Logins, cognito: FakeCognito
) -> None:
    code = mailed_code(login, cognito)
    assert login.answer_code("another chat", code) == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)
    assert isinstance(login.answer_code(CHAT, code), SignedIn)


def test_t23_code_of_the_first_address_is_wrong_after_a_change(
    login: Logins, cognito: FakeCognito
) -> None:
    first = mailed_code(login, cognito)
    second = mailed_code(login, cognito, "bob@example.com")
    if first != second:
        assert login.answer_code(CHAT, first) == Refused(
            error_code=ErrorCode.INVALID_OTP, attempts_left=2
        )
    outcome = login.answer_code(CHAT, second)
    assert isinstance(outcome, SignedIn)
    assert open_for_client(outcome.token_delivery)["email"] == "bob@example.com"


def test_failed_change_of_address_leaves_no_login_of_the_old_one(
    login: Logins, cognito: FakeCognito
) -> None:
    code = mailed_code(login, cognito)
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "InternalErrorException")
    login.request_code(CHAT, email="bob@example.com")
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)


def test_failed_resend_leaves_the_code_mailed_before(login: Logins, cognito: FakeCognito) -> None:
    code = mailed_code(login, cognito)
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "InternalErrorException")
    login.request_code(CHAT, email=ADA)
    assert isinstance(login.answer_code(CHAT, code), SignedIn)


def test_resend_that_joined_the_last_code_says_so(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    mailed_code(login, cognito)
    clock.now += 10
    cognito.parameters = {"expires_at": str(NOW + 300), "retry_after_seconds": "20"}
    for chat in (CHAT, "another chat"):
        sent = login.request_code(chat, email=ADA)
        assert isinstance(sent, CodeSent)
        assert (sent.new_mail, sent.expires_in_seconds) == (False, 290)
        assert sent.retry_after_seconds == 20


def test_resend_keeps_the_name_given_before(login: Logins, cognito: FakeCognito) -> None:
    mailed_code(login, cognito)
    login.request_code(CHAT, email=ADA)
    outcome = login.answer_code(CHAT, cognito.mailed[-1][1])
    assert isinstance(outcome, SignedIn)
    assert outcome.name == "Ada"


def test_name_given_with_another_address_is_not_kept(login: Logins, cognito: FakeCognito) -> None:
    mailed_code(login, cognito)
    login.request_code(CHAT, email="bob@example.com")
    outcome = login.answer_code(CHAT, cognito.mailed[-1][1])
    assert isinstance(outcome, SignedIn)
    assert outcome.name == ""


def test_throttled_challenge_ends_the_login_before_it(login: Logins, cognito: FakeCognito) -> None:
    mailed_code(login, cognito)
    cognito.parameters = THROTTLED
    login.request_code(CHAT, email=ADA)
    assert login.pending[CHAT].code is None


def test_throttled_challenge_is_rate_limited_and_leaves_no_login(
    login: Logins, cognito: FakeCognito
) -> None:
    cognito.parameters = THROTTLED
    refused = login.request_code(CHAT, email=ADA)
    assert refused == Refused(error_code=ErrorCode.RATE_LIMITED, retry_after_seconds=540)
    assert login.pending[CHAT].code is None
    assert login.expects_code(CHAT)


def test_wait_and_name_are_remembered_over_a_refused_request(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    mailed_code(login, cognito)
    cognito.parameters = THROTTLED
    login.request_code(CHAT, email=ADA)
    clock.now += 40
    refused = Refused(error_code=ErrorCode.NO_LOGIN_PENDING, retry_after_seconds=500)
    assert login.answer_code(CHAT, "123456") == refused
    clock.now += 500
    assert login.answer_code(CHAT, "123456") == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)
    cognito.parameters = {}
    login.request_code(CHAT, email=ADA)
    outcome = login.answer_code(CHAT, cognito.mailed[-1][1])
    assert isinstance(outcome, SignedIn)
    assert outcome.name == "Ada"


def test_wait_of_one_address_is_not_told_of_another(login: Logins, cognito: FakeCognito) -> None:
    cognito.parameters = THROTTLED
    login.request_code(CHAT, email=ADA)
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "InternalErrorException")
    login.request_code(CHAT, email="bob@example.com")
    assert login.answer_code(CHAT, "123456") == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)


def test_who_has_signed_in_waits_for_no_mail(login: Logins, cognito: FakeCognito) -> None:
    code = mailed_code(login, cognito)
    login.answer_code(CHAT, code)
    assert login.answer_code(CHAT, code) == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)


def test_login_that_cognito_ends_is_not_said_to_have_had_too_many_tries(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    lost = use_up(login, cognito, dynamodb, "session lost")
    assert lost == Refused(error_code=ErrorCode.OTP_EXPIRED, retry_after_seconds=30)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectTimeoutError(endpoint_url="https://x"), ErrorCode.AUTH_SERVICE_ERROR),
        (aws_error("x", "TooManyRequestsException"), ErrorCode.RATE_LIMITED),
    ],
)
def test_answer_lost_on_the_way_may_be_given_again(
    login: Logins, cognito: FakeCognito, error: Exception, expected: ErrorCode
) -> None:
    code = mailed_code(login, cognito)
    cognito.fail["AdminRespondToAuthChallenge"] = error
    refused = login.answer_code(CHAT, code)
    assert isinstance(refused, Refused)
    assert refused.error_code is expected
    del cognito.fail["AdminRespondToAuthChallenge"]
    assert isinstance(login.answer_code(CHAT, code), SignedIn)


def test_tokens_are_revoked_if_the_guest_cannot_be_stored(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    code = mailed_code(login, cognito)
    dynamodb.fail = aws_error("UpdateItem", "InternalServerError")
    over = Refused(error_code=ErrorCode.GUEST_CREATION_FAILED, retry_after_seconds=30)
    assert login.answer_code(CHAT, code) == over
    assert cognito.revoked == [cognito.issued[-1]]


def test_failed_revocation_still_gives_no_tokens(
    login: Logins, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    code = mailed_code(login, cognito)
    dynamodb.fail = RuntimeError("anything")
    cognito.fail["RevokeToken"] = aws_error("RevokeToken", "InternalErrorException")
    over = Refused(error_code=ErrorCode.GUEST_CREATION_FAILED, retry_after_seconds=30)
    assert login.answer_code(CHAT, code) == over


def test_correlation_id_is_one_a_login_and_in_our_logs(
    login: Logins, cognito: FakeCognito, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="agent")
    code = mailed_code(login, cognito)
    login.answer_code(CHAT, wrong(code))
    login.answer_code(CHAT, code)
    sent = {
        a["ClientMetadata"]["correlation_id"]
        for o, a in cognito.calls
        if o == "AdminRespondToAuthChallenge"
    }
    assert len(sent) == 1
    assert {getattr(r, "correlation_id", None) for r in caplog.records} == sent


def test_logs_hold_no_address_code_session_or_token(
    login: Logins, cognito: FakeCognito, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = mailed_code(login, cognito)
    login.answer_code(CHAT, wrong(code))
    login.answer_code(CHAT, code)
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "Oops", f"{ADA} {code}")
    login.request_code(CHAT, email=ADA)
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "code requested" in logged
    for secret in (ADA, code, *cognito.issued):
        assert secret not in logged


def test_t24_logs_of_what_failed_hold_no_exceptions_text_and_no_session(
    login: Logins,
    cognito: FakeCognito,
    dynamodb: FakeDynamoDb,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    respond, code = "AdminRespondToAuthChallenge", mailed_code(login, cognito)
    cognito.fail[respond] = aws_error(respond, "InternalErrorException", "canary")
    login.answer_code(CHAT, code)
    del cognito.fail[respond]
    dynamodb.fail = RuntimeError("canary")
    cognito.fail["RevokeToken"] = aws_error("RevokeToken", "InternalErrorException", "canary")
    login.answer_code(CHAT, code)
    dynamodb.fail = None
    may_not = aws_error("AdminInitiateAuth", "NotAuthorizedException", "canary")
    cognito.fail["AdminInitiateAuth"] = may_not
    login.request_code(CHAT, email=ADA)
    assert {
        "answer failed",
        "guest record not stored",
        "tokens not revoked",
        "user may not sign in",
    } <= set(caplog.messages)
    logged = caplog.text + str([vars(record) for record in caplog.records])
    for secret in ("canary", ADA, code, *cognito.issued):
        assert secret not in logged


def test_pending_login_prints_without_its_session(login: Logins, cognito: FakeCognito) -> None:
    mailed_code(login, cognito)
    pending = login.pending[CHAT]
    printed = repr(pending) + repr(pending.code)
    assert "code_length=6" in printed
    assert cognito.issued[-1] not in printed


def test_outcomes_print_without_secrets(login: Logins, cognito: FakeCognito) -> None:
    code = mailed_code(login, cognito)
    printed = (
        repr(login.answer_code(CHAT, code))
        + repr(vars(login.flow))
        + repr(vars(login.flow.cognito))
    )
    for secret in (code, *cognito.issued):
        assert secret not in printed


def test_answers_at_once_are_given_one_by_one(login: Logins, cognito: FakeCognito) -> None:
    code = mailed_code(login, cognito)
    inside = threading.Semaphore(1)

    def alone() -> None:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.01)
        inside.release()

    cognito.before_answer = alone
    outcomes: list[Any] = []
    answers = [wrong(code), wrong(code), code]
    threads = [
        threading.Thread(target=lambda a=a: outcomes.append(login.answer_code(CHAT, a)))
        for a in answers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 3
    assert sum(isinstance(outcome, SignedIn) for outcome in outcomes) == 1


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "a b@example.com", "ada@example.com\r\nBcc: x@example.com"]
)
def test_what_is_no_address_reaches_no_aws_call(
    login: Logins, cognito: FakeCognito, email: str
) -> None:
    assert login.request_code(CHAT, email=email) == Refused(error_code=ErrorCode.INVALID_EMAIL)
    assert not cognito.calls


def test_codes_are_expected_until_ten_minutes_after_the_codes_life(
    login: Logins, clock: Clock
) -> None:
    assert not login.expects_code(CHAT)
    login.request_code(CHAT, email=ADA)
    clock.now = NOW + 899
    assert login.expects_code(CHAT)
    clock.now = NOW + 900
    assert not login.expects_code(CHAT)


def test_failed_request_shortens_no_time_in_which_codes_are_expected(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    login.request_code(CHAT, email=ADA)
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "InternalErrorException")
    clock.now += 10
    login.request_code(CHAT, email=ADA)
    clock.now = NOW + 899
    assert login.expects_code(CHAT)


def test_name_is_kept_short_and_on_one_line(login: Logins, cognito: FakeCognito) -> None:
    login.request_code(CHAT, email=ADA, name=" Ada\r\n\x00\u202eLovelace " + "x" * 300)
    outcome = login.answer_code(CHAT, cognito.mailed[-1][1])
    assert isinstance(outcome, SignedIn)
    assert outcome.name.startswith("Ada Lovelace xxx")
    assert len(outcome.name) == 100


def test_every_error_has_a_text() -> None:
    assert set(MESSAGES) == set(ErrorCode)
