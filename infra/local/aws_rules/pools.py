"""What the rules need of MiniStack's own records of pools; its private names are all in here."""

import functools
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ministack.services import cognito

from .calls import Refused

type Pool = Mapping[str, Any]
type Client = Mapping[str, Any]
type User = Mapping[str, Any]

_rotation: dict[str, Mapping[str, Any]] = {}


def pool_and_client(request: Mapping[str, Any]) -> tuple[Pool, Client]:
    """Return the pool and the app client that a request names.

    Raises:
        Refused: There is none of that name.
    """
    client_id = request.get("ClientId", "")
    pools = (
        [cognito._user_pools.get(request["UserPoolId"])]
        if "UserPoolId" in request
        else [*cognito._user_pools.values()]
    )
    for pool in filter(None, pools):
        if client := pool["_clients"].get(client_id):
            return pool, client
    raise Refused("ResourceNotFoundException", f"User pool client {client_id} does not exist.")


def pool_of(request: Mapping[str, Any]) -> Pool | None:
    """Return the pool that a request is about: by its id, its client's, or its access token's."""
    if "UserPoolId" in request:
        pool: Pool | None = cognito._user_pools.get(request["UserPoolId"])
        return pool
    if "ClientId" in request:
        return pool_and_client(request)[0]
    issuer = str(claims(request.get("AccessToken", "")).get("iss", ""))
    named: Pool | None = cognito._user_pools.get(issuer.rpartition("/")[2])
    return named


def find_user(pool: Pool, name: str) -> User | None:
    """Return a user by username, `sub` or address."""
    user: User | None = cognito._resolve_user(pool, name)[0]
    return user


def users(pool: Pool) -> list[User]:
    """Return all users of a pool."""
    return [*pool["_users"].values()]


def attributes(user: User) -> dict[str, str]:
    """Return a user's attributes."""
    return {each["Name"]: each["Value"] for each in user["Attributes"]}


def claims(jwt: str) -> dict[str, Any]:
    """Return the claims of a token, which nobody has verified; none if it is no token."""
    unverified: dict[str, Any] = cognito._token_claims(jwt)
    return unverified


def is_refresh_token(token: str, client_id: str | None) -> bool:
    """Tell whether a token is a refresh token that was signed for an app client."""
    told = claims(token)
    names = (told.get("token_use"), told.get("client_id"))
    return names == ("refresh", client_id) and bool(cognito._signature_valid(token))


def issue_tokens(
    pool: Pool, client: Client, user: User, metadata: Mapping[str, str]
) -> dict[str, Any]:
    """Sign a user in; returns the `AuthenticationResult`."""
    result: dict[str, Any] = cognito._build_auth_result(
        pool["Id"], client["ClientId"], user, client_metadata=dict(metadata)
    )
    return result


def renewed(refresh_token: str) -> str:
    """Return another refresh token of the same sign-in, which ends when this one does."""
    old = claims(refresh_token)
    new: str = cognito._signed_jwt(
        old | {"jti": str(uuid.uuid4()), "iat": int(time.time())},
        old["iss"].rpartition("/")[2],
        "access",
    )
    return new


def rotation_settings(client_id: str) -> Mapping[str, Any]:
    """Return a client's `RefreshTokenRotation`; empty if it has none."""
    return _rotation.get(client_id, {})


def rotates(client: Client) -> bool:
    """Tell whether a client's refresh tokens rotate."""
    return rotation_settings(client["ClientId"]).get("Feature") == "ENABLED"


def grace_seconds(client: Client) -> int:
    """Return how long a refresh token that has a successor still works."""
    return int(rotation_settings(client["ClientId"]).get("RetryGracePeriodSeconds") or 0)


def remember_rotation(client_id: str, settings: Mapping[str, Any] | None) -> None:
    """Note a client's `RefreshTokenRotation`, which MiniStack has no field for."""
    _rotation[client_id] = settings or {}


@functools.cache
def remember_rotation_in_templates() -> None:
    """Note it of the clients that templates make, from now on."""
    # Slow to import, and only deployments need it.
    from ministack.services.cloudformation import provisioners

    resource = provisioners._RESOURCE_HANDLERS["AWS::Cognito::UserPoolClient"]
    create, update = resource["create"], resource["update"]

    def create_and_note(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        created = create(logical_id, properties, stack)
        remember_rotation(created[0], properties.get("RefreshTokenRotation"))
        return created

    def update_and_note(
        client_id: str, old: dict[str, Any], new: dict[str, Any], *more: Any, **named: Any
    ) -> Any:
        updated = update(client_id, old, new, *more, **named)
        remember_rotation(updated[0], new.get("RefreshTokenRotation"))
        return updated

    resource |= {"create": create_and_note, "update": update_and_note}
