"""Requests that no page sends, and codes as no mail shows them."""
# ruff: noqa: RUF001 - characters that look alike are what is tested

import re
import socket
import threading
import unicodedata
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from agent.sign_in import ErrorCode, Refused
from agent.sign_in.settings import Settings
from tests.support.agent_process import Conversation, outputs_of, text_of
from tests.support.attacks import (
    SESSION_HEADER,
    Member,
    Puppet,
    assemble,
    bearer,
    call,
    claims_of,
    is_well,
    new_address,
    post,
    verify_what_was_typed,
)
from tests.support.deployment import Deployment
from tests.support.fakes import Signer


@pytest.mark.parametrize("text", ['x"\r\nSet-Cookie: a=b\r\n', "\\", "\x00\x7f", "ü\u2028" * 999])
def test_t25_what_a_token_says_does_not_break_out_of_the_refusals_header(
    signed_url: str, settings: Settings, signer: Signer, text: str
) -> None:
    """T25: values from a header that anybody can write, and from signed claims."""
    forged = [
        assemble({"alg": text, "kid": signer.key_id}, claims_of(settings)),
        assemble({"alg": "RS256", "kid": text}, claims_of(settings)),
        signer.sign(claims_of(settings, iss=text)),
        signer.sign(claims_of(settings, client_id=text)),
    ]
    for access_token in forged:
        response = post(signed_url, {"prompt": "Hi"}, bearer(access_token))
        assert response.status_code == 401
        assert "set-cookie" not in response.headers
        assert response.headers["www-authenticate"].count('"') == 4
        assert len(response.headers["www-authenticate"]) < 400


@pytest.mark.parametrize("size", [9_000, 60_000, 1_000_000])
def test_huge_header_is_refused_and_the_service_stays_up(agent_url: str, size: int) -> None:
    try:
        response = post(agent_url, {"prompt": "Hi"}, bearer("x" * size))
        assert response.status_code in {400, 401, 431}
    except httpx.TransportError:
        assert size > 16_384  # more than h11 takes: the server hangs up, maybe in mid-answer
    assert is_well(agent_url)


def test_slow_and_broken_off_bodies_hold_up_nobody(agent_url: str) -> None:
    host, port = agent_url.removeprefix("http://").split(":")
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"{SESSION_HEADER}: {'s' * 40}\r\nContent-Length: 5000\r\n\r\n" + '{"prompt": "'
    )
    slow = [socket.create_connection((host, int(port))) for _ in range(50)]
    try:
        for each in slow:
            each.sendall(head.encode())
        assert is_well(agent_url)
    finally:
        for each in slow:
            each.close()
    assert is_well(agent_url)


def test_second_request_of_a_session_waits_for_the_first_to_end(
    puppet: Puppet, puppet_url: str
) -> None:
    """The first is answered as if nothing had been; the second is told to wait."""
    asked, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> Refused:
        asked.set()
        go_on.wait(10)
        return Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)

    chat = Conversation(puppet_url)
    address = new_address()
    puppet.play(call("initiate_cognito_login", email=address), "first")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr("agent.sign_in.turns.Turn._request_code", wait)
        first = pool.submit(chat.say, f"I'm {address}")
        assert asked.wait(10)
        second = post(puppet_url, {"prompt": "Me too"}, session_id=chat.session_id)
        go_on.set()
        assert text_of(first.result()) == "first"

    assert second.status_code == 400
    assert second.json()["code"] == "session_busy"
    puppet.play("third")
    assert text_of(chat.say("And now?")) == "third"


@pytest.mark.parametrize(
    "session_id",
    [
        "../" * 20,
        "%2e%2e%2f" * 5,
        "'; DROP TABLE guests; --" + "x" * 20,
        "{{7*7}}${jndi:ldap://example.com}" + "x" * 20,
        "a" * 40 + "\t" + "b",
        "\u00e9" * 40,
        "x" * 256,
    ],
)
def test_odd_session_id_is_an_ordinary_session_or_refused(agent_url: str, session_id: str) -> None:
    response = httpx.post(
        f"{agent_url}/invocations",
        json={"prompt": "When are you open?"},
        headers=[(SESSION_HEADER.encode(), session_id.encode("latin-1"))],
        timeout=30,
    )
    assert response.status_code == 400 or "finish" in response.text
    assert "Traceback" not in response.text
    assert is_well(agent_url)


def test_two_session_ids_in_one_request_open_no_foreign_chat(agent_url: str, ada: Member) -> None:
    """T20: the second header does not slip past the check of the first."""
    chat = Conversation(agent_url, access_token=ada.access_token)
    chat.say("My profile")
    response = post(agent_url, {"prompt": "What did I ask?"}, [(SESSION_HEADER, chat.session_id)])
    assert ada.guest_id not in response.text


@pytest.mark.parametrize(
    "body",
    [
        '{"prompt": "When are you open?", "a": ' + "[" * 500 + "]" * 500 + "}",
        '{"prompt": "Bye", "prompt": "When are you open?"}',
        '{"prompt": "When are you open?", "_agent_core_app_action": "ping_status"}',
        '{"prompt": "When are you open?", "__proto__": {"code": "1"}}',
    ],
)
def test_odd_json_is_read_as_the_object_it_is(agent_url: str, body: str) -> None:
    """The last of two keys counts, extra fields count for nothing."""
    headers = {SESSION_HEADER: f"session-{uuid.uuid4()}", "Content-Type": "application/json"}
    response = httpx.post(f"{agent_url}/invocations", content=body, headers=headers, timeout=30)
    assert response.status_code == 200
    assert "7:00" in response.text


def test_code_while_nothing_is_pending_is_told_so(agent_url: str) -> None:
    chunks = Conversation(agent_url).say("", code="123456")
    assert outputs_of(chunks)[0]["error_code"] == "NO_LOGIN_PENDING"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "two lines": lambda code: f"{code[:3]}\n{code[3:]}",
    "a digit a line": "\r\n".join,
    "no-break spaces": "\u00a0".join,
    "full width": lambda code: code.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    "Arabic": lambda code: code.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
    "mathematical": lambda code: "".join(chr(0x1D7CE + int(digit)) for digit in code),
    "circled": lambda code: "".join("⓪①②③④⑤⑥⑦⑧⑨"[int(digit)] for digit in code),
    "zero-width spaces": "\u200b".join,
    "zero-width joiners": "\u200d".join,
    "direction marks": lambda code: f"\u202a{code[:3]}\u202c\u200e{code[3:]}\u202c",
    "isolates": "\u2066".join,
    "keycaps": lambda code: "".join(f"{digit}\ufe0f\u20e3" for digit in code),
    "soft hyphens": "\u00ad".join,
    "glued to words": lambda code: f"code{code}thanks",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_t22_code_in_any_spelling_is_kept_from_the_model_and_still_works(
    stack: Deployment, puppet: Puppet, puppet_url: str, spelling: str
) -> None:
    """T22: whatever a keyboard or a mail program makes of the digits."""
    address = new_address()
    chat = Conversation(puppet_url)
    puppet.play(call("initiate_cognito_login", email=address))
    chat.say(address)
    code = stack.code_mailed_to(address)
    puppet.play(verify_what_was_typed)

    chunks = chat.say(f"It is {SPELLINGS[spelling](code)} .")

    last_message = puppet.shown[0][0][-1]["content"][0]["text"]
    rest = re.sub(r"\[code_reference: [\w-]+\]", "", last_message)
    assert not any(unicodedata.numeric(character, None) is not None for character in rest)
    assert outputs_of(chunks)[0].get("event_type") == "auth_tokens"
