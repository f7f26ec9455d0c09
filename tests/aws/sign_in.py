"""Signing in at Cognito itself, as the agent and as any browser can."""

import time
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from botocore.exceptions import ClientError

from agent.sign_in.identity import KeysUnavailableError, TokenError, TokenVerifier
from lambdas.email_otp.user import User as TriggersUser
from tests.aws.check import Failed, check, code_of, require, require_refused
from tests.aws.stack import Response, Stack, User
from tests.support.deployment import other_than

_LOOK_AT_CREATE = (
    "Look at the log of the Create function, and whether SES may send from `sender` in this region."
)
_LOOK_AT_VERIFY = "Look at the log of the Verify function; deploy this version of the stack again."
_DEPLOY_AGAIN = "Somebody changed the pool or its client by hand: deploy the stack again."
_CLOCK_SECONDS = 5
"""How far this machine's clock may be ahead of AWS's."""


@dataclass(frozen=True)
class Mailed:
    """A sign-in that waits for its code."""

    user: User
    challenge: Response
    code: str

    @property
    def parameters(self) -> dict[str, str]:
        """What Cognito says of the challenge."""
        return dict(self.challenge["ChallengeParameters"])


@dataclass(frozen=True)
class SignedIn:
    """A sign-in that went well, with what it was answered."""

    mailed: Mailed
    tokens: dict[str, Any]


def _have_code_mailed(stack: Stack, *, public: bool = False, newcomer: bool = False) -> Mailed:
    user = stack.new_user(newcomer=newcomer)
    challenge = stack.begin(user.address, public=public)
    status = challenge["ChallengeParameters"].get("status")
    require(status == "sent", f"the challenge's status is {status}")
    return Mailed(user, challenge, stack.code_mailed_to(user))


def _sign_in(stack: Stack, *, public: bool) -> SignedIn:
    mailed = _have_code_mailed(stack, public=public, newcomer=not public)
    answered = stack.answer(mailed.challenge, mailed.code, public=public)
    if not _has_tokens(answered):
        raise Failed("the right code brought no tokens")
    assert answered is not None
    return SignedIn(mailed, answered["AuthenticationResult"])


def _has_tokens(answered: Response | None) -> bool:
    return "AuthenticationResult" in (answered or {})


def require_own_tokens(
    stack: Stack, tokens: dict[str, Any], sub: str, names: tuple[str, str]
) -> None:
    """Let the check fail unless both tokens are this pool's, for this client and this user.

    Args:
        stack: The deployment.
        tokens: Where they are.
        sub: The user's.
        names: Of the ID and of the access token in there.
    """
    verifier = TokenVerifier.connect(stack.settings, clock=time.time)
    for name, token_use in zip(names, ("id", "access"), strict=True):
        try:
            claims = verifier.verify(tokens[name], token_use=token_use)
        except TokenError as error:
            raise Failed(f"the {token_use} token's {error.claim} is wrong") from None
        except KeysUnavailableError:
            raise Failed("the pool's keys cannot be fetched") from None
        require(claims["sub"] == sub, f"the {token_use} token is another user's")


@check("a new user is mailed a code", advice=_LOOK_AT_CREATE)
def code_is_mailed(stack: Stack) -> Mailed:
    mailed = _have_code_mailed(stack, newcomer=True)
    told = mailed.parameters
    require(told.get("delivery") == "EMAIL", "the challenge does not say how the code goes out")
    require(told.get("code_length") == str(len(mailed.code)), "code_length is not the code's")
    require(int(told["expires_at"]) > time.time(), "the code has expired already")
    return mailed


@check("the right code signs in, asked for by the agent's calls", advice=_LOOK_AT_VERIFY)
def agent_signs_in(stack: Stack) -> SignedIn:
    return _sign_in(stack, public=False)


@check("the right code signs in, asked for by anybody's calls", advice=_LOOK_AT_VERIFY)
def anybody_signs_in(stack: Stack) -> SignedIn:
    return _sign_in(stack, public=True)


@check(
    "tokens are signed by the pool, for this client and user",
    advice="Compare the stack's outputs with the pool; another pool's tokens must not be taken.",
    needs=(agent_signs_in, anybody_signs_in),
)
def tokens_are_own(stack: Stack, *all_signed_in: SignedIn) -> None:
    for signed_in in all_signed_in:
        sub = signed_in.mailed.user.sub
        require_own_tokens(stack, signed_in.tokens, sub, ("IdToken", "AccessToken"))


@check(
    "the address is verified once the code was right",
    advice="Look for `user not updated` in the log of the Verify function, and at its role.",
    needs=(code_is_mailed, agent_signs_in),
)
def address_is_verified(stack: Stack, waiting: Mailed, signed_in: SignedIn) -> None:
    for user, expected in ((waiting.user, "false"), (signed_in.mailed.user, "true")):
        verified = stack.attributes(user.sub).get("email_verified")
        require(verified == expected, f"email_verified is {verified}, not {expected}")


@check(
    "a code signs in once, in the same session and in another",
    advice=_LOOK_AT_VERIFY,
    needs=(agent_signs_in,),
)
def code_works_once(stack: Stack, signed_in: SignedIn) -> None:
    mailed = signed_in.mailed
    again = stack.answer(mailed.challenge, mailed.code)
    require(not _has_tokens(again), "the same session took the code again")
    another = stack.answer(stack.begin(mailed.user.address), mailed.code)
    require(not _has_tokens(another), "another session took the code again")


@check("wrong codes are counted down, and end the session", advice=_LOOK_AT_VERIFY)
def wrong_codes_end_session(stack: Stack) -> User:
    mailed = _have_code_mailed(stack)
    challenge: Response | None = mailed.challenge
    for left in reversed(range(int(mailed.parameters["attempts_left"]))):
        assert challenge is not None
        last, challenge = challenge, stack.answer(challenge, other_than(mailed.code))
        require(not _has_tokens(challenge), "a wrong code signed in")
        told = (challenge or {}).get("ChallengeParameters", {}).get("attempts_left", "0")
        require(told == str(left), f"attempts_left is {told}, not {left}")
        require(challenge is None or left, "the session went on after the last attempt")
    require(not _has_tokens(stack.answer(last, mailed.code)), "an ended session took the code")
    return mailed.user


@check(
    "wrong codes lock nobody out",
    advice=_LOOK_AT_VERIFY,
    needs=(wrong_codes_end_session,),
)
def nobody_is_locked_out(stack: Stack, user: User) -> None:
    challenge = stack.begin(user.address)
    answered = stack.answer(challenge, stack.code_mailed_to(user))
    require(_has_tokens(answered), "the right code in a new session brought no tokens")


@check("a Session answers once", advice="Cognito itself sees to it: tell AWS, and us.")
def session_answers_once(stack: Stack) -> None:
    mailed = _have_code_mailed(stack)
    stack.answer(mailed.challenge, other_than(mailed.code))
    again = stack.answer(mailed.challenge, mailed.code)
    require(not _has_tokens(again), "a Session that was used took the right code")


@check(
    "an unknown address looks like a known one, and signs nobody in",
    advice="The client must prevent user existence errors: deploy the stack again.",
    needs=(code_is_mailed,),
)
def unknown_looks_known(stack: Stack, known: Mailed) -> None:
    try:
        challenge = stack.begin(stack.new_address())
    except ClientError as error:
        if code_of(error) != "UserNotFoundException":
            raise
        raise Failed("Cognito tells that there is no such user") from None
    told, expected = challenge["ChallengeParameters"], known.parameters
    require(told.keys() == expected.keys(), "its challenge has other parameters")
    for name in sorted(told.keys() - {"USERNAME", "expires_at"}):
        require(told[name] == expected[name], f"its {name} is different")
    # The triggers may keep an item for the name that Cognito made up, and so a code that no mail
    # holds.
    nobody = TriggersUser(
        name=told["USERNAME"], known=False, address="", locale="", email_verified=False
    )
    code = stack.last_code_of(nobody.ledger_key(stack.keys.current())) or "0" * len(known.code)
    require(not _has_tokens(stack.answer(challenge, code)), "nobody was signed in")


@check("nobody signs themselves up", advice=_DEPLOY_AGAIN)
def no_self_sign_up(stack: Stack) -> None:
    address = stack.new_address()
    require_refused(
        lambda: stack.public_cognito.sign_up(
            ClientId=stack.outputs["UserPoolClientId"],
            Username=address,
            Password=f"aA1!{address}",
            UserAttributes=[{"Name": "email", "Value": address}],
        ),
        ("NotAuthorizedException",),
        "SignUp made a user",
    )


@check(
    "passwords, SRP and what else is no code are refused",
    advice=_DEPLOY_AGAIN,
    needs=(agent_signs_in,),
)
def no_other_way_in(stack: Stack, signed_in: SignedIn) -> None:
    address = signed_in.mailed.user.address
    password, srp = {"PASSWORD": f"aA1!{address}"}, {"SRP_A": token_hex(384)}
    for flow, parameters in (
        ("USER_PASSWORD_AUTH", password),
        ("USER_SRP_AUTH", srp),
        ("USER_AUTH", {}),
    ):
        require_refused(
            lambda flow=flow, parameters=parameters: stack.public_cognito.initiate_auth(  # type: ignore[misc]
                ClientId=stack.outputs["UserPoolClientId"],
                AuthFlow=flow,
                AuthParameters={"USERNAME": address} | parameters,
            ),
            ("InvalidParameterException",),
            f"{flow} was begun",
        )


@check(
    "guests cannot write their own address",
    advice=_DEPLOY_AGAIN,
    needs=(agent_signs_in,),
)
def address_is_not_theirs_to_write(stack: Stack, signed_in: SignedIn) -> None:
    for name, value in (("email", stack.new_address()), ("email_verified", "true")):
        require_refused(
            lambda name=name, value=value: stack.public_cognito.update_user_attributes(  # type: ignore[misc]
                AccessToken=signed_in.tokens["AccessToken"],
                UserAttributes=[{"Name": name, "Value": value}],
            ),
            ("NotAuthorizedException",),
            f"a guest wrote their own {name}",
        )


@check(
    "an expired code is refused",
    advice="Look at the log of the Verify function, and at the setting code_ttl_seconds.",
    needs=(code_is_mailed,),
)
def expired_code_is_refused(stack: Stack, mailed: Mailed) -> None:
    time.sleep(max(0, int(mailed.parameters["expires_at"]) + _CLOCK_SECONDS - time.time()))
    answered = stack.answer(mailed.challenge, mailed.code)
    require(not _has_tokens(answered), "it signed in")
    if answered:
        status = answered["ChallengeParameters"].get("status")
        require(status == "expired", f"the next challenge's status is {status}")
