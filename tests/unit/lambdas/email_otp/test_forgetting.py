"""The sweep: who is due when, who is left alone, and what faults and short runs do to it."""

import itertools

import pytest

from lambdas.email_otp import forgetting
from lambdas.email_otp.forgetting import LOOK_BACK_HOURS, NotAllForgottenError
from tests.support.clock import NOW, Clock
from tests.support.fakes import aws_error
from tests.support.forgetting import HOUR, FakeAws

DAY = 24 * HOUR
START_OF_HOUR = NOW - NOW % HOUR


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    metrics: list[str] = []
    monkeypatch.setattr(forgetting, "count", metrics.append)
    return metrics


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws(Clock())


def run(aws: FakeAws, *, after_hours: int = 24) -> None:
    aws.sweep(after_hours=after_hours).run(lambda: 900)


def traces(aws: FakeAws, sub: str) -> set[str]:
    """Return where there is anything of a newcomer."""
    listed = {sub for subs in aws.lists.values() for sub in subs or ()}
    places = {"pool": aws.users.keys(), "lists": listed, "ledger": aws.ledger.keys()}
    return {place for place, names in places.items() if sub in names}


def test_t45_newcomer_who_never_answered_is_gone_everywhere(
    aws: FakeAws, counted: list[str]
) -> None:
    """T45."""
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - DAY, issued_at=NOW - DAY)
    run(aws)
    assert (aws.users, aws.ledger, aws.lists) == ({}, {}, {})
    assert counted == ["Forgotten"]


@pytest.mark.parametrize("after_hours", [2, 3, 24, 168])
def test_t45_address_is_gone_in_time_whenever_runs_are(after_hours: int) -> None:
    """T45: N hours after it came, or after the last mail to it; never within an hour of either."""
    came, runs, mailed = [0, 1, 1800, 3598, 3599], [0, 1, 1020, 3599], [None, 0, 5, 3000]
    for came_after, runs_at, mailed_after in itertools.product(came, runs, mailed):
        aws = FakeAws(Clock(START_OF_HOUR + runs_at))
        came_at = START_OF_HOUR + came_after
        last_at = came_at + (mailed_after or 0)
        item = {} if mailed_after is None else {"s0": last_at}
        aws.newcomer("ada", created_at=came_at, **item)
        while aws.users:
            assert aws.clock.now <= last_at + after_hours * HOUR
            if aws.clock.now >= last_at:
                run(aws, after_hours=after_hours)
                assert aws.users or aws.clock.now >= last_at + HOUR
            aws.clock.now += HOUR
        assert not traces(aws, "ada")


def test_newcomers_of_two_weeks_are_made_up_for(aws: FakeAws) -> None:
    newest = NOW // HOUR - 23
    oldest = newest - LOOK_BACK_HOURS + 1
    for hour in (oldest - 1, oldest, newest, newest + 1):
        aws.newcomer(str(hour), created_at=hour * HOUR)
    run(aws)
    assert aws.users.keys() == {str(oldest - 1), str(newest + 1)}


def test_nothing_pending_costs_four_reads(aws: FakeAws) -> None:
    run(aws)
    assert aws.calls == [("BatchGetItem", "")] * 4


def test_lists_that_a_read_left_out_are_read_again(aws: FakeAws) -> None:
    for hour in range(30, 330, 60):
        aws.newcomer(str(hour), created_at=NOW - hour * HOUR)
    aws.unprocessed = [99, 98, 50]
    run(aws)
    assert not aws.users


def test_hour_that_lists_nobody_is_deleted(aws: FakeAws) -> None:
    """Its counter is of no use any more; but not before it is over."""
    due, pending = NOW // HOUR - 30, NOW // HOUR - 1
    aws.lists = {due: None, pending: None}
    run(aws)
    assert aws.lists.keys() == {pending}


def test_t45_user_who_is_gone_already_leaves_nothing_in_the_ledger(aws: FakeAws) -> None:
    """T45: an operator deleted them, or a run that died."""
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - 60, w0=NOW - 60)
    aws.users.clear()
    run(aws)
    assert not traces(aws, "ada")


def test_newcomer_who_is_listed_meanwhile_stays_listed(aws: FakeAws) -> None:
    """The agent writes the name last: the hour may be over by then."""
    aws.newcomer("ada", created_at=NOW - DAY)
    hour = NOW // HOUR - 24

    def list_bob(operation: str, about: str) -> None:
        if (operation, about) == ("DeleteItem", str(hour)):
            aws.newcomer("bob", created_at=NOW - DAY)

    aws.before = list_bob
    run(aws)
    assert aws.lists == {hour: {"bob"}}


@pytest.mark.parametrize(
    "is_kept_by", ["verified address", "redeemed code", "guest record", "disabled by the team"]
)
def test_t45_who_signed_in_or_was_disabled_is_kept_and_not_asked_for_again(
    aws: FakeAws, is_kept_by: str
) -> None:
    """T45."""
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - DAY)
    match is_kept_by:
        case "verified address":
            aws.users["ada"]["email_verified"] = "true"
        case "redeemed code":
            aws.ledger["ada"]["done_at"] = {"N": str(NOW - DAY)}
        case "guest record":
            aws.guests.add("ada")
        case _:
            aws.users["ada"]["enabled"] = False
    ledger = dict(aws.ledger["ada"])
    run(aws)
    assert traces(aws, "ada") == {"pool", "ledger"}
    assert aws.ledger["ada"] == ledger
    assert not aws.lists
    aws.calls.clear()
    run(aws)
    assert {operation for operation, _ in aws.calls} == {"BatchGetItem"}


def test_t45_user_whom_nobody_listed_is_never_looked_at(aws: FakeAws) -> None:
    """T45: an operator made them."""
    aws.newcomer("ada", created_at=NOW - DAY)
    aws.lists.clear()
    run(aws)
    assert aws.users
    assert aws.calls == [("BatchGetItem", "")] * 4


def test_t45_sign_in_under_way_is_left_alone_and_done_later(aws: FakeAws) -> None:
    """T45: the last mail is less than an hour old."""
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - HOUR + 1)
    before = dict(aws.ledger["ada"])
    run(aws)
    assert traces(aws, "ada") == {"pool", "lists", "ledger"}
    assert aws.ledger["ada"] == before
    aws.clock.now += 1
    run(aws)
    assert not traces(aws, "ada")


def test_mail_every_hour_keeps_nobody_longer_than_the_mails_come(aws: FakeAws) -> None:
    """However long that is: two weeks back nobody is read any more."""
    aws.newcomer("ada", created_at=NOW)
    for _ in range(LOOK_BACK_HOURS + 48):
        aws.ledger["ada"] = {"s0": {"N": str(int(aws.clock()))}}
        aws.clock.now += 1000
        run(aws)
        assert "ada" in aws.users
        aws.clock.now += HOUR - 1000
    for _ in range(2):
        run(aws)
        aws.clock.now += HOUR
    assert not traces(aws, "ada")


@pytest.mark.parametrize("after_hours", [2, 24, 168])
def test_wrong_answers_are_not_forgotten_while_they_count(aws: FakeAws, after_hours: int) -> None:
    """T03: else a newcomer could be guessed at ten times a day, with short codes, for ever."""
    aws.newcomer("ada", created_at=NOW, s0=NOW, w0=NOW + 60)
    while aws.users:
        aws.calls.clear()
        run(aws, after_hours=after_hours)
        assert len(aws.calls) <= 15
        assert aws.clock.now < NOW + 60 + 20 * DAY + HOUR
        gone_at, aws.clock.now = aws.clock.now, aws.clock.now + HOUR
    assert gone_at >= NOW + 60 + 20 * DAY
    assert not traces(aws, "ada")


def test_who_waits_for_days_costs_nothing_meanwhile(aws: FakeAws) -> None:
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - DAY, w0=NOW - DAY)
    run(aws)
    aws.calls.clear()
    for _ in range(18 * 24):
        aws.clock.now += HOUR
        run(aws)
    assert {operation for operation, _ in aws.calls} == {"BatchGetItem"}
    assert "ada" in aws.users


def test_claim_takes_no_memory_from_who_is_not_forgotten_after_all(aws: FakeAws) -> None:
    """T03: the item keeps its own time to live, or wrong answers would lapse with the claim."""
    expires_at = NOW + 20 * DAY
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - DAY, expires_at=expires_at)
    aws.newcomer("bob", created_at=NOW - DAY)

    def fail(operation: str, _about: str) -> None:
        if operation == "AdminDeleteUser":
            raise aws_error(operation, "InternalErrorException")

    aws.before = fail
    with pytest.raises(NotAllForgottenError):
        run(aws)
    claimed = {"N": str(NOW)}
    assert aws.ledger["ada"]["forgotten_at"] == aws.ledger["bob"]["forgotten_at"] == claimed
    assert aws.ledger["ada"]["expires_at"] == {"N": str(expires_at)}
    assert aws.ledger["bob"]["expires_at"] == {"N": str(NOW + DAY)}


def test_claim_comes_before_the_user_goes_and_triggers_end_before_the_ledger_does(
    aws: FakeAws,
) -> None:
    aws.newcomer("ada", created_at=NOW - DAY, s0=NOW - DAY)
    run(aws)
    steps = [call for call in aws.calls if call[0] != "BatchGetItem"]
    assert steps == [
        ("AdminGetUser", "ada"),
        ("GetItem", "ada"),
        ("UpdateItem", "ada"),
        ("AdminDeleteUser", "ada"),
        ("sleep", str(forgetting.TRIGGER_SECONDS)),
        ("DeleteItem", "ada"),
        ("DELETE", str(NOW // HOUR - 24)),
        ("DeleteItem", str(NOW // HOUR - 24)),
    ]
    assert forgetting.TRIGGER_SECONDS > 3 * 5


def test_user_goes_before_the_ledger_lets_a_mail_go_again() -> None:
    """Each call at its slowest, with the pauses between its tries: at most 2**n s before each."""
    pauses = sum(2**n for n in range(forgetting.TRIES - 1))
    tries = forgetting.TRIES * (
        forgetting.CONNECT_TIMEOUT_SECONDS + forgetting.READ_TIMEOUT_SECONDS
    )
    claim = delete = tries + pauses
    assert claim + delete < 30 - 1


def test_one_who_cannot_be_forgotten_stops_nobody(
    aws: FakeAws, caplog: pytest.LogCaptureFixture, counted: list[str]
) -> None:
    subs = ["ada", "bob", "cleo", "dora"]
    for sub in subs:
        aws.newcomer(sub, created_at=NOW - DAY, s0=NOW - DAY)
    faults = {("AdminDeleteUser", "bob"), ("DeleteItem", "cleo")}

    def fail(operation: str, about: str) -> None:
        if (operation, about) in faults:
            raise aws_error(operation, "InternalErrorException", "quotes ada@example.com")

    aws.before = fail
    with pytest.raises(NotAllForgottenError, match=r"^NOT_ALL_FORGOTTEN$"):
        run(aws)
    assert aws.users.keys() == {"bob"}
    assert [sub for sub in subs if traces(aws, sub)] == ["bob", "cleo"]
    assert counted == ["Forgotten"] * 2
    failed = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert [(each["message"], each["sub"], each["error_code"]) for each in failed] == [
        ("newcomer not forgotten", "bob", "InternalErrorException"),
        ("newcomer not forgotten", "cleo", "InternalErrorException"),
    ]
    assert "@" not in str(failed)
    faults.clear()
    run(aws)
    assert (aws.users, aws.ledger, aws.lists) == ({}, {}, {})


def test_run_ends_early_and_the_next_one_goes_on(aws: FakeAws) -> None:
    for number in range(250):
        aws.newcomer(f"guest-{number}", created_at=NOW - DAY)
    seconds_left = iter([900, forgetting.RESERVE_SECONDS, forgetting.RESERVE_SECONDS - 1])
    aws.sweep().run(lambda: next(seconds_left))
    assert len(aws.users) == 50
    assert [about for operation, about in aws.calls if operation == "sleep"] == ["16", "16"]
    run(aws)
    assert (aws.users, aws.ledger, aws.lists) == ({}, {}, {})
