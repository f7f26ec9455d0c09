"""Runs the checks one after the other, and prints a line for each."""

import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.check import DENIED, THROTTLED, Check, Failed, NotRun, Throttled, code_of
from tests.aws.permissions import permission_for
from tests.aws.stack import Stack

STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By Ctrl-C, by who ends the process, and by a terminal that closes."""
_PROGRESS_SECONDS = 2
_PROGRESS_SECONDS_LATER = 30
_TOLD_BY_TRIGGERS = ("ERR_EMAIL_DELIVERY_FAILED", "AUTH_SERVICE_ERROR")


class _Outcome(NamedTuple):
    """How a check ended.

    Attributes:
        mark: `ok`, `FAIL` or `-` for a check that was not run.
        reason: What follows its name.
        advice: What to do.
    """

    mark: str
    reason: str = ""
    advice: str = ""


def prove(stack: Stack, checks: Sequence[Check]) -> int:
    """Run the checks, remove what they made, and say how it went.

    Args:
        stack: The deployment.
        checks: In an order in which each comes after those it needs.

    Returns:
        The exit code: 1 if a check or the clean-up failed, 0 otherwise.
    """
    started_at = time.monotonic()
    results: dict[Check, Any] = {}
    counts = {"ok": 0, "FAIL": 0, "-": 0}
    try:
        for each in checks:
            outcome = _outcome(stack, each, results)
            counts[outcome.mark] += 1
            _print(outcome, each.name)
    except KeyboardInterrupt:
        _say("stopped")
        raise
    finally:
        removed_all = _clean_up(stack)
    counts["FAIL"] += not removed_all
    seconds = time.monotonic() - started_at
    where = "in MiniStack, not on AWS: " if stack.is_local else ""
    counted = f"{counts['ok']} ok, {counts['FAIL']} failed, {counts['-']} not run"
    _say(f"{where}{counted}, {seconds:.0f} s")
    return 1 if counts["FAIL"] else 0


def _outcome(stack: Stack, each: Check, results: dict[Check, Any]) -> _Outcome:
    """Run a check and note its result."""
    if stack.is_local and each.only_on_aws:
        return _Outcome("-", f"not run here ({each.only_on_aws})")
    if lacking := [needed for needed in each.needs if needed not in results]:
        return _Outcome("-", f"not run: needs {lacking[0].name}")
    try:
        with _progress(each):
            results[each] = each.run(stack, *[results[needed] for needed in each.needs])
    except NotRun as error:
        return _Outcome("-", f"not run here ({error})")
    except Exception as error:
        return _fault(error, each.advice)
    return _Outcome("ok")


def _fault(error: Exception, advice: str) -> _Outcome:
    if by := _throttled_by(error):
        return _Outcome("-", f"not run: {by} said to slow down; run this again in a few minutes")
    if _is(error, DENIED) and (permission := permission_for(error.operation_name)):
        return _Outcome(
            "FAIL",
            f"you may not call {permission}",
            "Allow it to your credentials; the README lists all that is needed.",
        )
    return _Outcome("FAIL", _reason(error), advice)


def _throttled_by(error: Exception) -> str:
    if isinstance(error, Throttled):
        return str(error)
    return error.operation_name if _is(error, THROTTLED) else ""


def _is(error: Exception, names: Sequence[str]) -> TypeGuard[ClientError]:
    return isinstance(error, ClientError) and code_of(error) in names


def _reason(error: Exception) -> str:
    """Say what went wrong, in words that hold nothing of what was sent or answered."""
    match error:
        case Failed():
            return str(error)
        case ClientError():
            told = [word for word in _TOLD_BY_TRIGGERS if word in str(error)]
            return " ".join([error.operation_name, "was answered", code_of(error), *told])
        case BotoCoreError() | httpx.HTTPError():
            return f"a call got no answer ({type(error).__name__})"
        case _:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            return f"the check itself broke ({type(error).__name__} in {where})"


@contextmanager
def _progress(each: Check) -> Iterator[None]:
    """Say that a check is at work once that takes a while, and now and then after that."""
    started_at, done = time.monotonic(), threading.Event()

    def tell() -> None:
        pause = _PROGRESS_SECONDS
        while not done.wait(pause):
            _say(f"...   {each.name} ({time.monotonic() - started_at:.0f} s)")
            pause = _PROGRESS_SECONDS_LATER

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _clean_up(stack: Stack) -> bool:
    """Remove what was made; returns whether all of it is gone."""
    with _undisturbed():
        removed = stack.remove_what_was_made()
    _say(f"removed what was made: {removed.users} users, {removed.items} items of the two tables")
    for left, error in removed.left:
        fault = _fault(error, "Remove it by hand: nothing else does.")
        _print(fault._replace(mark="FAIL"), f"removing {left}")
    return not removed.left


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hear no second Ctrl-C: what it left behind, nobody would find."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in STOPPED_BY}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _print(outcome: _Outcome, name: str) -> None:
    _say(f"{outcome.mark:5} {name}" + (f": {outcome.reason}" if outcome.reason else ""))
    if outcome.advice:
        _say(f"      {outcome.advice}")


def _say(line: str) -> None:
    print(line, flush=True)
