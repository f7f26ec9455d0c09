"""Verify Auth Challenge Response: decide an answer, and note what it proves of the user.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-verify-auth-challenge-response.html
"""

import os
import re
from collections.abc import Mapping

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    VerifyAuthChallengeResponseTriggerEvent,
)

from lambdas.email_otp import clients
from lambdas.email_otp.answering import Answerer
from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.observability import correlate, logger, trigger
from lambdas.email_otp.settings import Resources, VerifySettings
from lambdas.email_otp.user import User

_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")

resources = Resources.from_environment(os.environ)
settings = VerifySettings.from_environment(os.environ)
answerer = Answerer(
    Ledger(
        clients.dynamodb(), resources.ledger_table_name, code_ttl_seconds=settings.code_ttl_seconds
    ),
    CodeKeys(clients.secrets_manager(), resources.code_key_secret_arn),
    code_ttl_seconds=settings.code_ttl_seconds,
)


@trigger(VerifyAuthChallengeResponseTriggerEvent)
def handler(event: VerifyAuthChallengeResponseTriggerEvent) -> None:
    """Fill in the response."""
    request, response = event.request, event.response
    correlate(request.client_metadata)
    private = request.get("privateChallengeParameters") or {}
    challenge = Challenge.from_metadata(private.get("challenge"))
    correct = False
    if challenge:
        user = User.from_event(event)
        correct = answerer.is_correct(challenge, request.challenge_answer, user)
        if correct:
            _update_user(event.user_pool_id, user, _asked_locale(request.client_metadata))
    response.answer_correct = correct
    logger.info(
        "answer decided", correct=correct, challenge=challenge.id[:8] if challenge else None
    )


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
            Username=user.name,
            UserAttributes=[{"Name": name, "Value": value} for name, value in changes.items()],
        )
    except Exception as error:
        logger.warning("user not updated", error_type=type(error).__name__)
