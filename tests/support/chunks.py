"""Reads the chunks of an answer's stream."""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def chunks_in(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the chunks in the lines of a server-sent stream."""
    for line in lines:
        if line:
            yield json.loads(line.removeprefix("data: "))


def text_of(chunks: Iterable[dict[str, Any]]) -> str:
    """Return what the agent said."""
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


def outputs_of(chunks: Iterable[dict[str, Any]]) -> list[Any]:
    """Return the outputs of the tools it used."""
    return [chunk["output"] for chunk in chunks if chunk["type"] == "tool-output-available"]
