"""DynamoDB's transactions: whatever writes an item that is in one loses, at once; nothing queues.

No trigger makes one any more; where one comes back, tests meet what AWS does. Left out: reads in
transactions, which conflict too, and puts, whose key only the table's schema tells.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from . import switches
from .calls import Answer, Call, Next, Refused

_ONGOING = "Transaction is ongoing for the item."

type ItemKey = tuple[str, str]
"""Table and key."""

_in_transaction: set[ItemKey] = set()


async def items_in_a_transaction_conflict(call: Call, carry_on: Next) -> Answer:
    """Refuse to write an item that is in another call's transaction.

    A transaction keeps its items for as long as the switch `transaction_seconds` says.
    """
    if call.operation in ("DeleteItem", "UpdateItem"):
        if _in_transaction.intersection(_items([call.request])):
            raise conflict(call)
        return await carry_on(call)
    if call.operation != "TransactWriteItems":
        return await carry_on(call)
    items = {*_items(_parts(call))}
    if _in_transaction & items:
        raise conflict(call)
    _in_transaction.update(items)
    try:
        answered = await carry_on(call)
        await asyncio.sleep(switches.current.transaction_seconds)
        return answered
    finally:
        _in_transaction.difference_update(items)


def conflict(call: Call) -> Refused:
    """Return the refusal of a write or a transaction that met another transaction."""
    if call.operation != "TransactWriteItems":
        return Refused("TransactionConflictException", _ONGOING)
    codes = [
        "TransactionConflict" if _in_transaction.intersection(_items([part])) else "None"
        for part in _parts(call)
    ]
    if "TransactionConflict" not in codes:  # it is only to look so
        codes[0] = "TransactionConflict"
    return Refused(
        "TransactionCanceledException",
        "Transaction cancelled, please refer cancellation reasons for specific reasons "
        f"[{', '.join(codes)}]",
        CancellationReasons=[
            {"Code": code} | ({"Message": _ONGOING} if code != "None" else {}) for code in codes
        ],
    )


def _parts(call: Call) -> list[Mapping[str, Any]]:
    return [part for each in call.request.get("TransactItems") or [] for part in each.values()]


def _items(parts: Iterable[Mapping[str, Any]]) -> Iterable[ItemKey]:
    for part in parts:
        if "Key" in part:
            yield part.get("TableName", ""), json.dumps(part["Key"], sort_keys=True)
