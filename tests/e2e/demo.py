"""The main job, end to end: a guest chats, signs in by e-mailed code and sees their own record.

`make demo` runs it: everything is real, on this machine alone. It exits 0 if all of it worked.
"""

import json
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from infra.local import deployment, ministack
from tests.support.agent_process import Chat, running_agent
from tests.support.deployment import Deployment, code_in, other_than

ADDRESS = "ada@example.com"
QUESTION = "Can you show me my profile?"
_TOKENS = ("id_token", "access_token", "refresh_token")


def main() -> None:
    """Deploy, start the agent, play the guest, and print how long it took."""
    started_at = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started_at:4.0f} s] {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="email-otp-demo-") as folder:
        directory = Path(folder)
        try:
            with deployment.deployed(directory, report=report) as outputs:
                report("starting the agent")
                with running_agent(directory, outputs) as url:
                    report(f"the agent answers on {url}")
                    play(Deployment(outputs), url)
        except ministack.LocalError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit(130)
    report("done: signed in by e-mailed code, on this machine alone")


def play(stack: Deployment, url: str) -> None:
    """Play the guest.

    Args:
        stack: The deployment, for its mails and its keys.
        url: Where the agent answers.

    Raises:
        AssertionError: Something is not as it must be; the text says what.
    """
    guest = Chat(url)
    _say(guest, QUESTION)
    sign_in_started_at = time.monotonic()
    _say(guest, f"I'm Ada Lovelace, {ADDRESS}")
    mail = stack.mails_to(ADDRESS)[-1]
    _show_mail(mail)
    code = code_in(mail)
    _say(guest, "", code=other_than(code))
    outputs = _say(guest, "", code=code)
    sign_in_seconds = time.monotonic() - sign_in_started_at

    event = next((each for each in outputs if each.get("event_type") == "auth_tokens"), None)
    if event is None:
        raise AssertionError("the stream brought no TokenDeliveryEvent")
    print("\nThe browser checks what it was given against the pool's public keys:")
    for name in ("id_token", "access_token"):
        claims = stack.verified_claims(event[name])
        told = {key: claims[key] for key in ("token_use", "sub", "exp")}
        print(f"  {name}: signature and issuer are right, {told}")
        if claims["sub"] != event["cognito_sub"]:
            raise AssertionError(f"the {name} is another guest's")

    member = Chat(url, access_token=event["access_token"])
    print("\nThe browser asks again, in a new session, with `Authorization: Bearer`:")
    records = [each["guest"] for each in _say(member, QUESTION) if each.get("guest")]
    if [each["guest_id"] for each in records] != [event["guest_id"]]:
        raise AssertionError("the agent did not show the guest's own record")
    print(f"\nSign-in took {sign_in_seconds:.2f} s, the wrong code included.")


def _say(chat: Chat, prompt: str, code: str | None = None) -> list[dict[str, Any]]:
    """Say something and print the answer as it arrives; returns the tools' outputs."""
    print(f"\n  guest  {prompt or f'[code box] {code}'}")
    outputs, text = [], ""
    for chunk in chat.stream(prompt, code):
        match chunk["type"]:
            case "text-delta":
                text += chunk["delta"]
            case "text-end":
                print(_wrapped("  agent  ", text))
                text = ""
            case "tool-input-available":
                print(f"    call   {chunk['toolName']}({_short(chunk['input'])})")
            case "tool-output-available":
                outputs.append(chunk["output"])
                print(_wrapped("    gives  ", _short(chunk["output"])))
            case "error" | "tool-output-error":
                raise AssertionError(f"the agent failed: {chunk['errorText']}")
    return [output for output in outputs if isinstance(output, dict)]


def _show_mail(mail: dict[str, Any]) -> None:
    print(f"\n  mail   to {mail['To'][0]}: {mail['Subject']}")
    print(_wrapped("         ", mail["BodyText"].strip()))


def _short(value: Any) -> str:
    """Return a tool's input or output on one line, tokens shortened."""
    if isinstance(value, dict):
        value = {
            key: f"{text[:8]}... ({len(text)} characters)" if key in _TOKENS else text
            for key, text in value.items()
        }
    return json.dumps(value, ensure_ascii=False)


def _wrapped(label: str, text: str) -> str:
    margin = " " * len(label)
    lines = [
        textwrap.fill(line, 100, initial_indent=margin, subsequent_indent=margin)
        for line in text.splitlines()
    ]
    return label + "\n".join(lines).removeprefix(margin)


if __name__ == "__main__":
    main()
