"""A model that says and calls what a test wants, and records what it was shown."""

import copy
import json
import re
from collections.abc import AsyncIterable, Callable
from typing import Any

from strands.models import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

type Call = tuple[str, dict[str, Any]]
type Step = str | list[Call] | Callable[[Messages], "str | list[Call]"] | Exception


def reference_in(messages: Messages) -> str:
    """The last code reference the model was shown."""
    return str(re.findall(r"\[code_reference: (code-[\w-]+)\]", json.dumps(messages))[-1])


class ScriptedModel(Model):
    """Plays its steps, one a model call; with none left it says "done".

    Attributes:
        shown: The messages, tools and system prompt of every call.
    """

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.shown: list[Any] = []

    def update_config(self, **_: Any) -> None:
        """Do nothing."""

    def get_config(self) -> Any:
        """Return the size of the context."""
        return {"context_window_limit": 100_000}

    def structured_output(self, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise NotImplementedError

    async def stream(self, messages: Messages, *shown: Any, **_: Any) -> AsyncIterable[StreamEvent]:
        """Play the next step."""
        self.shown.append(copy.deepcopy((messages, shown)))
        step = self.steps.pop(0) if self.steps else "done"
        if isinstance(step, Exception):
            raise step
        reply = step(messages) if callable(step) else step
        yield {"messageStart": {"role": "assistant"}}
        if isinstance(reply, str):
            yield {"contentBlockDelta": {"delta": {"text": reply}}}
            yield {"contentBlockStop": {}}
            yield {"messageStop": {"stopReason": "end_turn"}}
            return
        for number, (name, tool_input) in enumerate(reply):
            use_id = f"use-{len(self.shown)}-{number}"
            yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": use_id}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(tool_input)}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use"}}
