"""Custom authentication as Cognito plays it: sessions, rounds, triggers, and who is nobody.

It takes the place of MiniStack's own `CUSTOM_AUTH`, which is kinder in each of these:

    username_of                 who does not exist looks real, and never signs in
    event                       with an answer alone, metadata reaches the triggers
    require_unused, require_in_time, require_username
                                a session string works once, for a while, under the real name
    require_flow_with_other_challenges
                                no challenge is answered that no flow begins
    _go_on                      rounds end when Define says so, however many
    tokens_for                  only who exists and is enabled now gets tokens

Left out, as no client of ours can ask for it: a flow that goes on with `PASSWORD_VERIFIER`, and
clients with a secret.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import pools, triggers
from .addresses import spelled_as_stored
from .calls import Answer, Call, Next, Refused, answer
from .pools import Client, Pool, User

CUSTOM_CHALLENGE = "CUSTOM_CHALLENGE"
_BEGINNING = ("AdminInitiateAuth", "InitiateAuth")
_ANSWERING = ("AdminRespondToAuthChallenge", "RespondToAuthChallenge")
_NAMES_KEY = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in between two calls.

    Attributes:
        client: Through which app client.
        username: The user's, or a made-up one.
        rounds: What triggers see as `session`: the answered challenges, the first one first.
        private: Of the challenge that waits for its answer, what Verify alone sees.
        metadata: Of that challenge, what goes into `rounds`.
        ends_at: When the session string does, on the monotonic clock.
    """

    pool: Pool
    client: Client
    username: str
    rounds: tuple[dict[str, Any], ...] = ()
    private: Mapping[str, str] | None = None
    metadata: str | None = None
    ends_at: float = 0


class CustomAuth:
    """The sign-ins under way."""

    def __init__(self) -> None:
        self._sessions: dict[str, SignIn | None] = {}

    async def __call__(self, call: Call, carry_on: Next) -> Answer:
        """Play custom authentication; leave all else to MiniStack."""
        request = call.request
        begins = call.operation in _BEGINNING and request.get("AuthFlow") == "CUSTOM_AUTH"
        if not begins and call.operation not in _ANSWERING:
            return await carry_on(call)
        pool, client = pools.pool_and_client(request)
        if client.get("ClientSecret"):
            return await carry_on(call)
        if begins:
            return await self._begin(pool, client, request.get("AuthParameters") or {})
        if request.get("ChallengeName") != CUSTOM_CHALLENGE:
            require_flow_with_other_challenges(client)
            return await carry_on(call)
        return await self._answer(pool, client, request)

    async def _begin(self, pool: Pool, client: Client, parameters: Mapping[str, str]) -> Answer:
        if "ALLOW_CUSTOM_AUTH" not in client["ExplicitAuthFlows"]:
            raise Refused("InvalidParameterException", "Custom auth is not enabled for the client.")
        if not parameters.get("USERNAME"):
            raise Refused("InvalidParameterException", "Missing required parameter USERNAME")
        username = username_of(pool, client, parameters["USERNAME"])
        sign_in = SignIn(pool, client, username)
        if "SRP_A" in parameters:
            sign_in = after(sign_in, "SRP_A", correct=True)
        # Without the call's metadata, which does not reach these three triggers:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AdminInitiateAuth.html
        return await self._go_on(sign_in, {})

    async def _answer(self, pool: Pool, client: Client, request: Mapping[str, Any]) -> Answer:
        responses = request.get("ChallengeResponses") or {}
        for name in ("USERNAME", "ANSWER"):
            if name not in responses:
                raise Refused("InvalidParameterException", f"Missing required parameter {name}")
        sign_in = self._take(str(request.get("Session", "")))
        if (sign_in.pool["Id"], sign_in.client["ClientId"]) != (pool["Id"], client["ClientId"]):
            raise invalid_session()
        require_username(sign_in, responses["USERNAME"])
        metadata = request.get("ClientMetadata") or {}
        answered = event(
            "VerifyAuthChallengeResponse",
            sign_in,
            metadata,
            privateChallengeParameters=sign_in.private,
            challengeAnswer=responses["ANSWER"],
        )
        function = function_of(sign_in.pool, "VerifyAuthChallengeResponse")
        correct = await triggers.verify(function, answered)
        return await self._go_on(after(sign_in, CUSTOM_CHALLENGE, correct=correct), metadata)

    async def _go_on(self, sign_in: SignIn, metadata: Mapping[str, str]) -> Answer:
        """Ask Define what is next, and do it. Rounds end when Define says so, however many."""
        asked = event("DefineAuthChallenge", sign_in, metadata, session=sign_in.rounds)
        step = await triggers.define(function_of(sign_in.pool, "DefineAuthChallenge"), asked)
        if step.get("failAuthentication"):
            raise not_authorized()
        if step.get("issueTokens"):
            return await tokens_for(sign_in, metadata)
        if step.get("challengeName") != CUSTOM_CHALLENGE:
            raise Refused("InvalidLambdaResponseException", "Unrecognizable lambda output")
        asked = event(
            "CreateAuthChallenge",
            sign_in,
            metadata,
            session=sign_in.rounds,
            challengeName=CUSTOM_CHALLENGE,
        )
        created = await triggers.create(function_of(sign_in.pool, "CreateAuthChallenge"), asked)
        waiting = replace(
            sign_in,
            private=created["privateChallengeParameters"],
            metadata=created.get("challengeMetadata"),
            ends_at=time.monotonic() + 60 * sign_in.client["AuthSessionValidity"],
        )
        return answer(
            {
                "ChallengeName": CUSTOM_CHALLENGE,
                "Session": self._keep(waiting),
                "ChallengeParameters": (created.get("publicChallengeParameters") or {})
                # "The challenge response must use the actual username":
                # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AdminRespondToAuthChallenge.html
                | {"USERNAME": sign_in.username},
            }
        )

    def _keep(self, sign_in: SignIn) -> str:
        session = secrets.token_urlsafe(64)
        self._sessions[session] = sign_in
        return session

    def _take(self, session: str) -> SignIn:
        """Return a sign-in by its session string, which is used up by that."""
        if session not in self._sessions:
            raise invalid_session()
        sign_in, self._sessions[session] = self._sessions[session], None
        sign_in = require_unused(sign_in)
        require_in_time(sign_in, time.monotonic())
        return sign_in


def require_unused(sign_in: SignIn | None) -> SignIn:
    """Refuse a session string that was used, also where the call with it failed.

    Source: https://repost.aws/questions/QUXOn0iCq-TNavGxtuFc7DGA and
    https://github.com/aws-samples/amazon-cognito-passwordless-email-auth/issues/17
    """
    if sign_in is None:
        raise invalid_session(", session can only be used once")
    return sign_in


def require_in_time(sign_in: SignIn, now: float) -> None:
    """Refuse a session string after `AuthSessionValidity`, counted from its own issue.

    Source: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UserPoolClientType.html
    """
    if now > sign_in.ends_at:
        raise invalid_session(", session is expired")


def username_of(pool: Pool, client: Client, name: str) -> str:
    """Return the username that a sign-in is for; who does not exist gets one that looks real.

    It is a UUID, the same for the same name, where the client prevents user existence errors.
    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pool-managing-errors.html
    and, for the event's fields, https://github.com/aws/aws-sdk-go/issues/3134

    Raises:
        Refused: The user is disabled, or does not exist and the client may know.
    """
    name = spelled_as_stored(pool, name)
    user = pools.find_user(pool, name)
    if user is None:
        if client["PreventUserExistenceErrors"] != "ENABLED":
            raise Refused("UserNotFoundException", "User does not exist.")
        digest = hmac.digest(_NAMES_KEY, f"{pool['Id']} {name.casefold()}".encode(), hashlib.sha256)
        return str(uuid.UUID(bytes=digest[:16], version=4))
    if not user["Enabled"]:
        raise Refused("NotAuthorizedException", "User is disabled.")
    username: str = user["Username"]
    return username


def user_of(sign_in: SignIn) -> User | None:
    """Return the user as they are now, whatever their address has become; None for nobody."""
    return pools.find_user(sign_in.pool, sign_in.username)


def event(
    trigger: str, sign_in: SignIn, metadata: Mapping[str, str], **request: Any
) -> dict[str, Any]:
    """Make a trigger's event.

    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-challenge.html
    """
    user = user_of(sign_in)
    about_user: dict[str, Any] = {"userAttributes": {}, "userNotFound": True}
    if user:
        status = {"cognito:user_status": user["UserStatus"]}
        about_user = {"userAttributes": pools.attributes(user) | status}
    responses = {
        "DefineAuthChallenge": ("challengeName", "issueTokens", "failAuthentication"),
        "CreateAuthChallenge": (
            "publicChallengeParameters",
            "privateChallengeParameters",
            "challengeMetadata",
        ),
        "VerifyAuthChallengeResponse": ("answerCorrect",),
    }
    return {
        "version": "1",
        "triggerSource": f"{trigger}_Authentication",
        "region": sign_in.pool["Id"].partition("_")[0],
        "userPoolId": sign_in.pool["Id"],
        "userName": sign_in.username,
        "callerContext": {
            "awsSdkVersion": "aws-sdk-unknown-unknown",
            "clientId": sign_in.client["ClientId"],
        },
        "request": about_user | request | ({"clientMetadata": metadata} if metadata else {}),
        "response": dict.fromkeys(responses[trigger]),
    }


def after(sign_in: SignIn, challenge_name: str, *, correct: bool) -> SignIn:
    """Return the sign-in one answered challenge further."""
    done = {
        "challengeName": challenge_name,
        "challengeResult": correct,
        "challengeMetadata": sign_in.metadata,
    }
    return replace(sign_in, rounds=(*sign_in.rounds, done), private=None, metadata=None)


async def tokens_for(sign_in: SignIn, metadata: Mapping[str, str]) -> Answer:
    """Issue the tokens; to nobody but a user who exists and is enabled now.

    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-define-auth-challenge.html
    """
    user = user_of(sign_in)
    if not user or not user["Enabled"]:
        raise not_authorized()
    # In a thread: a pool's trigger for tokens would call back into this event loop.
    tokens = await asyncio.to_thread(
        pools.issue_tokens, sign_in.pool, sign_in.client, user, metadata
    )
    return answer({"AuthenticationResult": tokens, "ChallengeParameters": {}})


def function_of(pool: Pool, trigger: str) -> str:
    """Return the function behind a trigger.

    Raises:
        Refused: The pool has none.
    """
    function: str | None = pool["LambdaConfig"].get(trigger)
    if not function:
        raise Refused(
            "InvalidParameterException",
            "Custom auth lambda trigger is not configured for the user pool.",
        )
    return function


def require_username(sign_in: SignIn, username: str) -> None:
    """Refuse an answer under any other name than the challenge's `USERNAME`, an address too.

    Source: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AdminRespondToAuthChallenge.html
    and, for the text, https://github.com/kdgregory/example-cognito-java/issues/1
    """
    if username != sign_in.username:
        raise Refused("NotAuthorizedException", "Invalid session provided for the user.")


def require_flow_with_other_challenges(client: Client) -> None:
    """Refuse answers to challenges that no flow of the client begins; MiniStack signs in by some.

    Source: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RespondToAuthChallenge.html
    """
    if {*client["ExplicitAuthFlows"]} <= {"ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}:
        raise invalid_session()


def not_authorized() -> Refused:
    """Say no as to a wrong password."""
    return Refused("NotAuthorizedException", "Incorrect username or password.")


def invalid_session(why: str = "") -> Refused:
    """Say that a `Session` is no good."""
    return Refused("NotAuthorizedException", f"Invalid session for the user{why}.")
