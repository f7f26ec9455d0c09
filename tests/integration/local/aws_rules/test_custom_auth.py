"""Custom authentication under AWS's rules, beside MiniStack's own."""

import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.deployment import new_address
from tests.support.scripted_pool import RIGHT, ScriptedPool, refusal, refusal_by_rule
from tests.support.triggers import saved_event

ENDED = "NotAuthorizedException: Incorrect username or password."
BAD_OUTPUT = "InvalidLambdaResponseException: Unrecognizable lambda output"
SESSION = "NotAuthorizedException: Invalid session for the user"


def test_nobody_looks_like_somebody_and_never_signs_in(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    name = new_address()
    strict.play(
        DefineAuthChallenge={
            "response": {"issueTokens": False, "challengeName": "CUSTOM_CHALLENGE"}
        },
        VerifyAuthChallengeResponse={"response": {"answerCorrect": True}},
    )
    challenge = strict.initiate(name)
    somebody = strict.initiate(strict.new_user())
    challenge = strict.answer(challenge, "wrong")

    strict.play()
    assert refusal(lambda pool: pool.answer(challenge, RIGHT), strict) == ENDED

    assert challenge["ChallengeParameters"].keys() == somebody["ChallengeParameters"].keys()
    assert refusal(lambda pool: pool.initiate(name), bare).startswith("UserNotFoundException"), (
        "MiniStack hides who exists: the rule can go"
    )


def test_nobodys_name_is_a_made_up_uuid_the_same_for_the_same_name(strict: ScriptedPool) -> None:
    names = [new_address() for _ in range(2)]
    again = [names[0], names[0].upper(), names[1]]
    made_up = [strict.initiate(name)["ChallengeParameters"]["USERNAME"] for name in again]

    assert len({*made_up}) == 2
    assert made_up[0] == made_up[1] == str(uuid.UUID(made_up[0]))
    events = strict.events("DefineAuth") + strict.events("CreateAuth")
    assert {event["userName"] for event in events} == {*made_up}
    for event in events:
        assert event["request"]["userNotFound"] is True
        assert event["request"]["userAttributes"] == {}


def test_client_may_be_told_who_exists(strict: ScriptedPool) -> None:
    legacy = strict.with_client(PreventUserExistenceErrors="LEGACY")

    assert "UserNotFoundException" in refusal(lambda _: legacy.initiate(new_address()), legacy)


def test_session_works_once(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def twice(pool: ScriptedPool) -> None:
        address = pool.new_user()
        challenge = pool.initiate(address)
        pool.answer(challenge, "wrong", pool.sub(address))
        pool.answer(challenge, "wrong", pool.sub(address))

    used = f"{SESSION}, session can only be used once."
    assert refusal_by_rule(twice, strict, bare) == used


def test_session_works_once_also_at_the_same_time(strict: ScriptedPool) -> None:
    challenge = strict.initiate(strict.new_user())

    def answer(_: int) -> bool:
        try:
            return "Session" in strict.answer(challenge, "wrong")
        except ClientError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(answer, range(8))) == 1
    assert len(strict.events("VerifyAuth")) == 1


def test_session_that_a_trigger_failed_is_used_up(strict: ScriptedPool) -> None:
    challenge = strict.initiate(strict.new_user())
    strict.play(VerifyAuthChallengeResponse={"error": "out of order"})
    refusal(lambda pool: pool.answer(challenge, RIGHT), strict)

    strict.play()

    assert SESSION in refusal(lambda pool: pool.answer(challenge, RIGHT), strict)


def test_session_lives_from_its_own_issue(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def short_lived(pool: ScriptedPool) -> ScriptedPool:
        # Less than AWS allows: no test waits for minutes.
        settings = {
            "ClientName": "short",
            "ExplicitAuthFlows": ["ALLOW_CUSTOM_AUTH"],
            "AuthSessionValidity": 1.5 / 60,
        }
        created = pool.call("CreateUserPoolClient", settings)["UserPoolClient"]
        return replace(pool, client_id=created["ClientId"])

    def late(pool: ScriptedPool) -> dict[str, Any]:
        pool = short_lived(pool)
        address = pool.new_user()
        challenge = pool.initiate(address)
        time.sleep(0.8)
        challenge = pool.answer(challenge, "wrong", pool.sub(address))
        time.sleep(0.8)
        return pool.answer(challenge, RIGHT, pool.sub(address))

    def too_late(pool: ScriptedPool) -> None:
        pool = short_lived(pool)
        challenge = pool.initiate(pool.new_user())
        time.sleep(1.6)
        pool.answer(challenge, RIGHT)

    with ThreadPoolExecutor() as at_once:
        expired = at_once.submit(refusal, too_late, strict)
        from_start = at_once.submit(refusal, late, bare)
        assert "AuthenticationResult" in late(strict)
        assert "Session has expired" in from_start.result(), "the rule can go"
        assert expired.result() == f"{SESSION}, session is expired."


def test_session_of_another_client_or_nobodys_is_refused(strict: ScriptedPool) -> None:
    challenge = strict.initiate(strict.new_user())
    other = strict.with_client()

    assert refusal(lambda _: other.answer(challenge, RIGHT), strict) == f"{SESSION}."
    made_up = challenge | {"Session": "x" * 30}
    assert refusal(lambda pool: pool.answer(made_up, RIGHT), strict) == f"{SESSION}."


def test_challenge_names_the_user_and_an_alias_answers_nothing(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    address = strict.new_user()
    assert strict.initiate(address)["ChallengeParameters"] == {
        "hint": "two words",
        "USERNAME": strict.sub(address),
    }

    def under_the_address(pool: ScriptedPool) -> None:
        address = pool.new_user()
        pool.answer(pool.initiate(address), RIGHT, address)

    def under_anothers(pool: ScriptedPool) -> None:
        pool.answer(pool.initiate(pool.new_user()), RIGHT, pool.sub(pool.new_user()))

    for play in (under_the_address, under_anothers):
        assert refusal_by_rule(play, strict, bare) == (
            "NotAuthorizedException: Invalid session provided for the user."
        )


def test_metadata_reaches_the_triggers_with_an_answer_alone(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def metadata(pool: ScriptedPool) -> list[list[dict[str, str]]]:
        address = pool.new_user()
        challenge = pool.initiate(address, ClientMetadata={"from": "initiate"})
        pool.answer(challenge, "wrong", pool.sub(address), ClientMetadata={"from": "answer"})
        return [
            [event["request"].get("clientMetadata") or {} for event in pool.events(trigger)]
            for trigger in ("DefineAuth", "CreateAuth", "VerifyAuth")
        ]

    answer = {"from": "answer"}
    assert metadata(strict) == [[{}, answer], [{}, answer], [answer]]
    assert metadata(bare)[1][0] == {"from": "initiate"}, "the rule can go"


def shape(value: Any) -> Any:
    """Return the names in an event, without what a pool's own triggers and users fill in."""
    if not isinstance(value, dict):
        return None
    own = {"userAttributes", "privateChallengeParameters", "session"}
    return {name: name if name in own else shape(part) for name, part in value.items()}


@pytest.mark.parametrize(
    ("trigger", "saved"),
    [
        ("DefineAuth", ["define_first_round", "define_after_wrong_answer"]),
        ("CreateAuth", ["create_first_round", "create_later_round"]),
        ("VerifyAuth", ["verify_wrong_answer"]),
    ],
)
def test_events_have_the_fields_of_those_for_the_console(
    strict: ScriptedPool, trigger: str, saved: list[str]
) -> None:
    strict.answer(strict.initiate(strict.new_user()), "wrong")
    somebody = strict.events(trigger)
    strict.play()
    strict.answer(strict.initiate(new_address()), "wrong")
    nobody = strict.events(trigger)

    assert [*map(shape, somebody)] == [shape(saved_event(name)) for name in saved]
    without_user = saved_event(f"{trigger.removesuffix('Auth').lower()}_user_not_found")
    assert [*map(shape, nobody)] == [shape(without_user)] * len(saved)
    for event, name in zip(somebody, saved, strict=True):
        told, request = saved_event(name)["request"], event["request"]
        assert request["userAttributes"].keys() == told["userAttributes"].keys()
        for one, other in zip(request.get("session", []), told.get("session", []), strict=True):
            assert one.keys() == other.keys()


def test_slow_trigger_is_called_again_while_the_first_call_runs(strict: ScriptedPool) -> None:
    address = strict.new_user()
    strict.play(CreateAuthChallenge={"slow_calls": 2, "seconds": 1.2})

    with strict.aws.switched(trigger_seconds=0.4):
        assert "Session" in strict.initiate(address)

    assert len(strict.events("CreateAuth")) == 3


def test_trigger_that_is_always_slow_is_given_up_after_three_calls(
    strict: ScriptedPool, slow_trigger_on_bare: Future[int]
) -> None:
    address = strict.new_user()
    strict.play(CreateAuthChallenge={"slow_calls": 9, "seconds": 1})

    with strict.aws.switched(trigger_seconds=0.3):
        assert refusal(lambda pool: pool.initiate(address), strict) == (
            "UnexpectedLambdaException: CreateAuthChallenge invocation failed due to error "
            "Socket timeout while invoking Lambda function."
        )
    assert len(strict.events("CreateAuth")) == 3
    assert slow_trigger_on_bare.result() == 1, "the rule can go"


def test_function_that_cannot_be_called_is_told_apart_from_one_that_raises(
    strict: ScriptedPool,
) -> None:
    address = strict.new_user()
    with strict.aws.switched(faults=[{"service": "lambda", "fault": "throttle"}]):
        told = refusal(lambda pool: pool.initiate(address), strict)

    assert told.startswith("UnexpectedLambdaException: DefineAuthChallenge invocation failed")


@pytest.mark.parametrize(
    "trigger", ["DefineAuthChallenge", "CreateAuthChallenge", "VerifyAuthChallengeResponse"]
)
def test_trigger_that_raises_is_final_and_quoted(
    strict: ScriptedPool, bare: ScriptedPool, trigger: str
) -> None:
    def raising(pool: ScriptedPool) -> None:
        pool.play(**{trigger: {"error": "no paper"}})
        address = pool.new_user()
        pool.answer(pool.initiate(address), RIGHT, pool.sub(address))

    told = f"{trigger} failed with error no paper."
    assert refusal(raising, strict) == f"UserLambdaValidationException: {told}"
    assert len(strict.events(trigger)) == 1
    own = refusal(raising, bare)
    assert own.startswith("InvalidLambdaResponseException"), "the rule can go"


@pytest.mark.parametrize(
    "response",
    [
        {"publicChallengeParameters": {"a": "b"}},
        {"privateChallengeParameters": {}},
        {"privateChallengeParameters": {"a": 5}},
        {"privateChallengeParameters": {"a": "b"}, "publicChallengeParameters": {"a": None}},
        {"privateChallengeParameters": {"a": "b"}, "challengeMetadata": 5},
    ],
)
def test_challenge_of_another_shape_is_refused(
    strict: ScriptedPool, bare: ScriptedPool, response: dict[str, Any]
) -> None:
    def odd(pool: ScriptedPool) -> None:
        pool.play(CreateAuthChallenge={"output": {"response": response}})
        pool.initiate(pool.new_user())

    assert refusal_by_rule(odd, strict, bare) == BAD_OUTPUT


def test_decision_of_another_shape_is_refused(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def odd(pool: ScriptedPool) -> None:
        pool.play(VerifyAuthChallengeResponse={"response": {"answerCorrect": "true"}})
        address = pool.new_user()
        pool.answer(pool.initiate(address), "wrong", pool.sub(address))

    assert refusal_by_rule(odd, strict, bare) == BAD_OUTPUT


def test_step_of_another_shape_is_refused_and_fields_may_be_added(strict: ScriptedPool) -> None:
    odd: list[dict[str, Any]] = [
        {"challengeName": 5},
        {"challengeName": "CUSTOM_CHALLENGE", "issueTokens": "false"},
        {"challengeName": None},
        {"challengeName": "PASSWORD_VERIFIER"},
    ]
    for response in odd:
        strict.play(DefineAuthChallenge={"response": response})
        assert refusal(lambda pool: pool.initiate(pool.new_user()), strict) == BAD_OUTPUT
    strict.play(DefineAuthChallenge={"response": {"added": 1}})
    assert strict.initiate(strict.new_user())["Session"]


def test_output_that_is_no_event_is_refused(strict: ScriptedPool) -> None:
    outputs: list[Any] = ["text", 5, None, [], {}, {"response": None}]
    for output in outputs:
        strict.play(CreateAuthChallenge={"output": output})
        assert refusal(lambda pool: pool.initiate(pool.new_user()), strict) == BAD_OUTPUT


def test_failed_authentication_sounds_like_a_wrong_password(strict: ScriptedPool) -> None:
    address = strict.new_user()
    strict.play(DefineAuthChallenge={"response": {"failAuthentication": True}})

    assert refusal(lambda pool: pool.initiate(address), strict) == ENDED


def test_rounds_end_when_define_says_so(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def fourth_answer(pool: ScriptedPool) -> dict[str, Any]:
        address = pool.new_user()
        challenge = pool.initiate(address)
        for _ in range(3):
            challenge = pool.answer(challenge, "wrong", pool.sub(address))
        return pool.answer(challenge, RIGHT, pool.sub(address))

    assert "AuthenticationResult" in fourth_answer(strict)
    assert "Max authentication attempts" in refusal(fourth_answer, bare), "the rule can go"
    rounds = strict.events("DefineAuth")[-1]["request"]["session"]
    assert [each["challengeResult"] for each in rounds] == [False, False, False, True]


def test_no_challenge_that_no_flow_begins_signs_in(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def answer_without_a_challenge(pool: ScriptedPool) -> None:
        pool.aws.cognito.respond_to_auth_challenge(
            ClientId=pool.client_id,
            ChallengeName="SOFTWARE_TOKEN_MFA",
            Session="x" * 30,
            ChallengeResponses={"USERNAME": pool.new_user(), "SOFTWARE_TOKEN_MFA_CODE": "123456"},
        )

    assert refusal_by_rule(answer_without_a_challenge, strict, bare) == f"{SESSION}."


def test_changed_address_keeps_its_user(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def change_half_way(pool: ScriptedPool) -> dict[str, Any]:
        address = pool.new_user()
        sub = pool.sub(address)
        challenge = pool.initiate(address)
        pool.aws.cognito.admin_update_user_attributes(
            UserPoolId=pool.pool_id,
            Username=sub,
            UserAttributes=[{"Name": "email", "Value": f"new-{address}"}],
        )
        return pool.answer(challenge, RIGHT, sub)

    assert "AuthenticationResult" in change_half_way(strict)
    (event,) = strict.events("VerifyAuth")
    assert event["request"]["userAttributes"]["email"].startswith("new-")
    assert "UserNotFoundException" in refusal(change_half_way, bare), "the rule can go"


def test_who_is_disabled_or_deleted_half_way_gets_no_tokens(strict: ScriptedPool) -> None:
    for end in ("admin_disable_user", "admin_delete_user"):
        address = strict.new_user()
        challenge = strict.initiate(address)
        getattr(strict.aws.cognito, end)(UserPoolId=strict.pool_id, Username=address)

        assert refusal(lambda pool, at=challenge: pool.answer(at, RIGHT), strict) == ENDED  # type: ignore[misc]


def test_flow_that_begins_with_a_password_is_seen_by_define(strict: ScriptedPool) -> None:
    address = strict.new_user()
    strict.play(DefineAuthChallenge={"response": {"failAuthentication": True}})
    with pytest.raises(ClientError):
        strict.aws.cognito.initiate_auth(
            ClientId=strict.client_id,
            AuthFlow="CUSTOM_AUTH",
            AuthParameters={"USERNAME": address, "SRP_A": "ab", "CHALLENGE_NAME": "SRP_A"},
        )

    (event,) = strict.events("DefineAuth")
    assert event["request"]["session"] == [
        {"challengeName": "SRP_A", "challengeResult": True, "challengeMetadata": None}
    ]


def test_flow_that_the_client_does_not_allow_is_refused(strict: ScriptedPool) -> None:
    closed = strict.with_client(ExplicitAuthFlows=["ALLOW_REFRESH_TOKEN_AUTH"])

    assert "not enabled" in refusal(lambda _: closed.initiate(closed.new_user()), closed)


def test_answer_needs_a_username_and_an_answer(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def without_username(pool: ScriptedPool) -> None:
        pool.aws.cognito.respond_to_auth_challenge(
            ClientId=pool.client_id,
            ChallengeName="CUSTOM_CHALLENGE",
            Session=pool.initiate(pool.new_user())["Session"],
            ChallengeResponses={"ANSWER": RIGHT},
        )

    assert refusal_by_rule(without_username, strict, bare) == (
        "InvalidParameterException: Missing required parameter USERNAME"
    )


def test_who_is_disabled_begins_nothing(strict: ScriptedPool) -> None:
    address = strict.new_user()
    strict.aws.cognito.admin_disable_user(UserPoolId=strict.pool_id, Username=address)

    disabled = "NotAuthorizedException: User is disabled."
    assert refusal(lambda pool: pool.initiate(address), strict) == disabled
    assert strict.events("DefineAuth") == []
