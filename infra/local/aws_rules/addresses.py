"""Users' addresses: blind to case, one user each, and written only by whom the pool lets.

Left out: what a changed address does to `email_verified`, and Cognito's own mails.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from . import pools
from .calls import Answer, Call, Next, Refused
from .pools import Pool

_CREATING = ("AdminCreateUser", "SignUp")
_UPDATING = ("AdminUpdateUserAttributes", "UpdateUserAttributes")

_one_at_a_time: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
"""By pool and address, so that a trigger may write other users while one is created."""


def spelled_as_stored(pool: Pool, name: str) -> str:
    """Return a name as the user has it who has that address in other upper and lower case.

    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-case-sensitivity.html
    """
    if (pool.get("UsernameConfiguration") or {}).get("CaseSensitive", True):
        return name
    addresses = [pools.attributes(user).get("email") or "" for user in pools.users(pool)]
    return next((each for each in addresses if each.casefold() == name.casefold()), name)


async def blind_to_case(call: Call, carry_on: Next) -> Answer:
    """Find users by their address in any case, where the pool says so."""
    name = call.request.get("Username")
    pool = pools.pool_of(call.request) if isinstance(name, str) else None
    if pool is None or not isinstance(name, str):
        return await carry_on(call)
    spelled = spelled_as_stored(pool, name)
    if call.operation in _CREATING and spelled != name:
        raise Refused("UsernameExistsException", "User account already exists")
    return await carry_on(call.with_parameters(Username=spelled))


async def one_user_an_address(call: Call, carry_on: Next) -> Answer:
    """Give no address to a second user, neither in the same instant nor by a change of it.

    "The email address or phone number must be unique":
    https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-settings-attributes.html#user-pool-settings-aliases
    Once Cognito was seen to make two in the same instant, github.com/ustaxcourt/ef-cms/pull/5260;
    the agent counts on neither.
    """
    request = call.request
    address = _written(request).get("email")
    if call.operation in _CREATING:
        address = request.get("Username")
    pool = pools.pool_of(request) if call.operation in (*_CREATING, *_UPDATING) else None
    if not pool or not isinstance(address, str):
        return await carry_on(call)
    async with _one_at_a_time[pool["Id"], address.casefold()]:
        if call.operation in _UPDATING:
            own = request.get("Username") or pools.claims(request["AccessToken"])["username"]
            holder, user = (
                pools.find_user(pool, spelled_as_stored(pool, name)) for name in (address, own)
            )
            if holder and holder is not user:
                raise Refused("AliasExistsException", "An account with the email already exists.")
        return await carry_on(call)


async def write_attributes_hold(call: Call, carry_on: Next) -> Answer:
    """Let users write what their app client may write, and nothing else.

    The words: https://github.com/aws-amplify/amplify-js/issues/5345
    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-settings-attributes.html#user-pool-settings-attribute-permissions-and-scopes
    """
    if call.operation in ("SignUp", "UpdateUserAttributes"):
        pool = pools.pool_of(call.request)
        client_id = call.request.get("ClientId") or pools.claims(
            call.request.get("AccessToken", "")
        ).get("client_id")
        client = pool["_clients"].get(client_id) if pool else None
        # A list that was not given lets all standard attributes be written.
        may_write: Iterable[str] | None = client and client.get("WriteAttributes")
        if may_write and _written(call.request).keys() - {*may_write}:
            raise Refused(
                "NotAuthorizedException", "A client attempted to write unauthorized attribute"
            )
    return await carry_on(call)


async def no_self_sign_up(call: Call, carry_on: Next) -> Answer:
    """Let nobody sign themselves up where only administrators create users.

    The words: https://github.com/pmill/aws-cognito/issues/37
    Source: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AdminCreateUserConfigType.html
    """
    if call.operation == "SignUp":
        pool = pools.pool_of(call.request)
        if pool and pool["AdminCreateUserConfig"].get("AllowAdminCreateUserOnly"):
            raise Refused("NotAuthorizedException", "SignUp is not permitted for this user pool")
    return await carry_on(call)


def _written(request: Mapping[str, Any]) -> dict[str, str]:
    given = request.get("UserAttributes") or []
    return {each["Name"]: each.get("Value", "") for each in given}
