"""Define Auth Challenge: which step a sign-in takes next. No I/O, no settings.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-define-auth-challenge.html
"""

from typing import Literal

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    ChallengeResult,
    DefineAuthChallengeTriggerEvent,
)

from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.observability import correlate, count, logger, trigger

type Step = Literal["challenge", "issue_tokens", "fail"]

CUSTOM_CHALLENGE = "CUSTOM_CHALLENGE"


@trigger(DefineAuthChallengeTriggerEvent)
def handler(event: DefineAuthChallengeTriggerEvent) -> None:
    """Choose the next step."""
    request, response = event.request, event.response
    correlate(request.client_metadata)
    rounds = request.session
    step = next_step(rounds, user_not_found=bool(request.user_not_found))
    response.issue_tokens = step == "issue_tokens"
    response.fail_authentication = step == "fail"
    if step == "challenge":
        response.challenge_name = CUSTOM_CHALLENGE
    if step == "issue_tokens":
        count("SignedIn")
    elif not rounds:
        count("SignInStarted")
    logger.info("sign-in step chosen", step=step, rounds=len(rounds))


def next_step(rounds: list[ChallengeResult], *, user_not_found: bool) -> Step:
    """Choose the next step from the rounds so far.

    Args:
        rounds: The flow's answered challenges, oldest first.
        user_not_found: Whether Cognito plays the flow for a user who does not exist.

    Returns:
        `issue_tokens` only where every round was ours and the last was answered right.
    """
    # A flow may begin with SRP_A or a password: none of it is ours to finish.
    if any(done.challenge_name != CUSTOM_CHALLENGE for done in rounds):
        return "fail"
    if not rounds:
        return "challenge"
    last = rounds[-1]
    # `is True`: the data class would take the text "false" for a yes.
    if last["challengeResult"] is True and not user_not_found:
        return "issue_tokens"
    challenge = Challenge.from_metadata(last.challenge_metadata)
    if challenge is None or len(rounds) >= challenge.max_attempts:
        return "fail"
    return "challenge"
