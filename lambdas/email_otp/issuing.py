"""Issuing a challenge: reserve a mail and send the code, or join the code already out."""

from dataclasses import dataclass
from typing import Literal

from lambdas.email_otp.budgets import Budget
from lambdas.email_otp.challenge import UNANSWERABLE, Challenge
from lambdas.email_otp.code_key import CodeKey, CodeKeys
from lambdas.email_otp.errors import DeliveryError
from lambdas.email_otp.ledger import COOLDOWN_SECONDS, Joined, Ledger, Reserved, Throttled
from lambdas.email_otp.mailer import Mailer, is_plain_address, mailbox_of
from lambdas.email_otp.observability import count, logger
from lambdas.email_otp.pretence import Pretence
from lambdas.email_otp.settings import CreateSettings
from lambdas.email_otp.user import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a round of a sign-in is about.

    Attributes:
        challenge: None where nothing may be sent.
        retry_after_seconds: Until another mail may be asked for.
        busy: Whether mails of this hour are used up.
        killed: Whether wrong answers have ended the code.
        mail: What became of the mail, for the logs: nobody else may learn of a decoy.
        message_id: SES's, of a mail that it took.
    """

    challenge: Challenge | None
    retry_after_seconds: int
    busy: bool = False
    killed: bool = False
    mail: Literal["sent", "unconfirmed", "joined", "decoy", "none"] = "none"
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
            case Reserved(challenge) if challenge.is_decoy:
                self._pretend(outcome)
                return Issued(
                    challenge=challenge,
                    retry_after_seconds=COOLDOWN_SECONDS,
                    busy=busy,
                    mail="decoy",
                )
            case Reserved(challenge):
                message_id = self._send(user, outcome)
                return Issued(
                    challenge=challenge,
                    retry_after_seconds=COOLDOWN_SECONDS,
                    busy=busy,
                    mail="sent" if message_id else "unconfirmed",
                    message_id=message_id,
                )
            case Joined(challenge, retry_after_seconds):
                count("CodeJoined")
                return Issued(
                    challenge=challenge,
                    retry_after_seconds=retry_after_seconds,
                    busy=busy,
                    mail="decoy" if challenge.is_decoy else "joined",
                )
            case Throttled(retry_after_seconds):
                count("SendThrottled")
                return Issued(challenge=None, retry_after_seconds=retry_after_seconds, busy=busy)

    def go_on(self, user: User, metadata: str | None) -> Issued:
        """Find out what a sign-in goes on with whose last answer was wrong."""
        before = Challenge.from_metadata(metadata)
        if before is None:
            return Issued(challenge=None, retry_after_seconds=0)
        key = self._keys.version(before.key_version)  # under which Verify has counted the answer
        newest = self._ledger.after_wrong_answer(
            user.ledger_key(key), before, lambda other: self._went_to(user, other)
        )
        challenge = newest or before
        cooled_at = challenge.issued_at + COOLDOWN_SECONDS
        return Issued(
            challenge=challenge,
            retry_after_seconds=max(0, cooled_at - self._ledger.now()),
            killed=newest is None,
        )

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
            # One at least: a long code may have been taken up after other answers, and Define
            # has let this round begin.
            attempts_left = max(1, challenge.max_attempts - wrong_answers)
            over = issued.killed or self._ledger.now() >= expires_at
            status = "expired" if over else "sent"
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
        if not user.known:
            return challenge.is_decoy
        return challenge.was_mailed_to(user.address, self._keys.version(challenge.key_version))

    def _send(self, user: User, reserved: Reserved) -> str | None:
        """Hand the mail over; return SES's id of it, None if it was perhaps handed over."""
        challenge = reserved.challenge
        code = challenge.code(self._keys.version(challenge.key_version), reserved.key)
        try:
            with self._pretence.watched():
                message_id = self._mailer.send(
                    user.address,
                    code,
                    user.locale,
                    # Also when the same code is mailed again: its life began with the first mail.
                    asked_at=challenge.issued_at,
                )
        except DeliveryError:
            self._note(reserved, sent=False)
            raise
        if message_id is None:
            # It stays `sending`: the next request after 4 s mails the same code.
            count("MailUnconfirmed")
            return None
        self._note(reserved, sent=True)
        if challenge.is_long:
            count("LongCodeSent")
        else:
            count("CodeSent" if user.email_verified else "NewcomerCodeSent")
        return message_id

    def _pretend(self, reserved: Reserved) -> None:
        """Do as `_send`, without a mail."""
        try:
            self._pretence.pause()
        except DeliveryError:
            self._note(reserved, sent=False)
            raise
        self._note(reserved, sent=True)

    def _note(self, reserved: Reserved, *, sent: bool) -> None:
        """Note the delivery. If that fails, a repeat after 4 s mails the same code once more."""
        try:
            self._ledger.delivered(reserved, sent=sent)
        except Exception as error:
            logger.warning("delivery not noted", error_type=type(error).__name__)
