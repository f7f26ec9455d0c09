"""Events as they must not be: either a well-formed answer or one fixed text, and never a yes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdas.email_otp.errors import TriggerError
from tests.support import aws_stand_in
from tests.support.clock import Clock
from tests.support.triggers import (
    EVENTS,
    EVENTS_ISSUED_AT,
    Event,
    Lambdas,
    assert_well_formed_challenge,
    assert_well_formed_definition,
    saved_event,
)

RIGHT = {"define_after_right_answer", "verify_right_answer"}
NAMES = sorted(path.stem for path in EVENTS.glob("*.json") if path.stem not in RIGHT)
TEXTS = {"AUTH_SERVICE_ERROR", "ERR_EMAIL_DELIVERY_FAILED"}

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["CUSTOM_CHALLENGE", "unanswerable", "true", "false", "null", "{}", "[]"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node)
    found: list[tuple[Any, ...]] = []
    for key, child in children:
        found.append((*path, key))
        if isinstance(child, dict | list):
            found += _places(child, (*path, key))
    return found


@st.composite
def malformed(draw: st.DrawFn) -> tuple[str, Event]:
    """Draw a saved event with some fields gone, some of another type and some too many."""
    name = draw(st.sampled_from(NAMES))
    event = saved_event(name)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_places(event)))
        parent = event
        for key in path[:-1]:
            parent = parent[key]
        change = draw(st.sampled_from(["remove", "replace", "add"]))
        if change == "replace":
            parent[path[-1]] = draw(odd_values)
        elif change == "remove":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=10))] = draw(odd_values)
        if not event or not _places(event):
            break
    return name, event


@contextlib.contextmanager
def fixed_text_or_none() -> Iterator[None]:
    """Let a trigger fail, if it fails with a fixed text."""
    try:
        yield
    except TriggerError as error:
        told = error
    else:
        return
    assert str(told) in TEXTS
    assert told.__cause__ is None


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(malformed())
@pytest.mark.usefixtures("aws")
def test_malformed_event_gets_a_well_formed_answer_or_a_fixed_text(
    case: tuple[str, Event],
) -> None:
    """T17: missing, extra and null fields, and those of another type."""
    name, event = case
    aws_stand_in.renew()
    lambdas = Lambdas(Clock(EVENTS_ISSUED_AT), short_cut=True)
    with fixed_text_or_none():
        match name.partition("_")[0]:
            case "define":
                response = lambdas.define(event)
                assert response["issueTokens"] is False
                assert_well_formed_definition(response)
            case "create":
                assert_well_formed_challenge(lambdas.create(event))
            case "verify":
                assert lambdas.verify(event) is False


@pytest.mark.parametrize("event", [None, [], "text", 5, {}, {"request": None, "response": None}])
@pytest.mark.parametrize("trigger", ["define", "create", "verify"])
def test_what_is_no_event_gets_a_fixed_text(lambdas: Lambdas, trigger: str, event: Any) -> None:
    """T17: as from the console's Test tab with its own default event."""
    with pytest.raises(TriggerError, match=r"^AUTH_SERVICE_ERROR$"):
        getattr(lambdas, trigger)(event)
