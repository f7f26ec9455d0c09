"""DynamoDB's condition and update expressions, as far as the ledger uses them, told strictly.

Whatever it does not know, and whatever DynamoDB would refuse (an unused value, an attribute that
is not there), raises `NotUnderstood`, which no `except Exception` of the code under test swallows.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
"""

import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any

type Item = dict[str, dict[str, str]]
type Operand = Callable[[Item, Item], dict[str, str] | None]
type Test = Callable[[Item, Item], bool]

_TOKEN = re.compile(r"\s*(:?[A-Za-z][A-Za-z0-9_]*|<=|>=|<>|[=<>+(),-])")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Those an attribute of the ledger could come near; the full list has 573 words.
_RESERVED = {"COUNT", "DATE", "KEY", "NAME", "STATE", "STATUS", "TIME", "TIMESTAMP", "TOKEN", "TTL"}


class NotUnderstood(BaseException):
    """An expression that DynamoDB would refuse, or that this evaluator does not know."""


def holds(condition: str, item: Item, values: Item) -> bool:
    """Tell whether a condition expression is true of an item ({} if there is none)."""
    return _condition(condition)(item, values)


def updated(update: str, item: Item, values: Item) -> Item:
    """Return what an update expression makes of an item; right sides read the old values."""
    new = {name: operand(item, values) for name, operand in _update(update)}
    if None in new.values():
        raise NotUnderstood(f"an attribute that does not exist in the item: {update}")
    return item | {name: value for name, value in new.items() if value is not None}


def check_values(expressions: list[str], values: Item) -> None:
    """Refuse, as DynamoDB does, a value that is given but not used, or used but not given."""
    used = {token for text in expressions for token in _tokens(text) if token.startswith(":")}
    if used != set(values):
        raise NotUnderstood(f"values unused or missing: {sorted(used ^ set(values))}")


@cache
def _tokens(text: str) -> tuple[str, ...]:
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if not found:
            raise NotUnderstood(text[at:])
        tokens.append(found[1])
        at = found.end()
    return tuple(tokens)


@cache
def _condition(text: str) -> Test:
    parser = _Parser(_tokens(text))
    test = parser.either()
    parser.expect("")
    return test


@cache
def _update(text: str) -> list[tuple[str, Operand]]:
    parser = _Parser(_tokens(text))
    parser.expect("SET")
    steps = [parser.assignment()]
    while parser.take(","):
        steps.append(parser.assignment())
    parser.expect("")
    if len({name for name, _ in steps}) != len(steps):
        raise NotUnderstood(f"two paths overlap: {text}")
    return steps


class _Parser:
    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = [*tokens, ""]

    def take(self, token: str) -> bool:
        if self._tokens[0] != token:
            return False
        self._tokens.pop(0)
        return True

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise NotUnderstood(f"expected {token!r} at {self._tokens}")

    def name(self) -> str:
        name = self._tokens.pop(0)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.upper() in _RESERVED:
            raise NotUnderstood(f"{name!r} as an attribute's name")
        return name

    def assignment(self) -> tuple[str, Operand]:
        name = self.name()
        self.expect("=")
        left = self.operand()
        if self.take("+"):
            return name, _sum(left, self.operand(), 1)
        return name, _sum(left, self.operand(), -1) if self.take("-") else left

    def operand(self) -> Operand:
        if self.take("if_not_exists"):
            self.expect("(")
            name = self.name()
            self.expect(",")
            otherwise = self.operand()
            self.expect(")")
            return lambda item, values: item.get(name) or otherwise(item, values)
        if self._tokens[0].startswith(":"):
            value_name = self._tokens.pop(0)
            return lambda _, values: values[value_name]
        attribute = self.name()
        return lambda item, _: item.get(attribute)

    def either(self) -> Test:
        tests = [self.both()]
        while self.take("OR"):
            tests.append(self.both())
        return lambda item, values: any(test(item, values) for test in tests)

    def both(self) -> Test:
        tests = [self.test()]
        while self.take("AND"):
            tests.append(self.test())
        return lambda item, values: all(test(item, values) for test in tests)

    def test(self) -> Test:
        if self.take("("):
            inner = self.either()
            self.expect(")")
            return inner
        if self.take("attribute_not_exists"):
            self.expect("(")
            name = self.name()
            self.expect(")")
            return lambda item, _: name not in item
        left, sign, right = self.operand(), self._tokens.pop(0), self.operand()
        if sign not in _COMPARISONS:
            raise NotUnderstood(f"{sign!r} as a comparison")
        return lambda item, values: _compare(
            _COMPARISONS[sign], left(item, values), right(item, values)
        )


def _compare(
    compare: Callable[[Any, Any], bool], left: dict[str, str] | None, right: dict[str, str] | None
) -> bool:
    """Compare two values; False where one is missing, as in DynamoDB."""
    if left is None or right is None:
        return False
    [(left_type, left_value)], [(right_type, right_value)] = left.items(), right.items()
    if left_type != right_type:
        raise NotUnderstood(f"comparing {left_type} with {right_type}")
    if left_type == "N":
        return compare(int(left_value), int(right_value))
    return compare(left_value, right_value)


def _sum(left: Operand, right: Operand, sign: int) -> Operand:
    def add(item: Item, values: Item) -> dict[str, str] | None:
        terms = left(item, values), right(item, values)
        if terms[0] is None or terms[1] is None:
            return None
        return {"N": str(int(terms[0]["N"]) + sign * int(terms[1]["N"]))}

    return add
