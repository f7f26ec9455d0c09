"""AWS's own rules in front of MiniStack: here it answers as AWS does where MiniStack does not.

They run in MiniStack's process, behind its check of who may call, so that everything meets them:
the triggers, the agent, the page, the CLI. Nothing that is deployed knows of them. They are
imported as `aws_rules`, by MiniStack's own Python, which has none of our packages.

A rule is a function that gets a call and what carries it on: `async def rule(call, carry_on)`. It
stands in `RULES`, says where it comes from, and has a test that plays the same on bare MiniStack.
What would need a whole service written again is left out, as each file says; custom authentication
is the one part that is played here instead of by MiniStack, which is kinder at every step of it.
No rule is needed for access tokens of users who signed out, were disabled or deleted.
"""

from collections.abc import Mapping

from ministack import app
from ministack.services import ses_v2

from . import addresses, mail, refresh, transactions
from .calls import Rule, under
from .custom_auth import CustomAuth
from .faults import faults
from .switches import SwitchBoard

_rotation = refresh.Rotation()

RULES: Mapping[str, tuple[Rule, ...]] = {
    "cloudformation": (refresh.templates_say_who_rotates,),
    "cognito-idp": (
        addresses.no_self_sign_up,
        addresses.write_attributes_hold,
        # Before the next, so that two spellings of one address wait for one another.
        addresses.one_user_an_address,
        addresses.blind_to_case,
        refresh.clients_say_who_rotates,
        refresh.no_refresh_flow_under_rotation,
        _rotation.refresh,
        _rotation.revoke,
        CustomAuth(),
    ),
    "dynamodb": (transactions.items_in_a_transaction_conflict,),
    "sesv2": (mail.no_more_than_the_rate, mail.suppressed_addresses_get_no_mail),
}


def install() -> None:
    """Put the rules before MiniStack's services, and the switch board before all of it."""
    for service, handler in app.SERVICE_HANDLERS.items():
        app.SERVICE_HANDLERS[service] = under((faults, *RULES.get(service, ())), service, handler)
    # Alone of them found by its path, not by the table above.
    ses_v2.handle_request = under((faults, *RULES["sesv2"]), "sesv2", ses_v2.handle_request)
    app.app = SwitchBoard(app.app)
