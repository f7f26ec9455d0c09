"""Races on the ledger: many threads at once, decided by MiniStack's DynamoDB."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Barrier, Lock
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from infra.local import ministack
from infra.local.deployment import CREDENTIALS
from infra.settings import LOCAL_REGION
from lambdas.email_otp import answering, issuing
from lambdas.email_otp.answering import Answerer
from lambdas.email_otp.budgets import Budget
from lambdas.email_otp.challenge import LONG_CODE_DIGITS, Challenge
from lambdas.email_otp.code_key import CodeKey, CodeKeys
from lambdas.email_otp.issuing import Issued, Issuer
from lambdas.email_otp.ledger import Joined, Ledger, Outcome, Reserved
from lambdas.email_otp.mailer import Mailer
from lambdas.email_otp.settings import CreateSettings
from lambdas.email_otp.user import User
from tests.support.triggers import KEY, POOL, USER

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

TABLE = "races"
TTL_SECONDS = 300
SETTINGS = CreateSettings(
    code_ttl_seconds=TTL_SECONDS,
    code_length=6,
    max_attempts=3,
    max_sends_per_hour=1000,
    sender="login@example.com",
    app_name="Races",
)


@pytest.fixture(scope="module")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator["DynamoDBClient"]:
    """Start a MiniStack of our own, with an empty ledger in its DynamoDB."""
    home = tmp_path_factory.mktemp("races")
    started = ministack.start(home, ministack.free_port(), end_with_us=True)
    try:
        client = boto3.client(
            "dynamodb",
            endpoint_url=started.endpoint_url,
            region_name=LOCAL_REGION,
            # Threads on two cores wait longer than a Lambda may; a retry would hide a lost race.
            config=Config(
                read_timeout=60, retries={"total_max_attempts": 1}, max_pool_connections=100
            ),
            **CREDENTIALS,
        )
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "sub", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "sub", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client
    finally:
        ministack.stop(home)


@dataclass
class Mailbox(Mailer):
    """Takes mails in the place of SES."""

    codes: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def send(self, address: str, code: str, locale: str, *, asked_at: int) -> str:  # noqa: ARG002
        """Keep the code."""
        with self._lock:
            self.codes.append(code)
            self.addresses.append(address)
        return "example"


class OneKey(CodeKeys):
    """The code key, without Secrets Manager."""

    def __init__(self) -> None:
        pass

    def current(self) -> CodeKey:
        """Return the only version."""
        return KEY

    def version(self, version: str) -> CodeKey:
        """Return the only version."""
        assert version == KEY.version
        return KEY


@dataclass
class SignIns:
    """What the triggers share, over the real ledger, at a time that stands still."""

    client: "DynamoDBClient"
    at: float = 1_800_000_000
    max_sends_per_hour: int = 1000
    max_new_guests_per_hour: int = 1000
    user_pool_id: str = POOL
    mailbox: Mailbox = field(default_factory=Mailbox)

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            self.client, TABLE, code_ttl_seconds=TTL_SECONDS, clock=lambda: self.at
        )
        settings = replace(
            SETTINGS,
            max_sends_per_hour=self.max_sends_per_hour,
            max_new_guests_per_hour=self.max_new_guests_per_hour,
        )
        self.issuer = Issuer(self.ledger, self.mailbox, OneKey(), settings)
        self.answerer = Answerer(self.ledger, OneKey(), code_ttl_seconds=TTL_SECONDS)

    def start(self, user: User = USER) -> Issued:
        """Begin a sign-in."""
        return self.issuer.issue(user, user_pool_id=self.user_pool_id)

    def challenge(self, user: User = USER) -> Challenge:
        """Begin a sign-in; returns its challenge."""
        issued = self.start(user).challenge
        assert issued
        return issued

    def answer(self, challenge: Challenge, code: str, user: User = USER) -> bool:
        """Answer a challenge."""
        return self.answerer.decide(challenge, code, user) == "redeemed"

    def item(self, user: User = USER) -> dict[str, Any]:
        """Return the user's ledger item."""
        found = self.client.get_item(
            TableName=TABLE, Key={"sub": {"S": user.name}}, ConsistentRead=True
        )
        return found.get("Item", {})

    def wrong_answers(self, user: User = USER) -> int:
        """Return how many wrong answers the ledger remembers, at most 10."""
        return self._logged("w", 10, user)

    def sends(self, user: User) -> int:
        """Return how many of the user's mails the ledger remembers, at most 20."""
        return self._logged("s", 20, user)

    def sends_counted(self, counter: str = "sends") -> int:
        """Return how many mails the ledger has counted in this hour."""
        key = f"stack#{self.user_pool_id}#{int(self.at) // 3600}"
        return int(self.item(replace(USER, name=key))[counter]["N"])

    def _logged(self, log: str, length: int, user: User) -> int:
        item = self.item(user)
        return sum(int(item.get(f"{log}{i}", {"N": "0"})["N"]) > 0 for i in range(length))


@pytest.fixture(autouse=True)
def no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count nothing: metrics belong to a handler's one thread."""
    for module in (answering, issuing):
        monkeypatch.setattr(module, "count", lambda _: None)


@pytest.fixture
def sign_ins(dynamodb: "DynamoDBClient") -> SignIns:
    """Make sign-ins on an empty ledger."""
    for item in dynamodb.scan(TableName=TABLE).get("Items", []):
        dynamodb.delete_item(TableName=TABLE, Key={"sub": item["sub"]})
    return SignIns(dynamodb)


def at_once[T](calls: list[Callable[[], T]]) -> list[T]:
    """Make all calls at the same moment, each in its thread."""
    ready = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        ready.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def wrong_codes(code: str, count: int) -> list[str]:
    """Return other codes of the same length."""
    return [str((int(code) + i) % 10 ** len(code)).zfill(len(code)) for i in range(1, count + 1)]


def test_no_more_parallel_guesses_are_decided_than_serial_ones(sign_ins: SignIns) -> None:
    """T01: 100 wrong guesses at once over several sessions of one user, ten are counted."""
    sessions = [sign_ins.challenge() for _ in range(5)]
    [code] = sign_ins.mailbox.codes
    decided: list[bool] = []
    count = sign_ins.ledger.count_wrong_answer

    def counting(user_key: str, challenge: Challenge) -> bool:
        counted = count(user_key, challenge)
        decided.append(counted)
        return counted

    sign_ins.ledger.count_wrong_answer = counting  # type: ignore[method-assign]
    guesses = wrong_codes(code, 100)
    won = at_once(
        [lambda i=i: sign_ins.answer(sessions[i % 5], guesses[i]) for i in range(100)]  # type: ignore[misc]
    )
    assert not any(won)
    assert decided.count(True) == 10
    assert not sign_ins.answer(sessions[0], code)


def test_right_guess_among_many_wins_at_most_once(sign_ins: SignIns) -> None:
    """T01: the right one among 100; if it comes after the tenth wrong one it wins nothing."""
    for round_number in range(3):
        sign_ins.at += 30 * 24 * 3600
        sessions = [sign_ins.challenge() for _ in range(5)]
        code = sign_ins.mailbox.codes[-1]
        guesses = wrong_codes(code, 100)
        guesses[round_number * 45] = code
        won = at_once(
            [lambda s=sessions[i % 5], g=guesses[i]: sign_ins.answer(s, g) for i in range(100)]  # type: ignore[misc]
        )
        assert won.count(True) <= 1
        assert sign_ins.wrong_answers() <= 10
        assert won.count(True) == 1 or sign_ins.wrong_answers() == 10
        assert not sign_ins.answer(sessions[1], code)


def test_right_guess_after_ten_wrong_ones_wins_nothing(sign_ins: SignIns) -> None:
    """T01: 99 wrong guesses first, then the right one from 16 sessions at once."""
    sessions = [sign_ins.challenge() for _ in range(16)]
    [code] = sign_ins.mailbox.codes
    guesses = wrong_codes(code, 99)
    at_once([lambda g=g: sign_ins.answer(sessions[0], g) for g in guesses])  # type: ignore[misc]
    assert not any(at_once([lambda s=s: sign_ins.answer(s, code) for s in sessions]))  # type: ignore[misc]


def test_endless_sessions_end_in_long_codes(sign_ins: SignIns) -> None:
    """T02 and T03: sessions in parallel, three guesses each, with sign-ins between."""
    for _ in range(2):
        sessions = at_once([sign_ins.challenge] * 2)
        code = sign_ins.mailbox.codes[-1]
        guesses = wrong_codes(code, 2)
        at_once([lambda s=s, g=g: sign_ins.answer(s, g) for s in sessions for g in guesses])  # type: ignore[misc]
        assert sign_ins.answer(sessions[0], code)
        sign_ins.at += 601
    outstanding = sign_ins.challenge()
    assert outstanding.digits == 6
    short = sign_ins.mailbox.codes[-1]
    at_once([lambda g=g: sign_ins.answer(outstanding, g) for g in wrong_codes(short, 2)])  # type: ignore[misc]
    assert sign_ins.wrong_answers() == 10
    assert not sign_ins.answer(outstanding, short)
    sign_ins.at += 31
    long = sign_ins.challenge()
    assert (long.digits, long.max_attempts) == (LONG_CODE_DIGITS, 1)
    assert sign_ins.answer(long, sign_ins.mailbox.codes[-1])


@pytest.mark.parametrize("repeats", [3, 32])
def test_repeated_trigger_mails_one_code(sign_ins: SignIns, repeats: int) -> None:
    """T09: repeats at once are one mail and one code, and every reply takes it."""
    issued = at_once([sign_ins.start] * repeats)
    [code] = sign_ins.mailbox.codes
    ids = {each.challenge.id for each in issued if each.challenge}
    assert len(ids) == 1
    assert all(each.challenge for each in issued)
    last = issued[-1].challenge
    assert last
    assert sign_ins.answer(last, code)


def test_caps_hold_under_a_parallel_attack(sign_ins: SignIns) -> None:
    """T10: 5 mails in 15 minutes however many ask, and the last mailed code works."""
    for _ in range(8):
        at_once([sign_ins.start] * 10)
        sign_ins.at += 31
    assert len(sign_ins.mailbox.codes) == 5
    assert sign_ins.answer(sign_ins.challenge(), sign_ins.mailbox.codes[-1])
    sign_ins.at += 600
    at_once([sign_ins.start] * 10)
    assert len(sign_ins.mailbox.codes) == 6


def test_daily_cap_holds_under_a_parallel_attack(sign_ins: SignIns) -> None:
    """T10: 20 mails in 24 hours, then one for every ten minutes of quiet."""
    for _ in range(30):
        at_once([sign_ins.start] * 4)
        sign_ins.at += 300
    # Past the twentieth only every second request comes after ten minutes without a mail.
    assert len(sign_ins.mailbox.codes) == 25


def test_stacks_cap_holds_under_a_parallel_attack(dynamodb: "DynamoDBClient") -> None:
    """T10b: many addresses at once."""
    stack = SignIns(dynamodb, at=1_900_000_000, max_sends_per_hour=10)
    users = [replace(USER, name=f"user-{i}", address=f"user-{i}@example.com") for i in range(40)]
    issued = at_once([lambda user=user: stack.start(user) for user in users])  # type: ignore[misc]
    assert len(stack.mailbox.codes) == 10
    decoys = [each for each in issued if each.challenge and each.challenge.is_decoy]
    assert len(decoys) == 30
    assert all(each.busy for each in decoys)
    stack.at += 3600
    again = stack.start(users[-1]).challenge
    assert again
    assert not again.is_decoy


def test_t43_mailbox_holds_under_a_parallel_attack(sign_ins: SignIns) -> None:
    """A hundred spellings at once are five mails, and take no more from the hour."""
    spellings = [
        replace(USER, name=f"v{i}", address=f"vic.tim+{i}@example.com", email_verified=False)
        for i in range(100)
    ]
    at_once([lambda user=user: sign_ins.start(user) for user in spellings])  # type: ignore[misc]
    assert len(sign_ins.mailbox.codes) == 5
    assert sign_ins.sends_counted("newcomer_sends") == 5


def test_t41_flood_of_newcomers_takes_no_returning_guests_mail(sign_ins: SignIns) -> None:
    """All at once: the newcomers' budget holds, and each returning guest is mailed."""
    stack = SignIns(sign_ins.client, max_new_guests_per_hour=20)
    newcomers = [
        replace(USER, name=f"n{i}", address=f"n{i}@example.com", email_verified=False)
        for i in range(100)
    ]
    nobodies = [replace(USER, name=f"x{i}", address="", known=False) for i in range(50)]
    returning = [replace(USER, name=f"r{i}", address=f"r{i}@example.com") for i in range(50)]
    everybody = [user for group in zip(newcomers, returning * 2, strict=True) for user in group]
    issued = at_once([lambda u=user: stack.start(u) for user in everybody + nobodies])  # type: ignore[misc]
    assert all(each.challenge for each in issued)
    mailed = stack.mailbox.addresses
    assert sorted(at for at in mailed if at.startswith("r")) == sorted(r.address for r in returning)
    assert len([at for at in mailed if at.startswith("n")]) == 20
    assert stack.sends_counted("newcomer_sends") == 20
    assert stack.start(replace(USER, name="late")).busy


@pytest.mark.parametrize("newcomers", [False, True])
def test_500_first_rounds_at_once_each_get_a_mail(sign_ins: SignIns, newcomers: bool) -> None:
    """T38: everybody's mails are counted in one item, and nobody is refused for that."""
    users = [
        replace(
            USER, name=f"user-{i}", address=f"user-{i}@example.com", email_verified=not newcomers
        )
        for i in range(500)
    ]
    issued = at_once([lambda user=user: sign_ins.start(user) for user in users])  # type: ignore[misc]
    assert all(each.mail == "sent" for each in issued)
    assert sorted(sign_ins.mailbox.addresses) == sorted(user.address for user in users)
    assert sign_ins.sends_counted("newcomer_sends" if newcomers else "sends") == 500
    assert all(sign_ins.sends(user) == 1 for user in users)


def test_many_first_rounds_at_once_pass_no_cap(sign_ins: SignIns) -> None:
    """T10b: whoever comes too late for the hour is mailed in the next."""
    stack = SignIns(sign_ins.client, max_sends_per_hour=50)
    users = [replace(USER, name=f"user-{i}", address=f"user-{i}@example.com") for i in range(75)]
    # Each twice, as when Cognito repeats the trigger beside the first.
    at_once([lambda user=user: stack.start(user) for user in users * 2])  # type: ignore[misc]
    assert stack.sends_counted() == len(stack.mailbox.codes) <= 50
    # Some may have been refused for mails that were given back a moment later: they ask again.
    stack.at += 30
    for user in users:
        if user.address not in stack.mailbox.addresses:
            stack.start(user)
    assert stack.sends_counted() == len(stack.mailbox.codes) == 50
    mailed = [user for user in users if user.address in stack.mailbox.addresses]
    assert len(mailed) == len(stack.mailbox.addresses) == 50
    stack.at += 3600
    issued = [stack.start(user) for user in users if user not in mailed]
    assert all(each.mail == "sent" for each in issued)
    assert len(stack.mailbox.codes) == 75


def test_one_of_many_claims_wins(sign_ins: SignIns) -> None:
    """T33: a lost mail is taken over by one repeat only."""

    def reserve() -> Outcome:
        reservation = sign_ins.ledger.reserve(
            USER.name,
            Challenge.new(
                KEY, address=USER.address, issued_at=sign_ins.ledger.now(), digits=6, attempts=3
            ),
            budget=Budget(
                user_pool_id=POOL, counter="sends", max_sends=1000, max_newcomer_sends=200
            ),
            went_to_same_address=lambda challenge: challenge.was_mailed_to(USER.address, KEY),
        )
        return reservation.outcome

    assert isinstance(reserve(), Reserved)
    sign_ins.at += 4
    outcomes = at_once([reserve] * 16)
    assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Joined) for outcome in outcomes) == 15


def test_one_of_many_redeems_wins(sign_ins: SignIns) -> None:
    """T04: one code answered at once through many Create calls signs in once."""
    sessions = [sign_ins.challenge() for _ in range(16)]
    [code] = sign_ins.mailbox.codes
    won = at_once([lambda s=s: sign_ins.answer(s, code) for s in sessions])  # type: ignore[misc]
    assert won.count(True) == 1


def test_repeats_of_one_right_answer_all_stay_right(sign_ins: SignIns) -> None:
    """T32: Cognito repeats the same Verify call, even at once; no other session profits."""
    session, other = sign_ins.challenge(), sign_ins.challenge()
    [code] = sign_ins.mailbox.codes
    assert at_once([lambda: sign_ins.answer(session, code)] * 3) == [True] * 3
    assert not sign_ins.answer(other, code)
    sign_ins.at += 15
    assert not sign_ins.answer(session, code)


def test_repeat_of_a_redeemed_answer_outlives_the_code_by_seconds(sign_ins: SignIns) -> None:
    """T32: the expression that Verify uses past the code's last second, on a real DynamoDB."""
    session = sign_ins.challenge()
    [code] = sign_ins.mailbox.codes
    sign_ins.at += TTL_SECONDS - 1
    assert sign_ins.answer(session, code)
    sign_ins.at += 2
    before = sign_ins.item()
    assert sign_ins.answer(session, code)
    assert sign_ins.item() == before
    assert not sign_ins.answer(sign_ins.challenge(), code)


def test_older_and_newer_code_redeemed_at_once_sign_in_once(sign_ins: SignIns) -> None:
    """T07: two live codes of one user, answered at the same moment."""
    older = sign_ins.challenge()
    sign_ins.at += 31
    newer = sign_ins.challenge()
    first, second = sign_ins.mailbox.codes
    won = at_once([lambda: sign_ins.answer(older, first), lambda: sign_ins.answer(newer, second)])
    assert won.count(True) == 1
    looks = sign_ins.start()
    assert looks.mail == "decoy"


def test_item_holds_no_address_and_no_code(sign_ins: SignIns) -> None:
    """T22's share of the ledger."""
    sign_ins.challenge()
    [code] = sign_ins.mailbox.codes
    values = [value for held in sign_ins.item().values() for value in held.values()]
    assert code not in values
    assert not any("@" in value for value in values)
