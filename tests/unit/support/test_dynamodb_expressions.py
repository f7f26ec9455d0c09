"""The stand-in for DynamoDB: it refuses what DynamoDB refuses, and what it does not know."""

from typing import Any

import pytest

from tests.support.dynamodb_expressions import NotUnderstood, check_values, holds, updated


@pytest.mark.parametrize(
    "expression",
    ["a = :v )", "size(a) > :v", "a BETWEEN :v AND :v", "a ! :v", "status = :v", "NOT a = :v"],
)
def test_stand_in_fails_loudly_on_what_it_does_not_know(expression: str) -> None:
    with pytest.raises(NotUnderstood):
        holds(expression, {}, {":v": {"N": "1"}})


def test_stand_in_refuses_what_dynamodb_refuses() -> None:
    values: dict[str, Any] = {":v": {"N": "1"}}
    with pytest.raises(NotUnderstood):
        check_values(["a=:v"], values | {":unused": {"N": "1"}})
    with pytest.raises(NotUnderstood):
        check_values(["a=:v AND b=:missing"], values)
    with pytest.raises(NotUnderstood):
        updated("SET a=b", {}, {})
    with pytest.raises(NotUnderstood):
        updated("SET a=a+:v", {}, values)
    with pytest.raises(NotUnderstood):
        holds("a<:v", {"a": {"S": "x"}}, values)
    with pytest.raises(NotUnderstood):
        updated("SET a=:v, a=:v", {}, values)


def test_stand_in_reads_old_values_on_the_right() -> None:
    old = {"a": {"N": "1"}, "b": {"N": "2"}}
    assert updated("SET a=b, b=a", old, {}) == {"a": {"N": "2"}, "b": {"N": "1"}}
