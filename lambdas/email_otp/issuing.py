"""Issuing a challenge: reserve a mail and send the code, or join the code already out."""

import time
from dataclasses import dataclass

from lambdas.email_otp.challenge import UNANSWERABLE, Challenge
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.errors import DeliveryError
from lambdas.email_otp.ledger import COOLDOWN_SECONDS, Joined, Ledger, Reserved, Throttled
from lambdas.email_otp.mailer import SIMULATOR, Mailer, is_plain_address
from lambdas.email_otp.observability import count, logger
from lambdas.email_otp.settings import CreateSettings
from lambdas.email_otp.user import User

MAIL_BY_SECONDS = 1.9
"""A mail is begun this soon or not at all. It and its note take 1.7 s at worst, the process's start
0.4 s, and Cognito waits 5 s: nobody hears of a mail that goes out later."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a round of a sign-in is about: a challenge, or None where nothing may be sent."""

    challenge: Challenge | None
    retry_after_seconds: int

    @property
    def metadata(self) -> str:
        """Return what Cognito keeps of it for the triggers."""
        return self.challenge.to_metadata() if self.challenge else UNANSWERABLE


class Issuer:
    """Issues challenges for one stack."""

    def __init__(
        self, ledger: Ledger, mailer: Mailer, keys: CodeKeys, settings: CreateSettings
    ) -> None:
        self._ledger = ledger
        self._mailer = mailer
        self._keys = keys
        self._settings = settings

    def issue(self, user: User, *, user_pool_id: str) -> Issued:
        """Find out what a sign-in's first round may do, and do it.

        Args:
            user: Who signs in.
            user_pool_id: Where they sign in.

        Raises:
            DeliveryError: The mail could not be handed to SES, or not in time.
        """
        started_at = time.monotonic()
        if user.known and not is_plain_address(user.address):
            raise DeliveryError
        key = self._keys.current()
        user_key = user.ledger_key(key)
        outcome = self._ledger.reserve(
            user_key,
            Challenge.new(
                key,
                address=user.address,
                issued_at=self._ledger.now(),
                digits=self._settings.code_length,
                attempts=self._settings.max_attempts,
            ),
            user_pool_id=user_pool_id,
            max_sends_per_hour=self._settings.max_sends_per_hour,
            went_to_same_address=lambda challenge: challenge.was_mailed_to(
                user.address, self._keys.version(challenge.key_version)
            ),
        )
        match outcome:
            case Reserved(challenge):
                self._mail(user, user_key, outcome, started_at)
                count("LongCodeSent" if challenge.is_long else "CodeSent")
                return Issued(challenge, COOLDOWN_SECONDS)
            case Joined(challenge, retry_after_seconds):
                count("CodeJoined")
                return Issued(challenge, retry_after_seconds)
            case Throttled(retry_after_seconds):
                count("SendThrottled")
                return Issued(None, retry_after_seconds)

    def show_again(self, metadata: str | None) -> Issued:
        """Return the challenge of the last round, whose answer was wrong. Calls nothing."""
        challenge = Challenge.from_metadata(metadata)
        if challenge is None:
            return Issued(None, 0)
        cooled_at = challenge.issued_at + COOLDOWN_SECONDS
        return Issued(challenge.with_new_nonce(), max(0, cooled_at - self._ledger.now()))

    def public_parameters(self, issued: Issued, *, wrong_answers: int) -> dict[str, str]:
        """Tell what the caller may know; Cognito wants every value to be a string.

        Nothing is made from the user: Cognito makes one up where there is none.
        """
        challenge = issued.challenge
        if challenge is None:
            status = "throttled"
            digits = self._settings.code_length
            expires_at = attempts_left = 0
        else:
            digits = challenge.digits
            expires_at = challenge.expires_at(self._settings.code_ttl_seconds)
            attempts_left = challenge.max_attempts - wrong_answers
            status = "sent" if self._ledger.now() < expires_at else "expired"
        return {
            "delivery": "EMAIL",
            "code_length": str(digits),
            "expires_at": str(expires_at),
            "attempts_left": str(attempts_left),
            "status": status,
            "retry_after_seconds": str(issued.retry_after_seconds),
        }

    def _mail(self, user: User, user_key: str, reserved: Reserved, started_at: float) -> None:
        challenge = reserved.challenge
        code = challenge.code(self._keys.version(challenge.key_version), user_key)
        try:
            if time.monotonic() - started_at > MAIL_BY_SECONDS:
                raise DeliveryError
            self._mailer.send(
                user.address if user.known else SIMULATOR,
                code,
                user.locale,
                # Also when the same code is mailed again: its life began with the first mail.
                asked_at=challenge.issued_at,
            )
        except DeliveryError:
            self._mark(user_key, reserved, sent=False)
            raise
        self._mark(user_key, reserved, sent=True)

    def _mark(self, user_key: str, reserved: Reserved, *, sent: bool) -> None:
        """Note the delivery. If that fails, a repeat after 4 s mails the same code once more."""
        try:
            self._ledger.delivered(user_key, reserved, sent=sent)
        except Exception as error:
            logger.warning("delivery not noted", error_type=type(error).__name__)
