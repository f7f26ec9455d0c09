"""Verify Auth Challenge Response: decide an answer, and note what it proves of the user.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-verify-auth-challenge-response.html
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    VerifyAuthChallengeResponseTriggerEvent,
)

from lambdas.email_otp import clients
from lambdas.email_otp.answering import Answerer
from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.observability import correlate, count, logger, trigger
from lambdas.email_otp.settings import VerifySettings
from lambdas.email_otp.user import User

_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")

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
        if correct:
            _update_user(sign_in.user_pool_id, user, _asked_locale(request.client_metadata))
    sign_in.response.answer_correct = correct
    logger.info(
        "answer decided", correct=correct, challenge=challenge.id[:8] if challenge else None
    )
    return event


def _asked_locale(client_metadata: Mapping[str, object] | None) -> str | None:
    """Return the language that whoever answered asks their mails in, or None."""
    locale = (client_metadata or {}).get("locale")
    return locale if isinstance(locale, str) and _LOCALE.fullmatch(locale) else None


def _update_user(user_pool_id: str, user: User, locale: str | None) -> None:
    """Mark the address the code went to, and take over the language, where there is anything new.

    Whoever asked for the first code may have been a stranger; who answered it has the mailbox.
    Last and brief: its failure fails no sign-in. The address is written along, so that one
    changed this instant is not marked in its place.
    """
    changes = {} if user.email_verified else {"email": user.address, "email_verified": "true"}
    if locale and locale != user.locale:
        changes["locale"] = locale
    if not changes:
        return
    try:
        clients.cognito().admin_update_user_attributes(
            UserPoolId=user_pool_id,
            Username=user.key,
            UserAttributes=[{"Name": name, "Value": value} for name, value in changes.items()],
        )
    except Exception as error:
        logger.warning("user not updated", error_type=type(error).__name__)
