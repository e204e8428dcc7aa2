"""Casbin matchers, evaluated by pycasbin's evaluator inside limits.

pycasbin turns a matcher into Python by replacing text, inside of string literals too, and takes the first
statement of whatever comes out: `r.sub = p.sub && r.obj == p.obj` forgets the subject. It pastes `p.sub_rule`
into that text, so that `True) or (True` leaves its brackets. Here literals stay as they are, a matcher is one
expression or none, and a sub rule is an expression of its own, which nothing around it can be part of.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import casbin.util

from extauthz.casbin_enforce.functions import Undecided

MAX_EXPRESSION: Final = 16 * 1024
_MAX_STEPS: Final = 100_000
_MAX_TEXT: Final = 100_000
_MAX_BITS: Final = 4096

_PIECES: Final = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<comment>\#.*)
      | (?P<both>&&)
      | (?P<either>\|\|)
      | (?P<no>!(?!=))
      | (?<![A-Za-z0-9_.\x80-\U0010ffff])(?P<definition>[rp][0-9]*)\.(?=[A-Za-z_])
    """,
    re.VERBOSE,
)
_TEXT_METHODS: Final = frozenset(
    {
        *("casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal"),
        *("isdigit", "islower", "isnumeric", "isspace", "isupper", "lower", "lstrip", "partition"),
        *("removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip"),
        *("split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"),
    }
)
_METHODS: Final[dict[type, frozenset[str]]] = {
    str: _TEXT_METHODS,
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}


@dataclass(frozen=True, slots=True)
class MatcherInvalid:
    """Why a text is not an expression."""

    message: str


@dataclass(frozen=True, slots=True)
class Matcher:
    """A parsed matcher or sub rule; `rules` are the policy fields that it evaluates with `eval(...)`."""

    tree: ast.expr
    rules: frozenset[str]

    def only_gains_by(self, function: str) -> bool:
        """Tell whether a true answer of the function can never turn a match into none."""
        gaining = {id(call) for call in _operands(self.tree) if _is_call(call, function)}
        return all(id(node) in gaining for node in ast.walk(self.tree) if _is_call(node, function))


def _is_call(node: ast.AST, function: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function


def _operands(tree: ast.expr) -> list[ast.expr]:
    """Return what stands under nothing but `and` and `or`."""
    waiting, found = [tree], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.BoolOp):
            waiting += node.values
        else:
            found.append(node)
    return found


def parse_rule(source: str) -> Matcher | MatcherInvalid:
    """Read the rule of a policy row, which has no comments."""
    if any(piece.lastgroup == "comment" for piece in _PIECES.finditer(source)):
        return MatcherInvalid("holds a '#'")
    return parse_matcher(source)


def parse_matcher(source: str) -> Matcher | MatcherInvalid:
    """Read a matcher in Casbin's notation."""
    if len(source) > MAX_EXPRESSION:
        return MatcherInvalid(f"is longer than {MAX_EXPRESSION} characters")
    try:
        tree = ast.parse(_PIECES.sub(_as_python, source).strip(), mode="eval").body
        rules = frozenset(_rule_name(node) for node in ast.walk(tree) if _is_call(node, "eval"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        detail = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        return MatcherInvalid(f"is not one expression: {detail}")
    return Matcher(tree, rules)


def _as_python(piece: "re.Match[str]") -> str:
    match piece.lastgroup:
        case "comment":
            return ""
        case "both":
            return " and "
        case "either":
            return " or "
        case "no":
            return " not "
        case "definition":
            return f"{piece['definition']}_"
        case _:
            return piece[0]


def _rule_name(node: ast.AST) -> str:
    assert isinstance(node, ast.Call)
    match node.args:
        case [ast.Name(name)] if name.startswith("p_") and not node.keywords:
            return name
    raise ValueError("eval(...) takes one field of the policy")


class MatcherEvaluation(casbin.util.SimpleEval):  # type: ignore[misc]  # pycasbin is untyped
    """One request's evaluations: pycasbin's evaluator, without what grows, mutates or leaks methods.

    INVARIANT: names are JSON values and policy fields, so that no function object is ever a value.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]]) -> None:
        """Take the functions that matchers may call."""
        super().__init__("", dict(functions))
        self.operators |= {
            ast.Pow: _power,
            ast.LShift: _shifted,
            ast.Mult: _product,
            ast.Mod: _remainder,
        }
        self._rules: Mapping[str, Matcher | MatcherInvalid] = {}
        self._steps = 0

    def matches(
        self,
        matcher: Matcher,
        names: Mapping[str, object],
        rules: Mapping[str, Matcher | MatcherInvalid],
    ) -> bool:
        """Evaluate for one policy row, whose sub rules are given by the names of their fields.

        Raises:
            Exception: whatever made the answer unknown; the type is the evaluator's own affair.
        """
        self.names = names
        self._rules = rules
        self._steps = self._max_count = 0
        return _truth(self._eval(matcher.tree))

    def _eval(self, node: ast.AST) -> Any:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise ValueError(f"takes more than {_MAX_STEPS} steps")
        return super()._eval(node)

    def _check_disallowed_items(self, item: object) -> None:
        """Nothing to look for: see the class's invariant."""

    def _eval_boolop(self, node: ast.BoolOp) -> Any:
        """Decide where one operand decides, whatever the unknown ones would say (Kleene).

        An operand that cannot be evaluated, next to one that is true, does not match in pycasbin either.
        """
        decides = isinstance(node.op, ast.Or)
        open_operands = Undecided if decides else Exception
        unknown: Exception | None = None
        value: Any = not decides
        for operand in node.values:
            try:
                value = self._eval(operand)
            except open_operands as error:
                unknown = unknown or error
                continue
            if bool(value) is decides:
                return value
        if unknown is not None:
            raise unknown
        return value

    def _eval_name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            raise NameError(f"{node.id!r} is not defined")
        value = self.names[node.id]
        if isinstance(value, Undecided):
            raise value
        return value

    def _eval_call(self, node: ast.Call) -> Any:
        if _is_call(node, "eval"):
            rule = self._rules.get(_rule_name(node), MatcherInvalid("is not a field of the policy"))
            if isinstance(rule, MatcherInvalid):
                raise Undecided(f"the rule of the policy {rule.message}")
            return _truth(self._eval(rule.tree))
        if not isinstance(node.func, ast.Attribute):
            return super()._eval_call(node)
        value = self._eval(node.func.value)
        arguments = [self._eval(each) for each in node.args]
        if node.keywords or node.func.attr not in _METHODS.get(type(value), frozenset()):
            raise AttributeError(f"{node.func.attr!r} cannot be called here")
        if node.func.attr == "replace":
            _bound(len(value) + (value.count(arguments[0]) + 1) * len(arguments[1]))
        return getattr(value, node.func.attr)(*arguments)

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        value = self._eval(node.value)
        if not isinstance(value, dict) or node.attr not in value:
            raise AttributeError(f"there is no attribute {node.attr!r}")
        return value[node.attr]

    def _eval_formattedvalue(self, node: ast.FormattedValue) -> Any:
        if node.format_spec is not None:
            raise ValueError("format specifications are not evaluated")
        return super()._eval_formattedvalue(node)


def _truth(result: object) -> bool:
    """Take what pycasbin takes for the result of a matcher: booleans and floats."""
    if isinstance(result, bool):
        return result
    if isinstance(result, float) and result == result:  # noqa: PLR0124  # not NaN
        return result != 0
    raise TypeError(f"the result is neither true nor false but {type(result).__name__}")


def _bound(size: int) -> None:
    if size > _MAX_TEXT:
        raise ValueError(f"a value grows beyond {_MAX_TEXT} characters")


def _number(value: object) -> int | float:
    if not isinstance(value, int | float):
        raise TypeError("a number is needed")
    return value


def _power(base: object, exponent: object) -> object:
    base, exponent = _number(base), _number(exponent)
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MAX_BITS:
        raise ValueError("a number grows too large")
    return base**exponent


def _shifted(value: object, by: object) -> object:
    if not isinstance(value, int) or not isinstance(by, int):
        raise TypeError("an integer is needed")
    if value.bit_length() + by > _MAX_BITS:
        raise ValueError("a number grows too large")
    return value << by


def _product(left: Any, right: Any) -> object:
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple):
            _bound(len(one) * max(0, int(_number(times))))
        elif isinstance(one, int) and one.bit_length() > _MAX_BITS:
            raise ValueError("a number grows too large")
    return left * right


def _remainder(left: object, right: object) -> object:
    return _number(left) % _number(right)
