"""Attribute policies in Casbin's notation (`format: casbin`): a matcher expression becomes condition nodes.

The grammar is closed: comparisons of attributes with literals or attributes, `in`, `&&`, `||`, `!`, brackets,
`true` and `false`. The only functions are readings of an attribute (`time(user.until)`), and no attribute
stands alone; whatever else is written is refused with its position.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.compile.conditions.attribute_names import attribute_named, attribute_problem, reading_problem
from extauthz.compile.conditions.condition_trees import MAX_DEPTH, MAX_NODES
from extauthz.compile.conditions.expression import (
    Binary,
    Conjunction,
    Constant,
    Disjunction,
    Expression,
    ExpressionInvalid,
    FunctionCall,
    NameReference,
    Negation,
    parse,
    unparse,
)
from extauthz.compile.conditions.operators import OPERATORS, literal_problem
from extauthz.compile.conditions.readings import READINGS, read_as
from extauthz.compile.fields import shown
from extauthz.domain.policy import All, Always, AnyOf, AttributeName, Condition, Literal, Node, Not
from extauthz.domain.problem import Problem

MAX_LENGTH: Final = 256 * 1024
_BY_SIGN: Final = {row.sign: row.name for row in OPERATORS.values() if row.sign is not None}
_SWAPPED: Final[Mapping[str, str]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def parse_matcher(
    source: object, pointer: str, problems: list[Problem], *, condition_headers: frozenset[str]
) -> Node | None:
    """Read a `rule_data` of format `casbin`; None when any problem was noted."""
    if not isinstance(source, str):
        problems.append(Problem(pointer, f"found {shown(source)}, a matcher expression is needed"))
        return None
    if len(source) > MAX_LENGTH:
        problems.append(Problem(pointer, f"is longer than {MAX_LENGTH} characters"))
        return None
    expression = parse(source, quoted_names=True)
    if isinstance(expression, ExpressionInvalid):
        problems.append(_at(pointer, expression.position, expression.message))
        return None
    reader = _Reader(pointer, condition_headers)
    node = reader.read(expression, 1)
    problems.extend(reader.problems)
    return None if reader.problems else node


def _at(pointer: str, position: int, message: str) -> Problem:
    return Problem(pointer, f"at character {position}: {message}")


class _Reader:
    """Turns the expression into nodes; it is no deeper than the expression parser's own bound."""

    def __init__(self, pointer: str, condition_headers: frozenset[str]) -> None:
        self.problems: list[Problem] = []
        self._pointer = pointer
        self._condition_headers = condition_headers
        self._nodes = 0

    def _refuse(self, expression: Expression, message: str) -> None:
        self.problems.append(_at(self._pointer, expression.position, message))

    def read(self, expression: Expression, depth: int) -> Node | None:
        """Return the node of an expression that is true or false; None after noting why it is neither."""
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            if not self.problems:
                self._refuse(expression, f"has more than {MAX_NODES} parts or {MAX_DEPTH} levels")
            return None
        match expression:
            case Constant(bool(value)):
                return Always() if value else Not(Always())
            case Negation(operand):
                inner = self.read(operand, depth + 1)
                return None if inner is None else Not(inner)
            case Conjunction(operands) | Disjunction(operands):
                nodes = [self.read(operand, depth + 1) for operand in operands]
                found = tuple(node for node in nodes if node is not None)
                return All(found) if isinstance(expression, Conjunction) else AnyOf(found)
            case Binary():
                return self._comparison(expression)
            case FunctionCall(function) if function in READINGS:
                self._refuse(expression, f"{unparse(expression)} stands alone, a comparison is needed")
            case FunctionCall(function):
                self._refuse(expression, f"the function {function!r} is not part of the expression language")
            case NameReference() | Constant():
                self._refuse(expression, f"{unparse(expression)} stands alone, a comparison is needed")
        return None

    def _comparison(self, comparison: Binary) -> Condition | None:
        sign, left, right = comparison.sign, comparison.left, comparison.right
        if sign == "in":
            return self._membership(comparison)
        if isinstance(left, Constant) and isinstance(right, NameReference | FunctionCall):
            sign, left, right = _SWAPPED[sign], right, left
        if not isinstance(left, NameReference | FunctionCall):
            self._refuse(left, f"{unparse(left)} is not an attribute, one is needed in a comparison")
            return None
        return self._condition(comparison, left, _BY_SIGN[sign], right)

    def _membership(self, comparison: Binary) -> Condition | None:
        left, right = comparison.left, comparison.right
        if isinstance(left, NameReference | FunctionCall):
            return self._condition(comparison, left, "in", right)
        if isinstance(left, Constant) and isinstance(right, NameReference | FunctionCall):
            return self._condition(comparison, right, "has", left)
        self._refuse(comparison, "'in' needs an attribute on one side")
        return None

    def _condition(
        self, comparison: Binary, operand: NameReference | FunctionCall, operator: str, other: Expression
    ) -> Condition | None:
        attribute = self._attribute(operand)
        if isinstance(other, NameReference | FunctionCall):
            second = self._attribute(other)
            if attribute is None or second is None:
                return None
            return Condition(attribute, operator, AttributeName(second))
        if not isinstance(other, Constant):
            self._refuse(other, f"{unparse(other)} is neither an attribute nor a literal")
            return None
        if attribute is None:
            return None
        value = _literal(other)
        problem = literal_problem(operator, attribute_named(attribute), value)
        if problem is not None:
            self._refuse(comparison, f"found {shown(value)}, {problem}")
            return None
        return Condition(attribute, operator, value)

    def _attribute(self, operand: NameReference | FunctionCall) -> str | None:
        """Return the name of an attribute, and how it is read."""
        if isinstance(operand, NameReference):
            problem = attribute_problem(operand.text, self._condition_headers)
            if problem is None:
                return operand.text
            self._refuse(operand, f"{shown(operand.text)} {problem}")
            return None
        function, arguments = operand.function, operand.arguments
        if function not in READINGS:
            self._refuse(operand, f"the function {function!r} is not part of the expression language")
            return None
        if len(arguments) != 1 or not isinstance(arguments[0], NameReference):
            self._refuse(operand, f"{function} reads one attribute, such as {function}(user.claim)")
            return None
        name = self._attribute(arguments[0])
        if name is not None and (problem := reading_problem(name, function)):
            self._refuse(operand, f"{shown(name)} {problem}")
            return None
        return None if name is None else read_as(function, name)


def _literal(constant: Constant) -> Literal:
    value = constant.value
    if not isinstance(value, tuple):
        return value
    entries = [entry.value for entry in value]
    # A list in a list is refused by `literal_problem`, which the nested tuple reaches as it is.
    return tuple(entries)  # type: ignore[arg-type]
