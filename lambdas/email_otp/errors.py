"""What a trigger may tell the outside of a failure: one fixed text each."""


class TriggerError(Exception):
    """A trigger failed. Cognito hands an error's text to the caller, so it is always a fixed one.

    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
    """

    text = "AUTH_SERVICE_ERROR"

    def __init__(self) -> None:
        super().__init__(self.text)


class DeliveryError(TriggerError):
    """The mail could not be handed to SES."""

    text = "ERR_EMAIL_DELIVERY_FAILED"


class OutOfTimeError(TriggerError):
    """A call was not begun, as it could not have ended in time."""
