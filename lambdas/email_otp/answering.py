"""Answering a challenge: compare in memory, then let one conditional write decide."""

from typing import Literal

from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.observability import count
from lambdas.email_otp.user import User

SESSION_SECONDS = 15 * 60
"""Cognito's sessions live so long at most: what comes later is an answer to no sign-in."""

type Decision = Literal["redeemed", "wrong", "refused", "expired"]
"""An answer used its code up; was wrong and counted; was not judged; or came too late."""


class Answerer:
    """Decides answers for one stack."""

    def __init__(self, ledger: Ledger, keys: CodeKeys, *, code_ttl_seconds: int) -> None:
        self._ledger = ledger
        self._keys = keys
        self._ttl_seconds = code_ttl_seconds

    def decide(self, challenge: Challenge, answer: object, user: User) -> Decision:
        """Decide one answer: only `redeemed` signs in.

        The code must be live, and the user's address still the one it was mailed to.

        Args:
            challenge: What was answered.
            answer: What the caller sent, whatever it is.
            user: The user of this very event.
        """
        decision = self._decide(challenge, answer, user)
        count(f"Answer{decision.capitalize()}")
        return decision

    def _decide(self, challenge: Challenge, answer: object, user: User) -> Decision:
        seconds_left = challenge.expires_at(self._ttl_seconds) - self._ledger.now()
        if seconds_left <= -SESSION_SECONDS:
            return "expired"
        key = self._keys.version(challenge.key_version)
        user_key = user.ledger_key(key)
        # Not short-circuited: every answer costs the same work.
        answered = challenge.is_answered_by(answer, key, user_key)
        same_address = challenge.was_mailed_to(user.address, key)
        right = answered and same_address and user.known
        if seconds_left <= 0:
            # Redeemed in its last seconds, and Cognito repeats the call whose reply it lost?
            if right and self._ledger.has_redeemed(user_key, challenge.answer_digest(key)):
                return "redeemed"
            if not right:
                # Callers may have been told of a later end, or of none: it counts for everybody.
                self._ledger.count_wrong_answer(user_key, challenge)
            return "expired"
        if right:
            redeemed = self._ledger.redeem(user_key, challenge, challenge.answer_digest(key))
            return "redeemed" if redeemed else "refused"
        return "wrong" if self._ledger.count_wrong_answer(user_key, challenge) else "refused"
