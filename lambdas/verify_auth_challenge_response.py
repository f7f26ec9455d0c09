"""Verify Auth Challenge Response: decide an answer, and mark the address as verified.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-verify-auth-challenge-response.html
"""

import os
from typing import Any

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    VerifyAuthChallengeResponseTriggerEvent,
)

from email_otp import clients
from email_otp.answering import Answerer
from email_otp.challenge import Challenge
from email_otp.code_key import CodeKeys
from email_otp.ledger import Ledger
from email_otp.observability import correlate, count, logger, trigger
from email_otp.settings import VerifySettings
from email_otp.user import User

settings = VerifySettings.from_environment(os.environ)
keys = CodeKeys(clients.secrets_manager(), settings.code_key_secret_arn)
answerer = Answerer(
    Ledger(
        clients.dynamodb(), settings.ledger_table_name, code_ttl_seconds=settings.code_ttl_seconds
    ),
    keys,
    code_ttl_seconds=settings.code_ttl_seconds,
)


@trigger
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Fill in the response."""
    sign_in = VerifyAuthChallengeResponseTriggerEvent(event)
    request = sign_in.request
    correlate(request.client_metadata)
    challenge = Challenge.from_metadata(request.private_challenge_parameters["challenge"])
    correct = False
    if challenge and answerer.is_over(challenge):
        count("AnswerExpired")
    elif challenge:
        user = User.from_event(
            user_name=sign_in.user_name,
            user_attributes=request.get("userAttributes"),
            user_not_found=request.user_not_found,
            key=keys.version(challenge.key_version),
        )
        correct = answerer.is_correct(challenge, request.challenge_answer, user)
        if correct and not user.email_verified:
            _mark_verified(sign_in.user_pool_id, user)
    sign_in.response.answer_correct = correct
    logger.info(
        "answer decided", correct=correct, challenge=challenge.id[:8] if challenge else None
    )
    return event


def _mark_verified(user_pool_id: str, user: User) -> None:
    """Mark the address the code went to. Last and brief: its failure fails no sign-in.

    The address is written along, so that one changed this instant is not marked in its place.
    """
    try:
        clients.cognito().admin_update_user_attributes(
            UserPoolId=user_pool_id,
            Username=user.key,
            UserAttributes=[
                {"Name": "email", "Value": user.address},
                {"Name": "email_verified", "Value": "true"},
            ],
        )
    except Exception as error:
        logger.warning("address not marked as verified", error_type=type(error).__name__)
