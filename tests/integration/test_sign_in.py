"""Whole sign-ins against the deployed triggers, as any caller of Cognito's API makes them."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest
from botocore.exceptions import ClientError

from infra.local.deployment import SENDER
from tests.support.agent_process import Chat, sign_in
from tests.support.deployment import Deployment, code_in, new_address, other_than
from tests.support.waiting import wait_until


def test_right_code_gives_tokens_signed_by_the_pool(stack: Deployment) -> None:
    address = stack.new_user()
    challenge = stack.initiate(address)
    assert challenge["ChallengeName"] == "CUSTOM_CHALLENGE"

    tokens = stack.respond(challenge, stack.code_mailed_to(address))["AuthenticationResult"]

    claims = stack.verified_claims(tokens["AccessToken"])
    assert claims["sub"] == stack.attributes(address)["sub"]
    assert claims["client_id"] == stack.outputs["UserPoolClientId"]
    assert claims["token_use"] == "access"
    assert "aud" not in claims


def test_first_sign_in_marks_the_address_as_verified(stack: Deployment) -> None:
    address = stack.new_user()
    assert stack.attributes(address)["email_verified"] == "false"

    challenge = stack.initiate(address)
    stack.respond(challenge, stack.code_mailed_to(address))

    assert stack.attributes(address)["email_verified"] == "true"


def test_challenge_tells_what_a_caller_may_know_and_no_more(stack: Deployment) -> None:
    address = stack.new_user()
    parameters = stack.initiate(address)["ChallengeParameters"]

    expires_at = int(parameters.pop("expires_at"))
    parameters.pop("USERNAME", None)
    assert parameters == {
        "delivery": "EMAIL",
        "code_length": "6",
        "attempts_left": "3",
        "status": "sent",
        "retry_after_seconds": "30",
        "busy": "false",
    }
    item = stack.ledger_item(address)
    assert expires_at == int(item["issued_at"]["N"]) + 300


def test_mail_comes_in_the_apps_name_and_says_when_its_code_was_asked_for(
    stack: Deployment,
) -> None:
    address = stack.new_user()
    stack.initiate(address)

    (mail,) = stack.mails_to(address)

    assert mail["Source"] == f'"Guest desk" <{SENDER}>'
    asked_at = datetime.fromtimestamp(int(stack.ledger_item(address)["issued_at"]["N"]), UTC)
    assert f"{asked_at:%H:%M:%S} UTC" in mail["BodyText"]
    assert f"{asked_at:%H:%M:%S} UTC" in mail["BodyHtml"]


def test_configuration_set_that_mails_name_counts_what_comes_back(stack: Deployment) -> None:
    create = stack.function("CreateAuthChallenge")
    name = create["Environment"]["Variables"]["CONFIGURATION_SET_NAME"]
    found = stack.client("sesv2").get_configuration_set_event_destinations(
        ConfigurationSetName=name
    )
    (destination,) = found["EventDestinations"]
    assert destination["MatchingEventTypes"] == ["BOUNCE", "COMPLAINT", "REJECT"]


def test_right_code_after_a_wrong_one_signs_in(stack: Deployment) -> None:
    address = stack.new_user()
    challenge = stack.initiate(address)
    code = stack.code_mailed_to(address)

    again = stack.respond(challenge, other_than(code))
    assert again["ChallengeParameters"]["attempts_left"] == "2"
    assert "AuthenticationResult" in stack.respond(again, code)


def test_three_wrong_codes_end_the_session(stack: Deployment) -> None:
    address = stack.new_user()
    challenge = stack.initiate(address)
    wrong = other_than(stack.code_mailed_to(address))
    challenge = stack.respond(challenge, wrong)
    challenge = stack.respond(challenge, wrong)

    with pytest.raises(ClientError) as refused:
        stack.respond(challenge, wrong)
    assert refused.value.response["Error"]["Code"] == "NotAuthorizedException"


def test_used_code_opens_no_second_session(stack: Deployment) -> None:
    """T04: the same code in a session that joined the challenge before it was used."""
    address = stack.new_user()
    first, second = stack.initiate(address), stack.initiate(address)
    code = stack.code_mailed_to(address)
    assert "AuthenticationResult" in stack.respond(first, code)

    assert "AuthenticationResult" not in stack.respond(second, code)
    # Nobody sees that the guest has just signed in: a decoy, which nothing answers.
    again = stack.initiate(address)
    assert again["ChallengeParameters"]["status"] == "sent"
    assert "AuthenticationResult" not in stack.respond(again, code)
    assert len(stack.mails_to(address)) == 1


def test_code_of_the_newest_mail_works_in_a_session_begun_before_it(stack: Deployment) -> None:
    """T05: at the second try, once the session has taken it up; a stranger's request costs that."""
    address = stack.new_user()
    begun = stack.initiate(address)
    stack.age_ledger(address, 31)
    stack.initiate(address)
    code = stack.code_mailed_to(address)

    again = stack.respond(begun, code)
    assert again["ChallengeParameters"]["attempts_left"] == "2"
    assert "AuthenticationResult" in stack.respond(again, code)


def test_code_that_wrong_answers_killed_is_told_as_expired(stack: Deployment) -> None:
    address = stack.new_user()
    guests = stack.initiate(address)
    code = stack.code_mailed_to(address)
    for _ in range(5):
        challenge = stack.respond(stack.initiate(address), other_than(code))
        stack.respond(challenge, other_than(code))

    told = stack.respond(guests, code)["ChallengeParameters"]
    assert (told["status"], told["attempts_left"]) == ("expired", "2")


def test_code_of_another_user_is_refused(stack: Deployment) -> None:
    """T05: a code belongs to the user it was mailed to."""
    ada, bob = stack.new_user(), stack.new_user()
    stack.initiate(ada)
    challenge = stack.initiate(bob)

    refused = stack.respond(challenge, stack.code_mailed_to(ada))

    assert "AuthenticationResult" not in refused


def test_session_within_the_cooldown_joins_the_code_already_mailed(stack: Deployment) -> None:
    """T09: a repeat finds the same code and mails nothing."""
    address = stack.new_user()
    with ThreadPoolExecutor() as pool:
        challenges = list(pool.map(stack.initiate, [address] * 4))

    assert {each["ChallengeParameters"]["status"] for each in challenges} == {"sent"}
    assert len(stack.mails_to(address)) == 1
    code = stack.code_mailed_to(address)
    assert "AuthenticationResult" in stack.respond(challenges[-1], code)


def test_new_code_is_mailed_after_the_cooldown_and_using_it_kills_the_older(
    stack: Deployment,
) -> None:
    """T07: redeeming kills every code issued up to then."""
    address = stack.new_user()
    older = stack.initiate(address)
    older_code = stack.code_mailed_to(address)
    stack.age_ledger(address, 31)
    newer = stack.initiate(address)
    newer_code = stack.code_mailed_to(address)
    assert len(stack.mails_to(address)) == 2

    assert "AuthenticationResult" in stack.respond(newer, newer_code)
    assert "AuthenticationResult" not in stack.respond(older, older_code)


def test_mail_bombing_stops_at_five_and_leaves_the_last_code_usable(stack: Deployment) -> None:
    """T10: five mails in fifteen minutes; the guest still gets in with the last one."""
    address = stack.new_user()
    for _ in range(8):
        challenge = stack.initiate(address)
        stack.age_ledger(address, 31)
    assert len(stack.mails_to(address)) == 5

    assert challenge["ChallengeParameters"]["status"] == "sent"
    code = stack.code_mailed_to(address)
    assert "AuthenticationResult" in stack.respond(challenge, code)


def test_ten_wrong_answers_make_codes_long_and_kill_the_short_one(stack: Deployment) -> None:
    """T02, T03: wrong answers add up over sessions; neither a code nor a sign-in forgets them."""
    address = stack.new_user()
    short = stack.initiate(address)
    short_code = stack.code_mailed_to(address)
    for _ in range(5):
        challenge = stack.initiate(address)
        challenge = stack.respond(challenge, other_than(short_code))
        stack.respond(challenge, other_than(short_code))
    assert "AuthenticationResult" not in stack.respond(short, short_code)

    stack.age_ledger(address, 31)
    long = stack.initiate(address)

    assert long["ChallengeParameters"]["code_length"] == "16"
    assert long["ChallengeParameters"]["attempts_left"] == "1"
    long_code = stack.code_mailed_to(address)
    assert len(long_code) == 16
    assert "Somebody has been trying codes" in stack.mails_to(address)[-1]["BodyText"]
    assert "AuthenticationResult" in stack.respond(long, long_code)
    stack.age_ledger(address, 31)
    assert stack.initiate(address)["ChallengeParameters"]["code_length"] == "16"


def test_changed_address_refuses_the_code_sent_to_the_old_one(stack: Deployment) -> None:
    """T31: the code proves the address it went to, not the one put in its place."""
    address = stack.new_user()
    sub = stack.attributes(address)["sub"]
    challenge = stack.initiate(address)
    code = stack.code_mailed_to(address)
    stack.change_user(sub, email=f"other-{address}")

    assert "AuthenticationResult" not in stack.respond(challenge, code)
    assert stack.attributes(sub)["email_verified"] == "false"


def test_mail_that_ses_refuses_is_told_and_sent_by_the_next_try(stack: Deployment) -> None:
    """T11: the sender is not verified; then it is, and the same challenge is mailed."""
    address = stack.new_user()
    with (
        stack.sender_not_verified(),
        pytest.raises(ClientError, match="ERR_EMAIL_DELIVERY_FAILED"),
    ):
        stack.initiate(address)
    assert stack.ledger_item(address)["delivery"] == {"S": "failed"}

    challenge = stack.initiate(address)

    assert challenge["ChallengeParameters"]["status"] == "sent"
    code = stack.code_mailed_to(address)
    assert "AuthenticationResult" in stack.respond(challenge, code)


@pytest.mark.parametrize(
    ("locale", "words"),
    [("es-MX", "Su código"), ("de", "Ihr Anmeldecode"), ("fr_CA", "connexion"), ("ja", "コード")],
)
def test_mail_is_in_the_language_of_the_users_locale(
    stack: Deployment, locale: str, words: str
) -> None:
    address = stack.new_user(locale=locale)
    stack.initiate(address)

    (mail,) = stack.mails_to(address)

    assert words in mail["Subject"]
    assert stack.code_mailed_to(address) not in mail["Subject"]


def test_t40_sign_in_corrects_the_language_that_a_stranger_picked(
    stack: Deployment, agent_url: str
) -> None:
    """T40: the owner's browser is German; whoever typed the address first had a Japanese one."""
    address = stack.new_user(locale="ja")
    sign_in(stack, Chat(agent_url, locale="de"), address)
    assert stack.attributes(address)["locale"] == "de"


def test_t40_right_answer_brings_the_language_of_the_mails(stack: Deployment) -> None:
    """T40: with the address, and once that is verified alone; the next mail is in it."""
    address = stack.new_user(locale="ja")
    challenge = stack.initiate(address)
    stack.respond(challenge, stack.code_mailed_to(address), {"locale": "de"})
    attributes = stack.attributes(address)
    assert (attributes["email_verified"], attributes["locale"]) == ("true", "de")

    stack.age_ledger(address, 31)
    challenge = stack.initiate(address)
    assert "Ihr Anmeldecode" in stack.mails_to(address)[-1]["Subject"]
    stack.respond(challenge, stack.code_mailed_to(address), {"locale": "es-MX"})
    attributes = stack.attributes(address)
    assert (attributes["email_verified"], attributes["locale"]) == ("true", "es-MX")


def test_t40_wrong_answer_and_odd_language_change_none(stack: Deployment) -> None:
    """T40: whoever has no code picks nothing, and what is no language is not written."""
    address = stack.new_user(locale="ja")
    challenge = stack.initiate(address)
    code = stack.code_mailed_to(address)
    challenge = stack.respond(challenge, other_than(code), {"locale": "de"})
    assert stack.attributes(address)["locale"] == "ja"

    tokens = stack.respond(challenge, code, {"locale": "de\n<script>"})
    assert "AuthenticationResult" in tokens
    attributes = stack.attributes(address)
    assert (attributes["email_verified"], attributes["locale"]) == ("true", "ja")


def test_t40_number_is_claimed_in_the_guests_table(stack: Deployment, agent_url: str) -> None:
    """T40: by the agent's own role, on DynamoDB."""
    address = stack.new_user()
    event = sign_in(stack, Chat(agent_url), address)
    claim = stack.guest_item(f"guest_id#{event['guest_id']}")
    assert claim.keys() == {"cognito_sub", "claimed_at"}


def played_to_the_end(stack: Deployment, address: str) -> list[dict[str, str]]:
    """Give three wrong answers; returns what a caller sees of each step but names and times."""
    challenge = stack.initiate(address)
    steps = [challenge]
    for _ in range(2):
        challenge = stack.respond(challenge, "000000")
        steps.append(challenge)
    with pytest.raises(ClientError) as ended:
        stack.respond(challenge, "000000")
    told = ended.value.response["Error"]
    seen = [dict(step["ChallengeParameters"]) for step in steps]
    for parameters in seen:
        assert UUID(parameters.pop("USERNAME"))
        assert time.time() < int(parameters.pop("expires_at")) <= time.time() + 300
        assert 0 <= int(parameters.pop("retry_after_seconds")) <= 30
    return [*seen, {"code": told["Code"], "message": told["Message"]}]


def test_t15_user_who_does_not_exist_meets_what_a_known_one_meets(stack: Deployment) -> None:
    """T15 and T41: from the first call to the last, and no answer signs in."""
    unknown = new_address()

    assert played_to_the_end(stack, unknown) == played_to_the_end(stack, stack.new_user())

    assert stack.mails_to(unknown) == []


def test_t09_trigger_that_cognito_repeats_mails_once(stack: Deployment) -> None:
    """T09: the mail is slow, so Cognito calls Create again while the first call runs."""
    address = stack.new_user()
    logs, group = stack.client("logs"), stack.function("CreateAuthChallenge")["LoggingConfig"]
    slow_mail = {"service": "sesv2", "fault": "delay", "seconds": 0.9}
    with stack.switched(faults=[slow_mail]), ThreadPoolExecutor(3) as pool:
        # So that as many processes are warm as there will be calls.
        list(pool.map(stack.initiate, [stack.new_user() for _ in range(3)]))
    began = int(time.time() * 1000)

    def calls_that_ended() -> int:
        events = logs.filter_log_events(logGroupName=group["LogGroup"], startTime=began)["events"]
        return sum("challenge created" in event["message"] for event in events)

    with stack.switched(trigger_seconds=0.6, faults=[slow_mail]):
        challenge = stack.initiate(address)
        wait_until(lambda: stack.ledger_item(address)["delivery"] == {"S": "sent"})

    # The log of a call comes when it has ended.
    wait_until(lambda: calls_that_ended() >= 2)
    assert len(stack.mails_to(address)) == 1
    assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))


def test_t11_mail_to_a_suppressed_address_is_told_as_sent(stack: Deployment) -> None:
    """T11: SES takes it and drops it, so nobody can tell."""
    address = stack.new_user()
    stack.client("sesv2").put_suppressed_destination(EmailAddress=address, Reason="BOUNCE")

    assert stack.initiate(address)["ChallengeParameters"]["status"] == "sent"
    assert stack.mails_to(address) == []


@pytest.mark.parametrize("fault", ["lose", "lose_answer", "delay", "throttle"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_t44_sign_in_goes_on_though_a_write_fails(stack: Deployment, call: int, fault: str) -> None:
    """Of the hour, the mailbox, the send or the delivery: one mail, and the guest is in."""
    address = stack.new_user()
    plan = {"service": "dynamodb", "fault": fault, "calls": [call], "seconds": 0.6}
    with stack.switched(faults=[plan]):
        challenge = stack.initiate(address)
    assert challenge["ChallengeParameters"]["status"] == "sent"
    assert len(stack.mails_to(address)) == 1
    with stack.switched(faults=[plan | {"calls": [1]}]):
        assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))


def test_t44_mail_that_is_throttled_for_a_moment_goes(stack: Deployment) -> None:
    address = stack.new_user()
    with stack.switched(faults=[{"service": "sesv2", "fault": "throttle", "calls": [1]}]):
        challenge = stack.initiate(address)
    (_,) = stack.mails_to(address)
    assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))


@pytest.mark.parametrize(("fault", "mails"), [("lose", 0), ("lose_answer", 1)])
def test_t44_mail_without_an_answer_counts_as_sent_and_is_mailed_once_more(
    stack: Deployment, fault: str, mails: int
) -> None:
    """It was perhaps sent: 4 s later the next request mails the same code."""
    address = stack.new_user()
    with stack.switched(faults=[{"service": "sesv2", "fault": fault, "calls": [1]}]):
        challenge = stack.initiate(address)
    assert challenge["ChallengeParameters"]["status"] == "sent"
    assert len(stack.mails_to(address)) == mails
    stack.initiate(address)
    assert len(stack.mails_to(address)) == mails
    stack.age_ledger(address, 4)
    stack.initiate(address)
    assert len({code_in(mail) for mail in stack.mails_to(address)}) == 1
    assert len(stack.mails_to(address)) == mails + 1
    assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))


@pytest.mark.parametrize(
    ("service", "told"),
    [("dynamodb", "AUTH_SERVICE_ERROR"), ("sesv2", "ERR_EMAIL_DELIVERY_FAILED")],
)
def test_t44_service_that_stays_down_is_told_by_a_fixed_text_and_the_next_try_signs_in(
    stack: Deployment, service: str, told: str
) -> None:
    """In time: Cognito waits 5 s for a trigger, and says otherwise that it took too long."""
    address = stack.new_user()
    with (
        stack.switched(faults=[{"service": service, "fault": "throttle"}]),
        pytest.raises(ClientError) as failed,
    ):
        stack.initiate(address)
    assert failed.value.response["Error"]["Code"] == "UserLambdaValidationException"
    assert failed.value.response["Error"]["Message"].endswith(f"failed with error {told}.")
    # What could not be noted, is after 4 s.
    if stack.ledger_item(address):
        stack.age_ledger(address, 4)
    challenge = stack.initiate(address)
    assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))
