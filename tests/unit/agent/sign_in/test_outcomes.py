"""What the tools answer: types that tell each other apart, and hold no secret when printed."""

import json
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from agent.sign_in import CodeSent, ErrorCode, Refused, TokenDeliveryEvent
from agent.sign_in.outcomes import MESSAGES
from tests.support.tool_outputs import FILE, examples


def test_page_is_tested_with_what_is_sent() -> None:
    """If not: `python -m tests.support.tool_outputs`."""
    assert json.loads(FILE.read_text("utf-8")) == examples()


def test_refusal_is_told_apart_by_success() -> None:
    read = TypeAdapter[Any](Annotated[CodeSent | Refused, Field(discriminator="success")])
    for output, kind in ((examples()["sent"], CodeSent), (examples()["refused"][0], Refused)):
        assert type(read.validate_json(json.dumps(output))) is kind


@pytest.mark.parametrize("change", [{"expires_in": "900"}, {"more": 1}, {"success": False}])
def test_token_delivery_is_read_strictly(change: dict[str, Any]) -> None:
    output = examples()["delivery"]
    assert TokenDeliveryEvent.model_validate(output).output() == output
    with pytest.raises(ValidationError) as refused:
        TokenDeliveryEvent.model_validate(output | change)
    assert output["id_token"] not in str(refused.value)


def test_token_delivery_prints_no_token_and_does_not_change() -> None:
    delivery = TokenDeliveryEvent.model_validate(examples()["delivery"])
    for token in (delivery.id_token, delivery.access_token, delivery.refresh_token):
        assert token not in repr(delivery) + str(delivery)
    with pytest.raises(ValidationError):
        delivery.id_token = ""


def test_refusal_has_the_words_of_its_code_or_better_ones_and_nothing_unknown() -> None:
    refused = Refused(error_code=ErrorCode.OTP_EXPIRED)
    assert refused.output() == {
        "success": False,
        "error_code": "OTP_EXPIRED",
        "message": MESSAGES[ErrorCode.OTP_EXPIRED],
    }
    assert Refused(error_code=ErrorCode.RATE_LIMITED, message="Later.").message == "Later."
