"""Create Auth Challenge: mail a code in the first round, and show it again in the later ones.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-create-auth-challenge.html
"""

import os
from typing import Any

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    CreateAuthChallengeTriggerEvent,
)

from lambdas.email_otp import clients
from lambdas.email_otp.challenge import UNANSWERABLE, Challenge, mask
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.issuing import Issuer
from lambdas.email_otp.ledger import COOLDOWN_SECONDS, Ledger
from lambdas.email_otp.mailer import Mailer
from lambdas.email_otp.observability import correlate, logger, trigger
from lambdas.email_otp.settings import CreateSettings
from lambdas.email_otp.user import User

settings = CreateSettings.from_environment(os.environ)
ledger = Ledger(
    clients.dynamodb(), settings.ledger_table_name, code_ttl_seconds=settings.code_ttl_seconds
)
issuer = Issuer(
    ledger,
    Mailer(
        clients.ses(),
        sender=settings.sender,
        app_name=settings.app_name,
        code_ttl_seconds=settings.code_ttl_seconds,
    ),
    CodeKeys(clients.secrets_manager(), settings.code_key_secret_arn),
    settings,
)


@trigger
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Fill in the response."""
    sign_in = CreateAuthChallengeTriggerEvent(event)
    request = sign_in.request
    correlate(request.client_metadata)
    wrong_answers = len(request.session)
    if wrong_answers:
        challenge = Challenge.from_metadata(request.session[-1].challenge_metadata)
        challenge = challenge.with_new_nonce() if challenge else None
        cooled_at = challenge.issued_at + COOLDOWN_SECONDS if challenge else 0
        retry_after_seconds = max(0, cooled_at - ledger.now())
    else:
        issued = issuer.issue(
            lambda key: User.from_event(
                user_name=sign_in.user_name,
                user_attributes=request.get("userAttributes"),
                user_not_found=request.user_not_found,
                key=key,
            ),
            user_pool_id=sign_in.user_pool_id,
        )
        challenge, retry_after_seconds = issued.challenge, issued.retry_after_seconds
    address = sign_in.user_name if request.user_not_found else request.user_attributes["email"]
    metadata = challenge.to_metadata() if challenge else UNANSWERABLE
    response = sign_in.response
    response.public_challenge_parameters = _public_parameters(
        challenge, mask(address), wrong_answers, retry_after_seconds
    )
    response.private_challenge_parameters = {"challenge": metadata}
    response.challenge_metadata = metadata
    logger.info(
        "challenge created",
        status=response.public_challenge_parameters["status"],
        challenge=challenge.id[:8] if challenge else None,
        wrong_answers=wrong_answers,
    )
    return event


def _public_parameters(
    challenge: Challenge | None, destination: str, wrong_answers: int, retry_after_seconds: int
) -> dict[str, str]:
    """What the caller may know; Cognito wants every value to be a string."""
    if challenge is None:
        status, digits, expires_at, attempts_left = "throttled", settings.code_length, 0, 0
    else:
        digits, attempts_left = challenge.digits, challenge.max_attempts - wrong_answers
        expires_at = challenge.expires_at(settings.code_ttl_seconds)
        status = "sent" if ledger.now() < expires_at else "expired"
    return {
        "delivery": "EMAIL",
        "destination": destination,
        "code_length": str(digits),
        "expires_at": str(expires_at),
        "attempts_left": str(attempts_left),
        "status": status,
        "retry_after_seconds": str(retry_after_seconds),
    }
