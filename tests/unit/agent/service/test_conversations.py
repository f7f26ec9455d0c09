"""Whose a conversation is, its turns and its history."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from strands.session.file_session_manager import FileSessionManager

from agent.main import create_app
from agent.service.conversations import SESSION_BUSY
from agent.sign_in.identity import TokenVerifier
from agent.sign_in.turns import EmailOtp
from tests.support.chunks import outputs_of, text_of
from tests.support.fakes import LOOPBACK, SESSION_ID, FakeCognito, Signer, access_claims
from tests.support.scripted_model import ScriptedModel, Step
from tests.support.service import (
    ADA,
    CONTEXT,
    OTHER_SESSION,
    SETTINGS,
    Browser,
    chunks_of,
    scripted,
    texts_shown,
)


def test_t20_session_belongs_to_who_began_it(browser: Browser, signer: Signer) -> None:
    ada, bob = (signer.sign(access_claims(sub=sub)) for sub in ("ada", "bob"))
    browser.access_token = ada
    browser.say("Hi")
    for intruder in (bob, None):
        browser.access_token = intruder
        response = browser.post({"prompt": "Hi"})
        assert response.status_code == 403
        assert response.json()["code"] == "foreign_session"
    browser.access_token = ada
    browser.say("Hi")


def test_anonymous_session_cannot_go_on_signed_in(browser: Browser, signer: Signer) -> None:
    browser.say("Hi")
    browser.access_token = signer.sign(access_claims())
    assert browser.post({"prompt": "Hi"}).status_code == 403


def test_t19_model_that_loops_is_stopped(
    email_otp: EmailOtp, verifier: TokenVerifier, cognito: FakeCognito
) -> None:
    loop = [("verify_cognito_otp", {"code_reference": "x"})]
    model = ScriptedModel(*[loop] * 50)
    browser = scripted(email_otp, verifier, model)
    browser.say("Hi")
    assert len(model.shown) <= 8
    assert not cognito.calls
    model.steps = ["fine"]
    assert text_of(browser.say("Hi")) == "fine"


def test_history_of_a_session_stays_with_it(email_otp: EmailOtp, verifier: TokenVerifier) -> None:
    model = ScriptedModel("one", "two", "three")
    browser = scripted(email_otp, verifier, model)
    browser.say("first")
    browser.session_id = OTHER_SESSION
    browser.say("second")
    browser.session_id = SESSION_ID
    browser.say("third")
    lengths = [len(messages) for messages, _ in model.shown]
    assert lengths == [1, 1, 3]


class Histories:
    """Starts the service again and again over the same stored histories."""

    def __init__(self, email_otp: EmailOtp, verifier: TokenVerifier, folder: Path) -> None:
        self.email_otp, self.verifier, self.folder = email_otp, verifier, folder

    def restart(self, *steps: Step, access_token: str | None = None) -> tuple[Browser, Any]:
        model = ScriptedModel(*steps)
        app = create_app(
            SETTINGS,
            email_otp=self.email_otp,
            verifier=self.verifier,
            model=model,
            session_manager=lambda name: FileSessionManager(name, str(self.folder)),
        )
        browser = Browser(TestClient(app, base_url=LOOPBACK))
        browser.access_token = access_token
        return browser, model

    @property
    def stored(self) -> str:
        return "".join(path.read_text() for path in self.folder.rglob("*.json"))


@pytest.fixture
def histories(email_otp: EmailOtp, verifier: TokenVerifier, tmp_path: Path) -> Histories:
    return Histories(email_otp, verifier, tmp_path)


def test_t20_history_survives_a_restart_for_its_member_alone(
    histories: Histories, signer: Signer
) -> None:
    ada, bob = (signer.sign(access_claims(sub=sub)) for sub in ("ada", "bob"))
    histories.restart("one", access_token=ada)[0].say("first")
    for other in (bob, None, signer.sign(access_claims(sub="anonymous"))):
        browser, model = histories.restart(access_token=other)
        browser.say("what did she say?")
        assert texts_shown(model) == ["what did she say?"]
    browser, model = histories.restart(access_token=ada)
    browser.say("second")
    assert texts_shown(model) == ["first", "one", "second"]


def test_history_of_an_anonymous_session_survives_a_restart(histories: Histories) -> None:
    histories.restart("one")[0].say("first")
    browser, model = histories.restart("two")
    browser.session_id = OTHER_SESSION
    browser.say("elsewhere")
    assert texts_shown(model) == ["elsewhere"]
    browser, model = histories.restart("two")
    browser.say("second")
    assert texts_shown(model) == ["first", "one", "second"]


def test_t22_code_typed_after_a_restart_reaches_neither_model_nor_history(
    histories: Histories,
) -> None:
    histories.restart()[0].say("first")
    browser, model = histories.restart()
    browser.say("it begins with 407")  # shown where no code was ever asked for
    assert "[code_reference: " in texts_shown(model)[-1]
    assert "with 407" not in str(model.shown) + histories.stored


def test_turn_that_did_not_end_well_is_not_stored(histories: Histories) -> None:
    lost: Step = [("get_guest_profile", {})]
    browser, _ = histories.restart("one", RuntimeError(), lost, RuntimeError(), "two")
    for prompt in ("first", "lost", "lost too", "second"):
        browser.say(prompt)
    assert "lost" not in histories.stored
    assert "get_guest_profile" not in histories.stored
    browser, model = histories.restart()
    browser.say("third")
    assert texts_shown(model) == ["first", "one", "second", "two", "third"]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_turn_that_was_stored_in_part_is_not_loaded(histories: Histories, lost: int) -> None:
    browser, _ = histories.restart("one", [("get_guest_profile", {})], "lost")
    browser.say("first")
    browser.say("in part")
    for end in sorted(histories.folder.rglob("message_*.json"))[-lost:]:
        end.unlink()
    for answer in ("two", "three"):
        browser, model = histories.restart(answer)
        browser.say("next")
    assert texts_shown(model) == ["first", "one", "next", "two", "next"]


def test_history_that_cannot_be_saved_stops_no_answer(
    histories: Histories, caplog: pytest.LogCaptureFixture
) -> None:
    browser, model = histories.restart("one", "two", "three")
    browser.say("first")
    (messages,) = histories.folder.rglob("messages")
    shutil.rmtree(messages)
    messages.write_text("")
    assert text_of(browser.say("second")) == "two"
    browser.say("third")
    assert texts_shown(model) == ["first", "one", "second", "two", "third"]
    assert "history not saved" in caplog.messages
    assert str(histories.folder) not in caplog.text  # in the exception's text


def test_turn_that_fails_in_a_long_history_leaves_nothing(histories: Histories) -> None:
    browser, model = histories.restart(*["fine"] * 30, RuntimeError("canary"))
    for number in range(30):
        browser.say(str(number))
    browser.say("lost")
    browser.say("next")
    assert "lost" not in texts_shown(model)
    assert texts_shown(model)[-3:] == ["29", "fine", "next"]
    kept = len(model.shown[-1][0])
    browser, model = histories.restart()
    browser.say("later")
    assert texts_shown(model)[-5:] == ["29", "fine", "next", "done", "later"]
    assert kept <= len(model.shown[-1][0]) <= kept + 2


def test_t22_stored_history_of_a_login_holds_no_secret(
    email_otp: EmailOtp, verifier: TokenVerifier, cognito: FakeCognito, tmp_path: Path
) -> None:
    app = create_app(
        SETTINGS,
        email_otp=email_otp,
        verifier=verifier,
        session_manager=lambda name: FileSessionManager(name, str(tmp_path)),
    )
    browser = Browser(TestClient(app, base_url=LOOPBACK))
    browser.say(f"I'm Ada, {ADA}")
    code = cognito.mailed[-1][1]
    browser.say("It says 000000")
    (tokens,) = outputs_of(browser.say(f"It says {code}"))
    stored = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "code_reference" in stored
    assert tokens["guest_id"] in stored
    for secret in (code, *cognito.issued):
        assert secret not in stored
    (agent,) = tmp_path.rglob("agent.json")
    assert json.loads(agent.read_text())["state"] == {}


def test_second_request_of_a_busy_session_is_refused(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    go_on = asyncio.Event()

    class WaitingModel(ScriptedModel):
        async def stream(self, messages: Any, *shown: Any, **named: Any) -> AsyncGenerator[Any]:
            await go_on.wait()
            async for event in super().stream(messages, *shown, **named):
                yield event

    invoke = create_app(
        SETTINGS, email_otp=email_otp, verifier=verifier, model=WaitingModel("first")
    ).handlers["main"]

    async def run() -> None:
        accepted = [chunks_of(await invoke({"prompt": "me"}, CONTEXT)) for _ in range(2)]
        assert await anext(accepted[0]) == {"type": "start"}
        refused = await invoke({"prompt": "me too"}, CONTEXT)
        assert refused.status_code == 400
        assert json.loads(refused.body)["code"] == "session_busy"
        late = [chunk async for chunk in accepted[1]]
        assert late == [{"type": "error", "errorText": SESSION_BUSY}, {"type": "finish"}]
        go_on.set()
        assert text_of([chunk async for chunk in accepted[0]]) == "first"
        again = chunks_of(await invoke({"prompt": "again"}, CONTEXT))
        assert text_of([chunk async for chunk in again]) == "done"

    asyncio.run(run())


def test_browser_that_goes_away_leaves_the_session_usable(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    model = ScriptedModel("never heard", "heard")
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=model)
    invoke = app.handlers["main"]

    async def run() -> list[Any]:
        stream = chunks_of(await invoke({"prompt": "Hi"}, CONTEXT))
        assert await anext(stream) == {"type": "start"}
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0.1)  # the turn ends on its own loop
        return [chunk async for chunk in chunks_of(await invoke({"prompt": "Hi"}, CONTEXT))]

    assert text_of(asyncio.run(run())) == "heard"


def test_browser_that_goes_away_during_a_tool_leaves_nothing_of_the_turn(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    model = ScriptedModel([("get_guest_profile", {})], "heard")
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=model)
    invoke = app.handlers["main"]

    async def run() -> None:
        stream = chunks_of(await invoke({"prompt": "left"}, CONTEXT))
        while (await anext(stream))["type"] != "tool-input-available":
            pass
        await stream.aclose()
        await asyncio.sleep(0.1)  # the turn ends on its own loop
        again = chunks_of(await invoke({"prompt": "Hi"}, CONTEXT))
        assert text_of([chunk async for chunk in again]) == "heard"

    asyncio.run(run())
    assert texts_shown(model) == ["Hi"]


@pytest.fixture
def few_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.service.conversations.MAX_SESSIONS", 20)


@pytest.mark.usefixtures("few_chats")
@pytest.mark.parametrize("as_member", [False, True])
def test_t38_flood_of_sessions_wipes_no_chat_in_mid_sign_in(
    browser: Browser, cognito: FakeCognito, signer: Signer, *, as_member: bool
) -> None:
    """T38: what it displaces is other newcomers, or that member's own."""
    token = signer.sign(access_claims()) if as_member else None
    browser.say(f"I'm Ada, {ADA}")
    for number in range(21):
        other = Browser(browser.http)
        other.access_token = token
        other.session_id = f"{SESSION_ID}-{number}"
        other.post({"prompt": "Hi"})
    (event,) = outputs_of(browser.say("It did not come, please send a new code"))
    assert event["success"] is True  # the chat knows the address still
    (event,) = outputs_of(browser.say("", code=cognito.mailed[-1][1]))
    assert event["email"] == ADA


def test_t38_browser_that_left_before_its_turn_began_holds_no_place(
    email_otp: EmailOtp, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sign_in.capacity.ANONYMOUS_AT_ONCE", 1)
    invoke = create_app(SETTINGS, email_otp=email_otp, verifier=verifier).handlers["main"]

    async def gone(_: Any) -> None:
        raise OSError

    async def run() -> int:
        answer = await invoke({"prompt": "Hi"}, CONTEXT)
        with pytest.raises((OSError, ClientDisconnect)):
            await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, gone, gone)
        return int((await invoke({"prompt": "Hi"}, CONTEXT)).status_code)

    assert asyncio.run(run()) == 200


def test_t38_flood_of_newcomers_wipes_no_members_chat(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.service.conversations.MAX_SESSIONS", 5)
    model = ScriptedModel("one")
    member = scripted(email_otp, verifier, model)
    member.access_token = signer.sign(access_claims())
    member.say("first")
    for number in range(10):
        newcomer = Browser(member.http)
        newcomer.session_id = f"{SESSION_ID}-{number}"
        newcomer.say("Hi")
    member.say("second")
    assert texts_shown(model) == ["first", "one", "second"]


def test_t38_slow_histories_hold_up_nobody(
    email_otp: EmailOtp, verifier: TokenVerifier, tmp_path: Path
) -> None:
    """T38: neither while they are read nor while they are written."""
    reading, writing = threading.Event(), threading.Event()

    class SlowManager(FileSessionManager):
        def initialize(self, agent: Any, **named: Any) -> None:
            assert reading.wait(20)
            super().initialize(agent, **named)

        def append_message(self, *shown: Any, **named: Any) -> None:
            assert writing.wait(20)
            super().append_message(*shown, **named)

    app = create_app(
        SETTINGS,
        email_otp=email_otp,
        verifier=verifier,
        session_manager=lambda name: SlowManager(name, storage_dir=str(tmp_path)),
    )
    invoke = app.handlers["main"]

    async def ask() -> None:
        answer = await invoke({"prompt": "Hi"}, CONTEXT)
        assert [chunk async for chunk in chunks_of(answer)]

    async def run() -> None:
        asked = asyncio.create_task(ask())
        await asyncio.sleep(0.1)  # which a loop that is held up could not
        busy = await invoke({"prompt": "Hi"}, CONTEXT)
        assert json.loads(busy.body)["code"] == "session_busy"
        reading.set()
        await asyncio.sleep(0.1)
        busy = await invoke({"prompt": "Hi"}, CONTEXT)
        assert json.loads(busy.body)["code"] == "session_busy"
        writing.set()
        await asked

    asyncio.run(run())


def test_history_that_cannot_be_loaded_leaves_the_session_usable(
    email_otp: EmailOtp, verifier: TokenVerifier, tmp_path: Path
) -> None:
    failures = [OSError("canary")]

    def manager(name: str) -> FileSessionManager:
        if failures:
            raise failures.pop()
        return FileSessionManager(name, str(tmp_path))

    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, session_manager=manager)
    browser = Browser(TestClient(app, base_url=LOOPBACK))
    failed = browser.post({"prompt": "Hi"})
    assert (failed.status_code, "canary" in failed.text) == (500, False)
    browser.say("Hi")


def test_short_numbers_are_shown_where_no_code_was_asked_for(histories: Histories) -> None:
    browser, model = histories.restart()
    browser.say("room 407")
    assert texts_shown(model) == ["room 407"]


def test_short_numbers_of_a_member_are_shown_after_a_restart(
    histories: Histories, signer: Signer
) -> None:
    token = signer.sign(access_claims())
    histories.restart(access_token=token)[0].say("first")
    browser, model = histories.restart(access_token=token)
    browser.say("room 407")
    assert texts_shown(model)[-1] == "room 407"


def test_t38_one_address_displaces_its_own_chats_alone(
    email_otp: EmailOtp,
    verifier: TokenVerifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.service.conversations.MAX_SESSIONS", 5)
    model = ScriptedModel([("initiate_cognito_login", {"email": ADA})], "one")
    browser = scripted(email_otp, verifier, model)
    browser.say(f"I'm {ADA}")
    for number in range(10):
        mallory = Browser(browser.http)
        mallory.session_id = f"{SESSION_ID}-{number}"
        model.steps = [[("initiate_cognito_login", {"email": "mallory@example.com"})], "done"]
        mallory.say("mallory@example.com")
    browser.say("second")
    assert f"I'm {ADA}" in str(model.shown[-1])
