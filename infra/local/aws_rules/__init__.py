"""The rules of AWS that MiniStack has not, in front of its services: here it says no as AWS does.

They run in MiniStack's own process, behind its check of who may call, so that everything meets
them: the stack's triggers, the agent, the page, the CLI. Nothing that is deployed knows of them.
One function or class a rule, each with where it comes from; a rule that would need a whole
service written again is left out, and its file says so. MiniStack itself already refuses the access
tokens of users who signed out, were disabled or deleted.
"""

from collections.abc import Mapping

from ministack import app  # type: ignore[import-not-found]
from ministack.services import ses_v2  # type: ignore[import-not-found]

from . import addresses, mail, refresh, transactions
from .calls import Rule, under
from .custom_auth import CustomAuth
from .switches import SwitchBoard, faults

_rotation = refresh.Rotation()

RULES: Mapping[str, tuple[Rule, ...]] = {
    "cloudformation": (refresh.templates_say_who_rotates,),
    "cognito-idp": (
        addresses.no_self_sign_up,
        addresses.write_attributes_hold,
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
