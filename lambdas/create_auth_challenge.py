"""Create Auth Challenge: mail a code in the first round, show what is out in the later ones.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-create-auth-challenge.html
"""

import os

from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    CreateAuthChallengeTriggerEvent,
)

from lambdas.email_otp import clients
from lambdas.email_otp.calls import ahead
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.issuing import Issuer
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.mailer import Mailer
from lambdas.email_otp.observability import correlate, logger, trigger
from lambdas.email_otp.settings import CreateSettings, MailResources, Resources
from lambdas.email_otp.user import User

resources = Resources.from_environment(os.environ)
mail_resources = MailResources.from_environment(os.environ)
settings = CreateSettings.from_environment(os.environ)
ledger = Ledger(
    clients.dynamodb(), resources.ledger_table_name, code_ttl_seconds=settings.code_ttl_seconds
)
keys = CodeKeys(clients.secrets_manager(), resources.code_key_secret_arn)
issuer = Issuer(
    ledger,
    Mailer(
        clients.ses(),
        sender=settings.sender,
        app_name=settings.app_name,
        code_ttl_seconds=settings.code_ttl_seconds,
        configuration_set_name=mail_resources.configuration_set_name,
    ),
    keys,
    settings,
)
ahead(keys.current, ledger.connect)


@trigger(CreateAuthChallengeTriggerEvent)
def handler(event: CreateAuthChallengeTriggerEvent) -> None:
    """Mail a code, or go on with the one that is out."""
    request, response = event.request, event.response
    correlate(request.client_metadata)
    rounds = request.session
    user = User.from_event(event)
    if rounds:
        issued = issuer.go_on(user, rounds[-1].challenge_metadata)
    else:
        issued = issuer.issue(user, user_pool_id=event.user_pool_id)
    public = issuer.public_parameters(issued, wrong_answers=len(rounds))
    response.public_challenge_parameters = public
    response.private_challenge_parameters = {"challenge": issued.metadata}
    response.challenge_metadata = issued.metadata
    logger.info(
        "challenge created",
        status=public["status"],
        challenge=issued.challenge.id[:8] if issued.challenge else None,
        code_length=public["code_length"],
        wrong_answers=len(rounds),
        busy=issued.busy,
        mail=issued.mail,
        message_id=issued.message_id,
    )
