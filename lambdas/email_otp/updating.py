"""Updating a user after a right answer: the address is proved, the language of mails chosen."""

import re
from collections.abc import Mapping

from lambdas.email_otp import clients
from lambdas.email_otp.calls import CALL_SECONDS, in_time
from lambdas.email_otp.observability import logger
from lambdas.email_otp.user import User

LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


def update_user(user_pool_id: str, user: User, client_metadata: Mapping[str, object]) -> None:
    """Mark the address the code went to, and take over the language, where there is anything new.

    Whoever asked for the first code may have been a stranger; who answered it has the mailbox.
    Last and brief: its failure fails no sign-in. The address is written along, so that one
    changed this instant is not marked in its place.

    Args:
        user_pool_id: The user's pool.
        user: Who answered right.
        client_metadata: What came with the answer; `locale` is the language for their mails.
    """
    changes = {} if user.email_verified else {"email": user.address, "email_verified": "true"}
    locale = client_metadata.get("locale")
    if isinstance(locale, str) and LOCALE.fullmatch(locale) and locale != user.locale:
        changes["locale"] = locale
    if not changes:
        return

    try:
        in_time(
            lambda: clients.cognito().admin_update_user_attributes(
                UserPoolId=user_pool_id,
                Username=user.name,
                UserAttributes=[{"Name": name, "Value": value} for name, value in changes.items()],
            ),
            seconds=CALL_SECONDS,
        )
    except Exception as error:
        logger.warning("user not updated", error_type=type(error).__name__)
