"""A rule-based Strands model: plays the conversation without any network or model access."""

import json
import math
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from typing import Any, override

from strands.models import Model
from strands.types.content import ContentBlockStart, Messages
from strands.types.event_loop import StopReason, Usage
from strands.types.streaming import ContentBlockDelta, StreamEvent
from strands.types.tools import ToolSpec

from agent.sign_in.capacity import BUSY
from agent.sign_in.outcomes import MESSAGES, ErrorCode
from agent.sign_in.visitor_input import typed_addresses

_REFERENCE = re.compile(r"\[code_reference: (code-[\w-]+)\]")
_NAME = r"[^\W\d_][\w'\u2019-]*"
_CAPITALISED = r"(?:[A-ZÀ-ÖØ-Þ][\w'\u2019-]*)"
_FULL_NAME = rf"{_CAPITALISED}(?:\s+{_CAPITALISED}){{0,2}}"
_NAMES = (
    # "My name is Ada Lovelace", "I'm Ada", but not "I'm ada@example.com"
    re.compile(
        rf"(?i:\bmy name(?:'s| is)|\bname:)\s+({_NAME}(?:\s+{_CAPITALISED}){{0,2}})(?![\w.]*@)"
    ),
    re.compile(rf"(?i:\bi am|\bi['\u2019]m|\bthis is)\s+({_FULL_NAME})(?![\w.]*@)"),
    # "Ada Lovelace, ada@example.com" and "ada@example.com, Ada Lovelace"
    re.compile(rf"^\s*({_FULL_NAME})\s*[,;:-]?\s+\S+@"),
    re.compile(rf"@\S+?\s*[,;]?\s+({_FULL_NAME})\s*[.!]?\s*$"),
)
_MAX_NAME_CHARS = 500  # of a message, in which a name is looked for
_NO_NAME = re.compile(r"(?i)(address|e-?mail|hello|hi|i|i'm|it|it's|mail|my|no|please|sorry|yes)")

ASK_WHO = (
    "To show you that, I need to know it is you. What are your e-mail address and your name? "
    "I will then mail you a sign-in code."
)

_SECRETS = re.compile(
    r"(?i)\btokens?\b|system prompt|your (instructions|prompt)|what is (the|my) code|password"
)
_SIGN_OUT = re.compile(r"(?i)\b(sign|log)(ging|ning)?[ -]?(me )?(out|off)\b")
_RESEND = re.compile(
    r"(?i)(n['\u2019]?t|not|never|nothing)\b.*\b(get|got|gotten|received?|come|came|arrived?|see)\b"
    r"|\b(resend|again|(new|another) (code|one)|no (e-?)?mail)\b"
)
_OTHER_ADDRESS = re.compile(
    r"(?i)\b(wrong|different|other|another|change|new)\b.*\b(address|e-?mail)\b"
)
_PERSONAL = re.compile(
    r"(?i)\b(profile|bookings?|reservations?|orders?|account|invoices?|guest (number|id|record)|"
    r"my (stay|data|details|record|room|name)|who am i)\b"
)
_SIGN_IN = re.compile(r"(?i)\b(sign|log)(ging|ning)?[ -]?(me )?(in|on|up)\b|\bregister\b")
_SMALL_TALK = (
    (r"check.?in|check.?out", "Check-in is from 15:00, check-out until 11:00."),
    (r"breakfast|eat|restaurant", "Breakfast is served from 7:30 to 10:30."),
    (r"park", "There is free parking for guests right behind the house."),
    (
        r"where|address|location|direction|find you",
        "We are at 1 Harbour Street, five minutes from the station.",
    ),
    (r"wi-?fi|internet", "Wi-Fi is free in the whole house."),
    (r"pets?|dogs?|cats?", "Pets are welcome; please tell us when you book."),
    (r"price|cost|rate", "Rooms start at 90 a night, breakfast included."),
    (r"open|hours|when|reception", "The reception is open every day from 7:00 to 22:00."),
    (r"thank|cheers", "You are welcome!"),
    (r"bye", "Goodbye, and see you soon!"),
    (r"(hi|hello|hey|good (morning|evening|day))\b", "Hello! How can I help you?"),
)
_FALLBACK = (
    "I can answer questions about our house, and show you your guest record once you are "
    "signed in. What would you like to know?"
)


class OfflineModel(Model):
    """Follows the system prompt's rules with patterns instead of a language model."""

    @override
    def update_config(self, **model_config: Any) -> None:
        """Do nothing: there is nothing to set."""

    @override
    def get_config(self) -> Any:
        """Return the size of the context, which Strands asks for."""
        return {"context_window_limit": 200_000}

    @override
    def structured_output(self, *args: Any, **kwargs: Any) -> AsyncGenerator[dict[str, Any]]:
        """Refuse: a rule-based model fills no schema."""
        raise NotImplementedError("the offline model has no structured output")

    @override
    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        **kwargs: Any,
    ) -> AsyncIterable[StreamEvent]:
        """Yield one message: a text in small pieces, or one tool call."""
        tools = {spec["name"] for spec in tool_specs or []}
        reply = _reply(messages, tools)
        for event in _text(reply) if isinstance(reply, str) else _tool_call(*reply):
            yield event


def _reply(messages: Messages, tools: set[str]) -> str | tuple[str, dict[str, str]]:
    """Return what to say, or the tool to call with its input."""
    results = [b["toolResult"] for b in messages[-1]["content"] if "toolResult" in b]
    if results:
        names = {
            b["toolUse"]["toolUseId"]: b["toolUse"]["name"]
            for message in messages
            for b in message["content"]
            if "toolUse" in b
        }
        last = results[-1]
        try:
            output = json.loads(last["content"][0]["text"])
        except ValueError:
            output = None
        known = output if isinstance(output, dict) else {}
        return _explain(names.get(last["toolUseId"], ""), known)
    said = _visitor_texts(messages)
    return _answer(said, tools, asked_before=_has_called(messages, "initiate_cognito_login"))


def _answer(
    said: list[str], tools: set[str], *, asked_before: bool
) -> str | tuple[str, dict[str, str]]:
    text = said[-1] if said else ""
    if "verify_cognito_otp" in tools and (reference := _REFERENCE.search(text)):
        return "verify_cognito_otp", {"code_reference": reference[1]}
    if _SECRETS.search(text):
        return (
            "I cannot help with that: codes, passwords and tokens never reach me, and my "
            "instructions are not for sharing."
        )
    if _SIGN_OUT.search(text):
        return "To sign out, use the sign-out button on the page. Your chat then starts afresh."
    if "initiate_cognito_login" in tools and (step := _sign_in_step(said, asked_before)):
        return step
    if _PERSONAL.search(text) and "get_guest_profile" in tools:
        return "get_guest_profile", {}
    for pattern, answer in _SMALL_TALK:
        if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE):
            return answer
    if name := _name(said[-1:]):
        return f"Nice to meet you, {name}. To sign you in I also need your e-mail address."
    return _FALLBACK


def _sign_in_step(said: list[str], asked_before: bool) -> str | tuple[str, dict[str, str]] | None:
    text = said[-1] if said else ""
    addresses = [address for message in said for address in typed_addresses(message)]
    resend = asked_before and addresses and _RESEND.search(text)
    other = asked_before and _OTHER_ADDRESS.search(text)
    if any(typed_addresses(text)) or (resend and not other):
        return "initiate_cognito_login", {"email": addresses[-1], "name": _name(said)}
    if other:
        return "No problem. Which e-mail address should I use instead?"
    if misspelt := _misspelt_address(text):
        return "initiate_cognito_login", {"email": misspelt, "name": _name(said)}
    if _SIGN_IN.search(text) or re.search(r"(?i)\bcode\b", text):
        return "Happy to send you a sign-in code. What are your e-mail address and your name?"
    return None


def _explain(tool_name: str, output: Mapping[str, Any]) -> str:
    """Say a tool's result in a guest's words."""
    if output.get("success") is not True:
        return _explain_error(output)
    if tool_name == "initiate_cognito_login":
        return _explain_code_sent(output)
    if tool_name == "verify_cognito_otp":
        name = f", {output['name']}" if output.get("name") else ""
        return f"Welcome{name}! You are signed in. Your guest number is {output['guest_id']}."
    if not output.get("signed_in"):
        return ASK_WHO
    guest = output.get("guest")
    if not guest:
        return "You are signed in, but I cannot find a guest record for you."
    return (
        "Here is your guest record:\n"
        f"- Guest number: {guest['guest_id']}\n"
        f"- Name: {guest['name'] or 'not given'}\n"
        f"- E-mail: {guest['email']}\n"
        f"- Guest since: {guest['guest_since'][:10]}"
    )


def _explain_code_sent(output: Mapping[str, Any]) -> str:
    valid = _life(output["expires_in_seconds"])
    late = ""
    if output["busy"]:
        late = (
            " Many people are signing in just now, so the mail may be late or not come at all. If "
            "it is not there in a few minutes, ask again in "
            f"{_count(output['try_again_in_minutes'], 'minute', 'minutes')}."
        )
    if output["new_mail"]:
        return (
            f"I have sent a {output['code_length']}-digit code to {output['destination']}. "
            f"It is valid for {valid}. Please enter it here.{late}"
        )
    again = (
        " Please look in your spam folder too. For another one, ask me again in "
        f"{_wait(output['retry_after_seconds'])}."
    )
    return (
        f"The code I sent to {output['destination']} is still good for {valid}, if it has not been "
        f"used. Please enter it here.{late or again}"
    )


def _explain_error(output: Mapping[str, Any]) -> str:
    said = [str(output.get("message", MESSAGES[ErrorCode.AUTH_SERVICE_ERROR]))]
    if (left := output.get("attempts_left")) is not None:
        said.append(f"You have {_count(left, 'try', 'tries')} left.")
    if (wait := output.get("retry_after_seconds")) and said != [BUSY]:
        said.append(f"A new code can be mailed in {_wait(wait)}.")
    return " ".join(said)


def _misspelt_address(message: str) -> str | None:
    """Return the latest word of a message that was meant as an address and is none."""
    words = [word for word in message.split() if "@" in word and not any(typed_addresses(word))]
    return words[-1].strip("<>()[],;:\"'!?") if words else None


def _visitor_texts(messages: Messages) -> list[str]:
    return [
        "".join(block.get("text", "") for block in message["content"])
        for message in messages
        if message["role"] == "user" and any("text" in block for block in message["content"])
    ]


def _has_called(messages: Messages, tool_name: str) -> bool:
    return any(
        block["toolUse"]["name"] == tool_name
        for message in messages
        for block in message["content"]
        if "toolUse" in block
    )


def _name(said: list[str]) -> str:
    for text in reversed(said):
        # Blanks by the thousand would keep the patterns busy for minutes, and the agent with them.
        short = " ".join(text[:_MAX_NAME_CHARS].split())
        for pattern in _NAMES:
            found = pattern.search(short)
            if found and not _NO_NAME.fullmatch(found[1].split()[0].replace("\u2019", "'")):
                return found[1]
    return ""


def _life(seconds: int) -> str:
    """Say how long a code lives, in whole minutes that it has, as its mail does.

    Ten missing seconds are forgiven: it was made before it was mailed.
    """
    minutes = (seconds + 10) // 60
    if minutes < 1:
        return _count(max(seconds, 1), "second", "seconds")
    return _count(minutes, "minute", "minutes")


def _wait(seconds: int) -> str:
    """Say when something works again: never too early."""
    if seconds < 90:
        return _count(max(seconds, 1), "second", "seconds")
    return _count(math.ceil(seconds / 60), "minute", "minutes")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _text(text: str) -> Iterator[StreamEvent]:
    pieces: list[ContentBlockDelta] = [{"text": each} for each in re.findall(r"\S+\s*|\s+", text)]
    return _message({}, pieces, "end_turn")


def _tool_call(name: str, tool_input: dict[str, str]) -> Iterator[StreamEvent]:
    called: ContentBlockStart = {"toolUse": {"name": name, "toolUseId": f"tooluse_{uuid.uuid4()}"}}
    return _message(called, [{"toolUse": {"input": json.dumps(tool_input)}}], "tool_use")


def _message(
    start: ContentBlockStart, pieces: list[ContentBlockDelta], stop_reason: StopReason
) -> Iterator[StreamEvent]:
    yield {"messageStart": {"role": "assistant"}}
    yield {"contentBlockStart": {"start": start}}
    for piece in pieces:
        yield {"contentBlockDelta": {"delta": piece}}
    yield {"contentBlockStop": {}}
    yield {"messageStop": {"stopReason": stop_reason}}
    usage: Usage = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 0}}}
