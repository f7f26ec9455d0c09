"""SES: how many mails a second an account may send, and to whom they never go.

Left out: the sandbox, the daily quota, and which reasons for being on the list an account heeds.
"""

import time
import uuid

from . import switches
from .calls import Answer, Call, Next, Refused, answer

_BURST_SECONDS = 5
"""SES lets an account send faster for a moment; how long is not published."""

_suppressed: set[str] = set()


async def no_more_than_the_rate(call: Call, carry_on: Next) -> Answer:
    """Refuse a mail beyond what the account may send, the switch `mails_per_second`.

    Source: https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html
    and, for SES v2's own words, https://github.com/pm-pmaas/etailors_amazon_ses/issues/117
    """
    if call.operation == "SendEmail":
        now, sent_at = time.monotonic(), switches.current.mails_sent_at
        while sent_at and sent_at[0] <= now - _BURST_SECONDS:
            sent_at.popleft()
        if len(sent_at) >= _BURST_SECONDS * switches.current.mails_per_second:
            raise Refused("TooManyRequestsException", "Maximum sending rate exceeded.", 429)
        sent_at.append(now)
    return await carry_on(call)


async def suppressed_addresses_get_no_mail(call: Call, carry_on: Next) -> Answer:
    """Take a mail to an address on the account's suppression list, and drop it.

    Of the list's own operations it has `PutSuppressedDestination`, which MiniStack has not. A mail
    to several addresses goes to none if one of them is on the list: no trigger sends any.
    Source: https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list.html
    """
    if call.operation == "PutSuppressedDestination":
        _suppressed.add(call.request["EmailAddress"].casefold())
        return answer({})
    if call.operation == "SendEmail":
        destination = call.request.get("Destination") or {}
        addresses = {each.casefold() for kind in destination.values() for each in kind}
        if addresses & _suppressed:
            return answer({"MessageId": str(uuid.uuid4())})
    return await carry_on(call)
