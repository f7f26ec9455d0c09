"""DynamoDB's transactions: whatever meets an item that is in one loses, at once."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from . import switches
from .calls import Answer, Call, Refused, Service

_SINGLE_WRITES = ("DeleteItem", "PutItem", "UpdateItem")

type ItemKey = tuple[str, str]
"""Table and key."""

_in_transaction: set[ItemKey] = set()


async def items_in_a_transaction_conflict(call: Call, carry_on: Service) -> Answer:
    """Refuse to write an item that is in another call's transaction; nothing queues.

    A transaction here keeps its items as long as the switch `transaction_seconds` says. Left out:
    reads in transactions, which conflict too, and puts, whose key only the table's schema tells.
    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
    """
    if call.operation in _SINGLE_WRITES:
        if _in_transaction.intersection(_keys([call.request])):
            raise Refused("TransactionConflictException", "Transaction is ongoing for the item.")
        return await carry_on(call)
    if call.operation != "TransactWriteItems":
        return await carry_on(call)
    parts = [part for each in call.request["TransactItems"] for part in each.values()]
    items = [*_keys(parts)]
    if _in_transaction.intersection(items):
        raise _canceled([item in _in_transaction for item in items])
    _in_transaction.update(items)
    try:
        answered = await carry_on(call)
        await asyncio.sleep(switches.current.transaction_seconds)
        return answered
    finally:
        _in_transaction.difference_update(items)


def _keys(parts: list[Mapping[str, Any]]) -> Iterator[ItemKey]:
    for part in parts:
        yield part["TableName"], json.dumps(part.get("Key"), sort_keys=True)


def _canceled(conflicts: list[bool]) -> Refused:
    codes = ["TransactionConflict" if conflict else "None" for conflict in conflicts]
    return Refused(
        "TransactionCanceledException",
        "Transaction cancelled, please refer cancellation reasons for specific reasons "
        f"[{', '.join(codes)}]",
        CancellationReasons=[
            {"Code": code, "Message": "Transaction is ongoing for the item."}
            if code != "None"
            else {"Code": code}
            for code in codes
        ],
    )
