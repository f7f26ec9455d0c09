"""Issuing a challenge: reserve a mail and send the code, or join the code already out."""

from dataclasses import dataclass
from typing import Literal

from lambdas.email_otp.budgets import Budget
from lambdas.email_otp.challenge import UNANSWERABLE, Challenge
from lambdas.email_otp.code_key import CodeKey, CodeKeys
from lambdas.email_otp.errors import DeliveryError
from lambdas.email_otp.ledger import COOLDOWN_SECONDS, Joined, Ledger, Look, Reserved, Throttled
from lambdas.email_otp.mailer import Mailer, is_plain_address, mailbox_of
from lambdas.email_otp.observability import count, logger
from lambdas.email_otp.pretence import Pretence
from lambdas.email_otp.settings import CreateSettings
from lambdas.email_otp.user import User

type Mail = Literal["sent", "unconfirmed", "joined", "decoy", "none"]
"""What became of a round's mail; of a decoy nobody outside may learn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a round of a sign-in is about.

    Attributes:
        challenge: None where nothing may be sent.
        look: What callers are told of it.
        retry_after_seconds: Until another mail may be asked for.
        busy: Whether mails of this hour are used up.
        is_over: Whether no answer can be right any more, as far as callers are told.
        mail: For the logs.
        message_id: SES's, of a mail that it took.
    """

    challenge: Challenge | None
    look: Look | None
    retry_after_seconds: int
    busy: bool = False
    is_over: bool = False
    mail: Mail = "none"
    message_id: str | None = None

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
        self._pretence = Pretence()

    def issue(self, user: User, *, user_pool_id: str) -> Issued:
        """Find out what a sign-in's first round may do, and do it.

        Args:
            user: Who signs in.
            user_pool_id: Where they sign in.

        Raises:
            DeliveryError: The mail could not be handed to SES, or not in time.
        """
        if user.known and not is_plain_address(user.address):
            raise DeliveryError
        key = self._keys.current()
        challenge = Challenge.new(
            key,
            address=user.address,
            issued_at=self._ledger.now(),
            digits=self._settings.code_length,
            attempts=self._settings.max_attempts,
        )
        outcome, busy, refused_by = self._ledger.reserve(
            user.ledger_key(key),
            challenge if user.known else challenge.as_decoy(),
            budget=self._budget(user, key, user_pool_id),
            went_to_same_address=lambda other: self._went_to(user, other),
        )
        if not user.known:
            count("UnknownUser")
        elif refused_by == "mailbox":
            count("MailboxFull")
        elif refused_by:
            count("SendsBudgetUsedUp" if user.email_verified else "NewcomersBudgetUsedUp")
        match outcome:
            case Reserved():
                message_id, mail = self._deliver(user, outcome)
                return Issued(
                    challenge=outcome.challenge,
                    look=outcome.look,
                    retry_after_seconds=COOLDOWN_SECONDS,
                    busy=busy,
                    mail=mail,
                    message_id=message_id,
                )
            case Joined(challenge, look, retry_after_seconds):
                count("CodeJoined")
                return Issued(
                    challenge=challenge,
                    look=look,
                    retry_after_seconds=retry_after_seconds,
                    busy=busy,
                    mail="decoy" if challenge.is_decoy else "joined",
                )
            case Throttled(retry_after_seconds):
                count("SendThrottled")
                return Issued(
                    challenge=None,
                    look=None,
                    retry_after_seconds=retry_after_seconds,
                    busy=busy,
                )

    def go_on(self, user: User, metadata: str | None) -> Issued:
        """Find out what a sign-in goes on with whose last answer was wrong."""
        before = Challenge.from_metadata(metadata)
        if before is None:
            return Issued(challenge=None, look=None, retry_after_seconds=0)
        # A name that nobody has is hidden under the key that Verify has counted the answer with.
        user_key = (
            user.name if user.known else user.ledger_key(self._keys.version(before.key_version))
        )
        challenge, look, is_over, retry_after_seconds = self._ledger.after_wrong_answer(
            user_key, before, lambda other: self._went_to(user, other)
        )
        return Issued(
            challenge=challenge,
            look=look,
            retry_after_seconds=retry_after_seconds,
            is_over=is_over,
        )

    def public_parameters(self, issued: Issued, *, wrong_answers: int) -> dict[str, str]:
        """Tell what the caller may know; Cognito wants every value to be a string.

        Nothing is made from the user: Cognito makes one up where there is none.
        """
        look = issued.look
        if look is None:
            status, digits, attempts_left = "throttled", self._settings.code_length, 0
        else:
            status, digits = "expired" if issued.is_over else "sent", look.digits
            # One at least: a long code may have been taken up after other answers, and Define
            # has let this round begin.
            attempts_left = max(1, look.max_attempts - wrong_answers)
        expires_at = (
            look.shown_at + self._settings.code_ttl_seconds if look and status == "sent" else 0
        )
        return {
            "delivery": "EMAIL",
            "code_length": str(digits),
            "expires_at": str(expires_at),
            "attempts_left": str(attempts_left),
            "status": status,
            "retry_after_seconds": str(issued.retry_after_seconds),
            "busy": str(issued.busy).lower(),
        }

    def _budget(self, user: User, key: CodeKey, user_pool_id: str) -> Budget:
        newcomer = user.known and not user.email_verified
        return Budget(
            user_pool_id=user_pool_id,
            counter=("newcomer_sends" if newcomer else "sends" if user.known else "unknown_sends"),
            max_sends=self._settings.max_sends_per_hour,
            max_newcomer_sends=self._settings.max_new_guests_per_hour,
            mailbox=key.digest("mailbox", mailbox_of(user.address)).hex() if newcomer else None,
        )

    def _went_to(self, user: User, challenge: Challenge) -> bool:
        return user.known and challenge.was_mailed_to(
            user.address, self._keys.version(challenge.key_version)
        )

    def _deliver(self, user: User, reserved: Reserved) -> tuple[str | None, Mail]:
        """Hand the mail over, or pretend to, and note how that went.

        Returns:
            SES's id of the mail, and what became of it.
        """
        message_id = None
        try:
            if reserved.pretended:
                confirmed = self._pretence.pause()
            else:
                message_id = self._pretence.watch(lambda: self._send(user, reserved))
                confirmed = message_id is not None
        except DeliveryError:
            self._note(reserved, sent=False)
            raise
        # Else it stays `sending`: the next request after 4 s mails the same code.
        if confirmed:
            self._note(reserved, sent=True)
        if reserved.pretended:
            return None, "decoy"
        if not confirmed:
            count("MailUnconfirmed")
            return None, "unconfirmed"
        if reserved.challenge.is_long:
            count("LongCodeSent")
        else:
            count("CodeSent" if user.email_verified else "NewcomerCodeSent")
        return message_id, "sent"

    def _send(self, user: User, reserved: Reserved) -> str | None:
        challenge = reserved.challenge
        return self._mailer.send(
            user.address,
            challenge.code(self._keys.version(challenge.key_version), reserved.key),
            user.locale,
            # Also when the same code is mailed again: its life began with the first mail.
            asked_at=challenge.issued_at,
        )

    def _note(self, reserved: Reserved, *, sent: bool) -> None:
        """Note the delivery. If that fails, a repeat after 4 s mails the same code once more."""
        try:
            self._ledger.delivered(reserved, sent=sent)
        except Exception as error:
            logger.warning("delivery not noted", error_type=type(error).__name__)
