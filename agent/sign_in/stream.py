"""Maps an agent's events to the stream that its visitor's browser reads.

The wire format is the AI SDK's UI message stream:
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from typing import Any, cast

from .client_only import ClientOnly, open_for_client
from .observability import describe

_log = logging.getLogger(__name__)

type Chunk = dict[str, Any]

STREAM_FAILED = "Something went wrong on our side. Please try again."
TOOL_FAILED = "This step failed. Please try again."


async def ui_message_chunks(events: AsyncIterable[Mapping[str, Any]]) -> AsyncGenerator[Chunk]:
    """Map the events of a Strands agent to UI message chunks.

    Only what is named here passes; raw events hold the whole invocation state. A `ClientOnly`
    that a tool yields becomes the output of that tool call, and the tool's later result goes to
    the model alone. An exception becomes one `error` chunk with a fixed text.

    Args:
        events: What `agent.stream_async(...)` gives.

    Yields:
        `start` at once, then text and tool chunks, `finish` last.
    """
    mapper = _Mapper()
    yield {"type": "start"}
    try:
        async for event in events:
            for chunk in mapper.chunks(event):
                yield _encodable(chunk)
    except Exception as error:
        _log.error("agent turn failed", extra=describe(error))
        for chunk in mapper.end_text():
            yield chunk
        yield {"type": "error", "errorText": STREAM_FAILED}
    else:
        for chunk in mapper.end_text():
            yield chunk
    yield {"type": "finish"}


class _Mapper:
    """The state of one stream: the open text block and the tool calls already answered."""

    def __init__(self) -> None:
        self._texts = 0
        self._in_text = False
        self._answered: set[str] = set()

    def chunks(self, event: Mapping[str, Any]) -> Iterator[Chunk]:
        if isinstance(text := event.get("data"), str):
            yield from self._text(text)
        elif isinstance(message := event.get("message"), Mapping):
            yield from self.end_text()
            for block in message["content"]:
                if "toolUse" in block:
                    yield _tool_input(block["toolUse"])
                elif "toolResult" in block:
                    yield from self._tool_result(block["toolResult"])
        elif event.get("type") == "tool_stream":
            streamed = event["tool_stream_event"]
            if isinstance(sealed := streamed["data"], ClientOnly):
                yield from self._output(streamed["tool_use"]["toolUseId"], open_for_client(sealed))

    def end_text(self) -> Iterator[Chunk]:
        if self._in_text:
            self._in_text = False
            yield {"type": "text-end", "id": self._text_id}

    @property
    def _text_id(self) -> str:
        return f"text-{self._texts}"

    def _text(self, text: str) -> Iterator[Chunk]:
        if not self._in_text:
            self._in_text = True
            self._texts += 1
            yield {"type": "text-start", "id": self._text_id}
        yield {"type": "text-delta", "id": self._text_id, "delta": text}

    def _tool_result(self, result: Mapping[str, Any]) -> Iterator[Chunk]:
        tool_call_id = result["toolUseId"]
        if result["status"] == "success":
            yield from self._output(tool_call_id, _content(result["content"]))
        elif tool_call_id not in self._answered:
            self._answered.add(tool_call_id)
            # The content of a failed result may be an exception's own text.
            yield {
                "type": "tool-output-error",
                "toolCallId": tool_call_id,
                "errorText": TOOL_FAILED,
            }

    def _output(self, tool_call_id: str, output: Any) -> Iterator[Chunk]:
        if tool_call_id not in self._answered:
            self._answered.add(tool_call_id)
            yield {"type": "tool-output-available", "toolCallId": tool_call_id, "output": output}


def _encodable(chunk: Chunk) -> Chunk:
    """Put question marks for lone surrogates: a model may write them, UTF-8 has none."""
    text = json.dumps(chunk, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        return cast(Chunk, json.loads(text.encode("utf-8", "replace")))
    return chunk


def _tool_input(tool_use: Mapping[str, Any]) -> Chunk:
    return {
        "type": "tool-input-available",
        "toolCallId": tool_use["toolUseId"],
        "toolName": tool_use["name"],
        "input": tool_use["input"],
    }


def _content(blocks: list[Mapping[str, Any]]) -> Any:
    """Return a tool result's content: JSON where it is JSON, else its text."""
    if len(blocks) == 1 and "json" in blocks[0]:
        return blocks[0]["json"]
    text = "".join(block.get("text", "") for block in blocks)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
