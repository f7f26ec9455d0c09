"""Refresh tokens: they end, and where the client says so they rotate.

Source: https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-refresh-token.html
What that page leaves open somebody measured on a live pool and published; their notes are all there
is to cite, and no page of AWS says otherwise. A token that is used again in its grace period gets
another successor, and then only the newest one refreshes. Only the newest token and the sign-in's
first one end the sign-in when they are revoked.
Left out: that a client with rotation may not have `ALLOW_REFRESH_TOKEN_AUTH` at all.
"""

import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

from . import pools
from .calls import Answer, Call, Next, Refused, answer

_REFRESH_FLOWS = ("REFRESH_TOKEN_AUTH", "REFRESH_TOKEN")


async def templates_say_who_rotates(call: Call, carry_on: Next) -> Answer:
    """Keep what a template says of rotation, which MiniStack drops.

    Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-cognito-userpoolclient.html
    """
    pools.remember_rotation_in_templates()
    return await carry_on(call)


async def clients_say_who_rotates(call: Call, carry_on: Next) -> Answer:
    """Keep and show what the API's calls say of rotation, which MiniStack drops.

    Source: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RefreshTokenRotationType.html
    """
    status, headers, body = await carry_on(call)
    if status != 200 or not call.operation.endswith("UserPoolClient"):
        return status, headers, body
    if "UserPoolClient" not in (described := json.loads(body or b"{}")):
        return status, headers, body
    client = described["UserPoolClient"]
    if call.operation in ("CreateUserPoolClient", "UpdateUserPoolClient"):
        pools.remember_rotation(client["ClientId"], call.request.get("RefreshTokenRotation"))
    return answer(
        {
            "UserPoolClient": client
            | {"RefreshTokenRotation": pools.rotation_settings(client["ClientId"])}
        }
    )


async def no_refresh_flow_under_rotation(call: Call, carry_on: Next) -> Answer:
    """Refuse the flow that cannot hand out a new refresh token, where the client rotates them.

    The page says that it is refused, and not how: name and text are ours.
    """
    if call.operation.endswith("InitiateAuth") and call.request.get("AuthFlow") in _REFRESH_FLOWS:
        _, client = pools.pool_and_client(call.request)
        if pools.rotates(client):
            raise Refused(
                "InvalidParameterException",
                "Refresh token rotation is enabled: use GetTokensFromRefreshToken.",
            )
    return await carry_on(call)


@dataclass(slots=True)
class _Family:
    """The refresh tokens of one sign-in, by their ids.

    Attributes:
        first: The sign-in's own.
        newest: The successor made last.
        used_at: When each one that has a successor was first used.
    """

    first: str
    newest: str
    used_at: dict[str, float] = field(default_factory=dict)


class Rotation:
    """Gives a new refresh token for an old one, which then lives through the grace period only.

    The new one ends when the first one would have.
    """

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}

    async def refresh(self, call: Call, carry_on: Next) -> Answer:
        """Refuse a token that ended or has a successor; give one to the others."""
        if call.operation != "GetTokensFromRefreshToken":
            return await carry_on(call)
        status, headers, body = await carry_on(call)
        if status != 200:
            return status, headers, body
        # MiniStack has verified the token by now, and nothing comes between these lines.
        refresh_token = call.request["RefreshToken"]
        claims = pools.claims(refresh_token)
        if time.time() >= claims["exp"]:
            raise Refused("NotAuthorizedException", "Refresh Token has expired")
        _, client = pools.pool_and_client(call.request)
        if not pools.rotates(client):
            return status, headers, body
        family = self._family(claims)
        grace_ends_at = family.used_at.get(claims["jti"], math.inf) + pools.grace_seconds(client)
        if time.time() > grace_ends_at or (
            claims["jti"] not in family.used_at and claims["jti"] != family.newest
        ):
            raise Refused("RefreshTokenReuseException", "Refresh token reuse detected")
        family.used_at.setdefault(claims["jti"], time.time())
        renewed = pools.renewed(refresh_token)
        family.newest = pools.claims(renewed)["jti"]
        result = json.loads(body)["AuthenticationResult"]
        return answer({"AuthenticationResult": result | {"RefreshToken": renewed}})

    async def revoke(self, call: Call, carry_on: Next) -> Answer:
        """Let a token that has a successor end nothing, unless it is the sign-in's first one.

        Nor does what is no refresh token of this client, which MiniStack does not check.
        """
        if call.operation == "RevokeToken":
            token = call.request.get("Token", "")
            if not pools.is_refresh_token(token, call.request.get("ClientId")):
                return answer({})
            claims = pools.claims(token)
            family = self._families.get(claims["origin_jti"])
            if family and claims["jti"] not in (family.first, family.newest):
                return answer({})
        return await carry_on(call)

    def _family(self, claims: dict[str, Any]) -> _Family:
        return self._families.setdefault(
            claims["origin_jti"], _Family(first=claims["jti"], newest=claims["jti"])
        )
