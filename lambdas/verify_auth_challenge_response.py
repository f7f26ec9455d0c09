"""Verify Auth Challenge Response: decide an answer, and note what it proves of the user.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-verify-auth-challenge-response.html
"""

import os

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    VerifyAuthChallengeResponseTriggerEvent,
)

from lambdas.email_otp import clients
from lambdas.email_otp.answering import Answerer, Decision
from lambdas.email_otp.calls import ahead
from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.observability import correlate, logger, trigger
from lambdas.email_otp.settings import Resources, VerifySettings
from lambdas.email_otp.updating import update_user
from lambdas.email_otp.user import User

resources = Resources.from_environment(os.environ)
settings = VerifySettings.from_environment(os.environ)
ledger = Ledger(
    clients.dynamodb(), resources.ledger_table_name, code_ttl_seconds=settings.code_ttl_seconds
)
keys = CodeKeys(clients.secrets_manager(), resources.code_key_secret_arn)
answerer = Answerer(ledger, keys, code_ttl_seconds=settings.code_ttl_seconds)
ahead(clients.cognito, keys.current, ledger.connect)


@trigger(VerifyAuthChallengeResponseTriggerEvent)
def handler(event: VerifyAuthChallengeResponseTriggerEvent) -> None:
    """Decide the answer."""
    request, response = event.request, event.response
    correlate(request.client_metadata)
    private = request.get("privateChallengeParameters") or {}
    challenge = Challenge.from_metadata(private.get("challenge"))
    decision: Decision | None = None
    if challenge:
        user = User.from_event(event)
        decision = answerer.decide(challenge, request.challenge_answer, user)
        if decision == "redeemed":
            update_user(event.user_pool_id, user, request.client_metadata)
    response.answer_correct = decision == "redeemed"
    logger.info(
        "answer decided",
        correct=response.answer_correct,
        decision=decision,
        challenge=challenge.id[:8] if challenge else None,
    )
