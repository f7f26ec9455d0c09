"""Seals what is for the browser alone, so that it passes the model, the history and traces by."""

from collections.abc import Mapping
from typing import Any, NoReturn, final
from weakref import WeakKeyDictionary


@final
class ClientOnly:
    """A value that only the stream to the browser may see, such as tokens.

    The object itself is empty: the value is kept beside it, so that printing, copying, `vars`,
    JSON or a trace exporter that walks attributes finds nothing.

    Args:
        value: A JSON object.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, value: Mapping[str, Any]) -> None:
        _sealed[self] = dict(value)

    def __repr__(self) -> str:
        return "<client-only>"

    def __copy__(self) -> "ClientOnly":
        return self

    def __deepcopy__(self, memo: object) -> "ClientOnly":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a ClientOnly value cannot be serialized")


_sealed: WeakKeyDictionary[ClientOnly, dict[str, Any]] = WeakKeyDictionary()


def open_for_client(sealed: ClientOnly) -> dict[str, Any]:
    """Return the value, to be written to the client it is for and to nothing else."""
    return dict(_sealed[sealed])
