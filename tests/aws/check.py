"""What a check is, and the ways in which one can end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
THROTTLED = (
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)


class Failed(Exception):  # noqa: N818 - the outcome of a check
    """The deployment does not do what the check says; the text is why, in fixed words."""


class NotRun(Exception):  # noqa: N818
    """The check cannot tell here; the text is why not."""


class Throttled(Exception):  # noqa: N818
    """AWS said to slow down, which proves nothing; the text is who did."""


@dataclass(frozen=True, eq=False)
class Check:
    """One thing that a deployment must do.

    Attributes:
        name: What it does when all is well.
        advice: What to do when it does not.
        run: Raises `Failed`; it gets the stack, and what the checks in `needs` returned.
        needs: The checks whose results it works with.
        only_on_aws: Why it cannot run locally; empty where it can.
    """

    name: str
    advice: str
    run: Callable[..., Any]
    needs: Sequence["Check"] = ()
    only_on_aws: str = ""


def check(
    name: str, *, advice: str, needs: Sequence[Check] = (), only_on_aws: str = ""
) -> Callable[[Callable[..., Any]], Check]:
    """Make a check of a function."""
    return lambda function: Check(name, advice, function, needs, only_on_aws)


def require(holds: object, otherwise: str) -> None:
    """Let the check fail unless something holds."""
    if not holds:
        raise Failed(otherwise)


def code_of(error: ClientError) -> str:
    """Return the name of AWS's error."""
    return str(error.response.get("Error", {}).get("Code", "an unnamed error"))


def require_refused(call: Callable[[], Any], by: Sequence[str], otherwise: str) -> None:
    """Let the check fail unless AWS refuses a call with one of these errors."""
    try:
        call()
    except ClientError as error:
        if code_of(error) in THROTTLED:
            raise
        require(code_of(error) in by, f"{error.operation_name} was answered {code_of(error)}")
    else:
        raise Failed(otherwise)
