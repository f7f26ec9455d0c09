"""Found by attack: requests that no page sends, and the record of a guest who is gone."""

import contextlib
import http.client
import json
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from agent.sign_in import ErrorCode, Refused
from tests.support.agent_process import SESSION_HEADER, Chat
from tests.support.attacks import Member, Puppet, bearer, call, is_well, post
from tests.support.chunks import outputs_of, text_of
from tests.support.deployment import Deployment, new_address


@pytest.mark.parametrize("size", [9_000, 60_000, 1_000_000])
def test_huge_header_is_refused_and_the_service_stays_up(agent_url: str, size: int) -> None:
    try:
        response = post(agent_url, {"prompt": "Hi"}, bearer("x" * size))
        assert response.status_code in {400, 401, 431}
    except httpx.TransportError:
        assert size > 16_384  # more than h11 takes: the server hangs up, maybe in mid-answer
    assert is_well(agent_url)


@pytest.mark.parametrize("size", [70_000, 1_000_000, 10_000_000])
def test_sender_of_too_much_reads_why_it_is_refused(agent_url: str, size: int) -> None:
    """One who reads nothing before all is sent, as most do."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(agent_url).netloc)) as connection:
        headers = {"Content-Type": "application/json", SESSION_HEADER: "s" * 40}
        connection.request("POST", "/invocations", b"x" * size, headers)
        response = connection.getresponse()
        assert response.status == 413
        assert json.load(response)["code"] == "invalid_request"
    assert is_well(agent_url)


def test_slow_and_broken_off_bodies_hold_up_nobody(agent_url: str) -> None:
    """T38: fifty browsers that begin a request and leave."""
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

    chat = Chat(puppet_url)
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
    """T37: in the code box."""
    chunks = Chat(agent_url).say("", code="123456")
    assert outputs_of(chunks)[0]["error_code"] == "NO_LOGIN_PENDING"


@pytest.mark.parametrize("how", ["deletes", "is disabled"])
def test_t40_record_of_a_guest_who_is_gone_is_not_read_with_the_old_token(
    stack: Deployment, agent_url: str, how: str
) -> None:
    """T40: the record stays behind; the token, good for minutes still, opens nothing."""
    eve = Member(stack, agent_url)
    if how == "deletes":
        stack.cognito.delete_user(AccessToken=eve.access_token)
    else:
        stack.cognito.admin_disable_user(
            UserPoolId=stack.outputs["UserPoolId"], Username=eve.address
        )
    answer = post(agent_url, {"prompt": "Show my profile"}, bearer(eve.access_token))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert eve.guest_id not in answer.text
