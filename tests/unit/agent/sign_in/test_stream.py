"""The sealed value and the mapping to the browser's stream."""

import asyncio
import copy
import dataclasses
import gc
import json
import pickle
import pprint
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.sign_in.client_only import ClientOnly, open_for_client
from agent.sign_in.stream import (
    STREAM_FAILED,
    TOOL_FAILED,
    ui_message_chunks,
)

SECRET = "canary-token"


def mapped(*events: Any) -> list[dict[str, Any]]:
    async def source() -> AsyncIterator[Any]:
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    async def collect() -> list[dict[str, Any]]:
        return [chunk async for chunk in ui_message_chunks(source())]

    return asyncio.run(collect())


def tool_use(tool_use_id: str, name: str = "verify_cognito_otp") -> dict[str, Any]:
    return {"toolUseId": tool_use_id, "name": name, "input": {"code_reference": "code-x"}}


def tool_result(tool_use_id: str, text: str, status: str = "success") -> dict[str, Any]:
    block = {"toolUseId": tool_use_id, "status": status, "content": [{"text": text}]}
    return {"message": {"role": "user", "content": [{"toolResult": block}]}}


def tool_stream(tool_use_id: str, data: Any) -> dict[str, Any]:
    return {
        "type": "tool_stream",
        "tool_stream_event": {"tool_use": tool_use(tool_use_id), "data": data},
    }


def test_sealed_value_opens_for_the_client() -> None:
    assert open_for_client(ClientOnly({"id_token": SECRET})) == {"id_token": SECRET}


def test_sealed_value_shows_nothing_however_it_is_looked_at() -> None:
    @dataclasses.dataclass
    class Holder:
        sealed: ClientOnly

    sealed = ClientOnly({"id_token": SECRET})
    views = [
        str(sealed),
        repr(sealed),
        f"{sealed}",
        f"{sealed!r:>20}",
        pprint.pformat({"x": [sealed]}),
        json.dumps([sealed], default=str),
        str(dataclasses.asdict(Holder(sealed))),
        str(copy.deepcopy({"x": sealed})),
        str(copy.copy(sealed)),
        str([getattr(sealed, name, None) for name in dir(sealed)]),
        str(gc.get_referents(sealed)),
    ]
    assert "<client-only>" in views[0]
    assert SECRET not in "".join(views)
    with pytest.raises(TypeError):
        vars(sealed)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_sealed_value_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be serialized"):
        pickle.dumps(ClientOnly({"id_token": SECRET}), protocol)


def test_sealed_value_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(ClientOnly({"id_token": SECRET}))


def test_start_comes_before_the_first_event() -> None:
    async def never() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield {}

    async def first() -> Any:
        return await asyncio.wait_for(anext(ui_message_chunks(never())), 1)

    assert asyncio.run(first()) == {"type": "start"}


def test_text_is_one_block_until_the_message_ends() -> None:
    assert mapped(
        {"data": "Hel"},
        {"data": "lo"},
        {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
        {"data": "Bye"},
    ) == [
        {"type": "start"},
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Hel"},
        {"type": "text-delta", "id": "text-1", "delta": "lo"},
        {"type": "text-end", "id": "text-1"},
        {"type": "text-start", "id": "text-2"},
        {"type": "text-delta", "id": "text-2", "delta": "Bye"},
        {"type": "text-end", "id": "text-2"},
        {"type": "finish"},
    ]


def test_tokens_are_the_output_of_the_verify_call_and_its_result_is_not_sent_again() -> None:
    chunks = mapped(
        {"message": {"role": "assistant", "content": [{"toolUse": tool_use("t1")}]}},
        tool_stream("t1", ClientOnly({"event_type": "auth_tokens", "id_token": SECRET})),
        tool_stream("t1", {"success": True}),
        tool_result("t1", '{"success": true}'),
    )
    assert chunks[1:-1] == [
        {
            "type": "tool-input-available",
            "toolCallId": "t1",
            "toolName": "verify_cognito_otp",
            "input": {"code_reference": "code-x"},
        },
        {
            "type": "tool-output-available",
            "toolCallId": "t1",
            "output": {"event_type": "auth_tokens", "id_token": SECRET},
        },
    ]


def test_outputs_of_calls_at_once_stay_apart() -> None:
    chunks = mapped(
        tool_stream("t2", ClientOnly({"n": 2})),
        tool_stream("t1", ClientOnly({"n": 1})),
        {
            "message": {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": i, "status": "success", "content": [{"text": t}]}}
                    for i, t in (("t1", "{}"), ("t2", "{}"), ("t3", '{"n": 3}'))
                ],
            }
        },
    )
    assert [(c["toolCallId"], c["output"]["n"]) for c in chunks[1:-1]] == [
        ("t2", 2),
        ("t1", 1),
        ("t3", 3),
    ]


@pytest.mark.parametrize("text", ["sunny", "[" * 100_000])
def test_text_result_stays_text(text: str) -> None:
    assert mapped(tool_result("t1", text))[1]["output"] == text


def test_call_that_fails_after_its_tokens_went_out_is_not_answered_again() -> None:
    chunks = mapped(
        tool_stream("t1", ClientOnly({"id_token": SECRET})),
        tool_result("t1", "Error", status="error"),
    )
    assert [c["type"] for c in chunks] == ["start", "tool-output-available", "finish"]


def test_what_a_visitor_said_is_not_echoed() -> None:
    said = {"message": {"role": "user", "content": [{"text": "Hi"}]}}
    assert [c["type"] for c in mapped(said)] == ["start", "finish"]


def test_t24_what_utf_8_cannot_carry_is_replaced() -> None:
    use = tool_use("t1") | {"input": {"email": "a\ud800"}}
    chunks = mapped(
        {"data": "b\udfff \u00fc"},
        {"message": {"role": "assistant", "content": [{"toolUse": use}]}},
    )
    json.dumps(chunks, ensure_ascii=False).encode()
    assert chunks[2]["delta"] == "b? \u00fc"
    assert chunks[4]["input"] == {"email": "a?"}


def test_t24_failed_tool_tells_no_exception_text() -> None:
    chunks = mapped(tool_result("t1", f"Error: RuntimeError - {SECRET}", status="error"))
    assert chunks[1] == {
        "type": "tool-output-error",
        "toolCallId": "t1",
        "errorText": TOOL_FAILED,
    }


def test_t24_exception_mid_stream_is_one_fixed_text_and_a_finish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chunks = mapped({"data": "Hel"}, RuntimeError(SECRET))
    assert chunks[-3:] == [
        {"type": "text-end", "id": "text-1"},
        {"type": "error", "errorText": STREAM_FAILED},
        {"type": "finish"},
    ]
    assert SECRET not in str([vars(r) for r in caplog.records])
    assert [r.message for r in caplog.records] == ["agent turn failed"]


def test_nothing_else_of_an_event_passes() -> None:
    state = {"email_otp_turn": SECRET, "agent": SECRET}
    chunks = mapped(
        {"init_event_loop": True, **state},
        {"data": "Hi", "delta": {"text": "Hi", "secret": SECRET}, **state},
        {"event": {"contentBlockDelta": {"delta": {"text": SECRET}}}},
        {
            "type": "tool_use_stream",
            "delta": SECRET,
            "current_tool_use": {"input": SECRET},
            **state,
        },
        {"reasoningText": SECRET, "delta": SECRET, "reasoning": True, **state},
        {"force_stop": True, "force_stop_reason": SECRET},
        {"event_loop_throttled_delay": 1, **state},
        {"tool_cancel_event": {"message": SECRET}},
        {"result": SECRET},
        tool_stream("t1", {"progress": SECRET}),
        {"something_new": SECRET},
    )
    assert SECRET not in json.dumps(chunks)
    assert [c["type"] for c in chunks] == [
        "start",
        "text-start",
        "text-delta",
        "text-end",
        "finish",
    ]


def test_every_chunk_is_json() -> None:
    json.dumps(mapped({"data": "x"}, tool_stream("t1", ClientOnly({"a": 1}))))
