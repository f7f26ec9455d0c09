"""What the logs hold."""

import json
import logging

import pytest

from agent.observability import JsonFormatter, describe, pin_library_loggers
from tests.unit.agent.fakes import aws_error

SECRET = "canary"


def test_exceptions_are_described_without_their_text() -> None:
    try:
        raise aws_error("AdminInitiateAuth", "Oops", SECRET)
    except Exception as error:
        described = describe(error)
    assert described["aws_error_code"] == "Oops"
    assert described["operation"] == "AdminInitiateAuth"
    assert SECRET not in str(described)


def test_only_known_keys_are_written() -> None:
    record = logging.makeLogRecord({"msg": "said", "outcome": "SIGNED_IN", "prompt": SECRET})
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["outcome"]) == ("said", "SIGNED_IN")
    assert SECRET not in str(line)


@pytest.mark.parametrize("name", ["botocore.endpoint", "botocore.parsers", "strands.tools.x"])
def test_t22_library_debug_records_are_empty_even_if_somebody_turns_them_on(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    pin_library_loggers()
    pin_library_loggers()
    caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger(name).debug("response: %s", SECRET)
    logging.getLogger(name).info("retrying")
    assert [r.getMessage() for r in caplog.records] == ["withheld", "retrying"]
    assert SECRET not in caplog.text


def test_other_debug_records_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    pin_library_loggers()
    caplog.set_level(logging.DEBUG)
    logging.getLogger("shop").debug("sold %d", 3)
    assert caplog.messages == ["sold 3"]
