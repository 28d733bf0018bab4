"""Determines which tests an expression for pytest's option ``-m`` can select."""

from __future__ import annotations

from collections.abc import Mapping

from _pytest.mark.expression import Expression


class _UnknownError(Exception):
    """The value of the expression depends on an unknown mark."""


def may_select(expression: str, mark: str) -> bool:
    """Whether ``-m expression`` selects any test that has `mark`, whatever other marks it has; true for no expression.

    An expression that pytest cannot read is one too: pytest is about to refuse it.
    """
    if not expression:
        return True
    try:
        compiled = Expression.compile(expression)
    except SyntaxError:
        return True
    return _can_be_true(compiled, {mark: True})


def _can_be_true(expression: Expression, known: Mapping[str, bool]) -> bool:
    def has(name: str, /, **_: object) -> bool:
        if name not in known:
            raise _UnknownError(name)
        return known[name]

    try:
        return expression.evaluate(has)
    except _UnknownError as unknown:
        [name] = unknown.args
        return any(_can_be_true(expression, {**known, name: value}) for value in (True, False))
