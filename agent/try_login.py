"""Signs in from the terminal: `python -m agent.try_login you@example.com`.

Against `make deploy-local`, or with `--stack EmailOtp` against a stack on AWS.
"""
# ruff: noqa: T201 - it talks to a person at a terminal

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3

from agent import deployment
from agent.sign_in import EmailOtp, Refused, SignedIn
from agent.sign_in.client_only import open_for_client
from agent.sign_in.identity import KeysUnavailableError, TokenError, TokenVerifier
from agent.sign_in.login import LoginFlow, PendingLogin
from agent.sign_in.observability import log_to_stderr
from agent.sign_in.settings import DEFAULT_MAX_NEW_GUESTS_PER_HOUR, Settings, SettingsError
from agent.sign_in.visitor_input import hide_code_field


def main(arguments: list[str] | None = None) -> int:
    """Sign in and print the verified claims; return 0 if it worked."""
    options = _parse(arguments)
    log_to_stderr(logging.WARNING)
    try:
        settings, session = _connect(options.stack, options.region)
        flow = EmailOtp.connect(settings, session).flow
        signed_in = sign_in(
            flow, options.email, name=options.name, locale=options.locale, ask=input
        )
        if signed_in is None:
            return 1
        _print_claims(settings, open_for_client(signed_in.token_delivery))
    except (SettingsError, TokenError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeysUnavailableError:
        print(f"The pool's keys could not be fetched: {settings.jwks_url}", file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


def sign_in(
    flow: LoginFlow,
    email: str,
    *,
    name: str = "",
    locale: str | None = None,
    ask: Callable[[str], str],
) -> SignedIn | None:
    """Have a code mailed and ask for it until it is right or can no longer be.

    Args:
        flow: The sign-in.
        email: Where the code goes.
        name: For the guest record.
        locale: Language of the guest's mails.
        ask: Prints a prompt and returns what is typed.

    Returns:
        The sign-in, or None after saying why there is none.
    """
    login = PendingLogin()
    sent = flow.request_code(login, email=email, name=name, locale=locale)
    if isinstance(sent, Refused):
        print(_explain(sent), file=sys.stderr)
        return None
    mail = (
        "A mail with a code went"
        if sent.new_mail
        else "The code mailed before still holds; it went"
    )
    print(f"{mail} to {sent.destination}. It is valid for {sent.expires_in_seconds} seconds.")
    if sent.busy:
        print(
            "Many people are signing in just now, so the mail may be late or not come at all. "
            "If it is not there in a few minutes, ask again in "
            f"{sent.try_again_in_minutes} min."
        )
    code_length = sent.code_length
    while True:
        _, typed = hide_code_field(ask(f"Code ({code_length} digits): "))
        (code,) = typed.values()
        outcome = flow.answer_code(login, code.digits(code_length))
        if isinstance(outcome, SignedIn):
            return outcome
        print(_explain(outcome), file=sys.stderr)
        if login.code is None:
            return None
        code_length = login.code.code_length


def _explain(refused: Refused) -> str:
    details = []
    if refused.attempts_left is not None:
        details.append(f"tries left: {refused.attempts_left}")
    if refused.retry_after_seconds is not None:
        details.append(f"try again in {refused.retry_after_seconds} seconds")
    suffix = f" ({', '.join(details)})" if details else ""
    return f"{refused.error_code}: {refused.message}{suffix}"


def _print_claims(settings: Settings, tokens: Mapping[str, Any]) -> None:
    verifier = TokenVerifier.connect(settings, clock=time.time)
    print(f"\nSigned in. Guest number: {tokens['guest_id']}")
    for token_use in ("id", "access"):
        claims = verifier.verify(tokens[f"{token_use}_token"], token_use=token_use)
        print(f"\nVerified claims of the {token_use} token:")
        print(json.dumps(claims, indent=2, sort_keys=True))
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        print(f"Valid until {expires_at:%Y-%m-%d %H:%M:%S} UTC.")


def _connect(stack: str | None, region: str | None) -> tuple[Settings, boto3.Session]:
    outputs, session = deployment.find(
        stack, region, {"UserPoolId", "UserPoolClientId", "GuestsTableName"}
    )
    settings = Settings(
        user_pool_id=outputs["UserPoolId"],
        user_pool_client_id=outputs["UserPoolClientId"],
        guests_table_name=outputs["GuestsTableName"],
        region=outputs["region"],
        # Older stacks do not tell.
        max_new_guests_per_hour=int(
            outputs.get("MaxNewGuestsPerHour", DEFAULT_MAX_NEW_GUESTS_PER_HOUR)
        ),
        endpoint_url=outputs.get("endpoint_url"),
    )
    return settings, session


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.try_login", description=__doc__)
    parser.add_argument("email", help="where the code goes")
    parser.add_argument("--name", default="", help="for the guest record")
    parser.add_argument("--locale", help="language of the mails, such as de")
    parser.add_argument("--stack", help="a stack on AWS, such as EmailOtp")
    parser.add_argument("--region", help="the stack's region, if not the configured one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
