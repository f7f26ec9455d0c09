"""T35: requests on one connection, in any order and cut: none is served as another's."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.sign_in import EmailOtp
from agent.sign_in.settings import Settings
from tests.support.agent_process import SESSION_HEADER
from tests.support.attacks import claims_of
from tests.support.deployment import Deployment, new_address
from tests.support.fakes import Signer
from tests.support.raw_connection import Answer, RawConnection, request

type Who = Literal["ada", "bob", "guest", "refused"]

QUESTION = "Show my profile"
WHO: Sequence[Who] = ("ada", "bob", "guest", "refused")


@dataclass(frozen=True)
class Callers:
    """Two members with records, a guest without any, and one whose token is refused."""

    url: str
    access_tokens: dict[str, str]
    guest_ids: dict[str, str]

    def request(self, who: Who) -> bytes:
        """Return their question, in a chat of its own."""
        headers = []
        if who != "guest":
            headers = [("Authorization", f"Bearer {self.access_tokens[who]}")]
        return request(f"session-{uuid.uuid4()}", QUESTION, *headers)

    def check(self, who: Who, answer: Answer) -> None:
        """Check that the answer is theirs and nobody else's."""
        if who == "refused":
            assert (answer.status, "invalid_token" in answer.text) == (401, True)
        else:
            assert answer.status == 200
            (output,) = answer.outputs
            assert output["signed_in"] is (who != "guest")
        shown = {whose for whose, number in self.guest_ids.items() if number in answer.text}
        assert shown == {who} & self.guest_ids.keys()


@pytest.fixture(scope="module")
def callers(signed_url: str, settings: Settings, email_otp: EmailOtp, signer: Signer) -> Callers:
    access_tokens = {"refused": signer.sign(claims_of(settings, client_id="another"))}
    guest_ids = {}
    for who in ("ada", "bob"):
        sub = str(uuid.uuid4())
        access_tokens[who] = signer.sign(claims_of(settings, sub=sub))
        guest = email_otp.guests.record_login(sub, email=new_address(), name=who)
        guest_ids[who] = guest.guest_id
    return Callers(signed_url, access_tokens, guest_ids)


def test_t35_pipelined_request_without_a_token_is_a_guests(callers: Callers) -> None:
    """T35: sent back to back, the second with no header but its session's."""
    with RawConnection(callers.url) as connection:
        connection.send(callers.request("ada") + callers.request("guest"))
        callers.check("ada", connection.answer())
        callers.check("guest", connection.answer())


def test_t35_request_begun_during_anothers_answer_is_a_guests(callers: Callers) -> None:
    """T35: a single early byte, the rest when the first answer has ended."""
    second = callers.request("guest")
    with RawConnection(callers.url) as connection:
        connection.send(callers.request("ada"))
        connection.wait_for_answer()
        connection.send(second[:1])
        callers.check("ada", connection.answer())
        connection.send(second[1:])
        callers.check("guest", connection.answer())


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.lists(st.sampled_from(WHO), min_size=2, max_size=12), chance=st.randoms())
def test_t35_no_order_and_no_cut_shows_anothers_record(
    callers: Callers, order: list[Who], chance: random.Random
) -> None:
    """T35: what is sent is cut anywhere; some answers are waited for and some are not."""
    play(callers, order, chance)


def test_t35_hundreds_of_requests_on_one_connection(callers: Callers) -> None:
    """T35: in an order that repeats in no way."""
    chance = random.Random(35)  # noqa: S311 - no secret
    play(callers, chance.choices(WHO, k=400), chance)


def test_t35_connections_cut_off_and_interleaved(callers: Callers) -> None:
    """T35: what was left half-way on one connection is nothing on another."""
    chance = random.Random(53)  # noqa: S311 - no secret
    for _ in range(20):
        with RawConnection(callers.url) as connection:
            whole = callers.request("ada")
            connection.send(whole[: chance.randrange(1, len(whole))])
        with RawConnection(callers.url) as left:
            left.send(callers.request("bob"))
            left.wait_for_answer()
        with RawConnection(callers.url) as one, RawConnection(callers.url) as other:
            second = callers.request("guest")
            cut = chance.randrange(1, len(second))
            one.send(callers.request("ada"))
            other.send(second[:cut])
            callers.check("ada", one.answer())
            one.send(callers.request("guest"))
            other.send(second[cut:])
            callers.check("guest", other.answer())
            callers.check("guest", one.answer())


def test_t35_language_of_one_request_is_not_the_next_ones(
    stack: Deployment, signed_url: str
) -> None:
    """T35: the second asks for a code and names no language."""
    german, silent = new_address(), new_address()
    with RawConnection(signed_url) as connection:
        connection.send(
            request(f"session-{uuid.uuid4()}", f"I'm Ada, {german}", locale="de")
            + request(f"session-{uuid.uuid4()}", f"I'm Bob, {silent}")
        )
        assert [connection.answer().status for _ in range(2)] == [200, 200]
    assert stack.attributes(german)["locale"] == "de"
    assert "locale" not in stack.attributes(silent)


@pytest.mark.parametrize("name", ["Authorization", SESSION_HEADER])
def test_t35_header_sent_twice_is_refused(callers: Callers, name: str) -> None:
    """T35: two of one name could be read in two ways, here and in front of us."""
    values = {
        "Authorization": f"Bearer {callers.access_tokens['bob']}",
        SESSION_HEADER: f"session-{uuid.uuid4()}",
    }
    headers = [("Authorization", f"Bearer {callers.access_tokens['ada']}"), (name, values[name])]
    with RawConnection(callers.url) as connection:
        connection.send(request(f"session-{uuid.uuid4()}", QUESTION, *headers))
        answer = connection.answer()
    assert answer.status == 400
    assert "sent more than once" in answer.text


def play(callers: Callers, order: Sequence[Who], chance: random.Random) -> None:
    """Send these requests on one connection, cut by chance, and check each answer."""
    unsent, answered = b"", 0
    ends: list[int] = []
    with RawConnection(callers.url) as connection:
        sent = 0
        for who in order:
            unsent += callers.request(who)
            ends.append(sent + len(unsent))
            size = chance.choice([1, len(unsent) - 1, len(unsent), chance.randrange(len(unsent))])
            connection.send(unsent[:size])
            sent, unsent = sent + len(unsent[:size]), unsent[size:]
            sent_whole = sum(end <= sent for end in ends)
            # Not too far ahead: what is sent must fit into the buffers until it is read.
            while answered < sent_whole and (chance.random() < 0.5 or sent_whole - answered > 8):
                callers.check(order[answered], connection.answer())
                answered += 1
        connection.send(unsent)
        for who in order[answered:]:
            callers.check(who, connection.answer())
