"""T38: slow answers, browsers that left, and sign-ins at a slow Cognito hold up nobody else."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

from agent.service.offline_model import OfflineModel
from agent.service.settings import ServiceSettings
from agent.sign_in import EmailOtp
from agent.sign_in.capacity import ANONYMOUS_AT_ONCE, CODE_REQUEST_THREADS
from tests.support.agent_process import Chat
from tests.support.attacks import Member, bearer, is_well, post
from tests.support.chunks import outputs_of
from tests.support.deployment import Deployment, http, new_address
from tests.support.raw_connection import RawConnection, request
from tests.support.serving import email_otp_of, root_session, serving
from tests.support.waiting import wait_until

SLOW_ANSWERS = 45  # more than the threads a Starlette service has for streams
SLOW_SIGN_INS = 12


class SlowModel(OfflineModel):
    """Takes as long for "slowly" as the test wants.

    Attributes:
        answering: How many such answers are under way.
        go_on: Set by the test to let them end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answering = 0
        self.go_on = threading.Event()

    async def stream(
        self, messages: Messages, *shown: Any, **named: Any
    ) -> AsyncIterable[StreamEvent]:
        """Answer, and if it is to be slow, not before `go_on`."""
        if messages[-1]["content"] == [{"text": "slowly"}]:
            self.answering += 1
            try:
                while not self.go_on.is_set():  # noqa: ASYNC110 - the test sets it, in a thread
                    await asyncio.sleep(0.05)
            finally:
                self.answering -= 1
        async for event in super().stream(messages, *shown, **named):
            yield event


@pytest.fixture
def model() -> SlowModel:
    return SlowModel()


@pytest.fixture
def url(settings: ServiceSettings, email_otp: EmailOtp, model: SlowModel) -> Iterator[str]:
    with serving(settings, email_otp=email_otp, model=model) as url:
        yield url
        model.go_on.set()


def slow_answers(
    url: str, model: SlowModel, connections: ExitStack, count: int
) -> list[RawConnection]:
    """Ask for answers that do not end; returns when all have begun."""
    slow = [connections.enter_context(RawConnection(url)) for _ in range(count)]
    for connection in slow:
        connection.send(request(f"session-{uuid.uuid4()}", "slowly"))
    wait_until(lambda: model.answering == count)
    return slow


def sees_own_record(url: str, member: Member) -> bool:
    chat = Chat(url, access_token=member.access_token)
    (profile,) = outputs_of(chat.say("Show my profile"))
    return bool(profile["guest"]["guest_id"] == member.guest_id)


def test_t38_slow_answers_hold_up_nobody(url: str, model: SlowModel, ada: Member) -> None:
    with ExitStack() as connections:
        slow = slow_answers(url, model, connections, SLOW_ANSWERS)
        assert http.get(f"{url}/ping").status_code == 200
        assert is_well(url)
        assert sees_own_record(url, ada)
        model.go_on.set()
        assert all('"finish"' in connection.answer().text for connection in slow)


def test_t38_browsers_that_left_hold_up_nobody(url: str, model: SlowModel) -> None:
    with ExitStack() as connections:
        for connection in slow_answers(url, model, connections, SLOW_ANSWERS):
            connection.wait_for_answer()
    assert http.get(f"{url}/ping").status_code == 200
    assert is_well(url)
    wait_until(lambda: model.answering == 0)  # though nobody let it go on


def test_t38_flood_of_visitors_is_told_busy_and_the_agent_recovers(
    url: str, model: SlowModel, ada: Member
) -> None:
    """T38: a member is answered meanwhile."""
    with ExitStack() as connections:
        slow_answers(url, model, connections, ANONYMOUS_AT_ONCE)
        refused = post(url, {"prompt": "When are you open?"})
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert refused.headers["retry-after"] == "5"
        assert sees_own_record(url, ada)
        wrong = post(url, {"prompt": "When are you open?"}, bearer("no token"))
        assert wrong.status_code == 401
    wait_until(lambda: post(url, {"prompt": "When are you open?"}).status_code == 200)


def test_t38_sign_ins_at_a_slow_cognito_hold_up_nobody(
    stack: Deployment, settings: ServiceSettings, ada: Member
) -> None:
    """T38: nobody else's record waits for them, and none of them fails."""
    held = threading.Semaphore(0)
    go_on = threading.Event()

    def hold(**_: Any) -> None:
        held.release()
        go_on.wait(15)

    session = root_session(settings)
    session.events.register("before-send.cognito-idp.AdminInitiateAuth", hold)
    addresses = [new_address() for _ in range(SLOW_SIGN_INS)]
    with (
        serving(settings, email_otp=email_otp_of(settings, session)) as url,
        ThreadPoolExecutor(SLOW_SIGN_INS) as pool,
    ):
        sign_ins = [pool.submit(Chat(url).say, f"I'm Ada, {address}") for address in addresses]
        assert all(held.acquire(timeout=20) for _ in range(CODE_REQUEST_THREADS))
        assert http.get(f"{url}/ping").status_code == 200
        assert is_well(url)
        assert sees_own_record(url, ada)
        assert not any(sign_in.done() for sign_in in sign_ins)
        go_on.set()
        sent = [output for each in sign_ins for output in outputs_of(each.result())]
    assert [output["success"] for output in sent] == [True] * SLOW_SIGN_INS
    assert all(stack.code_mailed_to(address) for address in addresses)
