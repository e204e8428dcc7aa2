"""The closed grammar of matcher expressions: `== != < <= > >= && || ! in ( )`, names, calls and literals.

Iterative where depth could be the author's choice: nesting is bounded, so parsing cannot exhaust the stack.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

MAX_NESTING: Final = 64
# ASCII's blanks and digits only: others look like them, and for Casbin they are not part of an expression.
_BLANKS: Final = " \t\r\n"
# Outside ASCII all belongs to a name but white space and signs: Pattern_Syntax and Pattern_White_Space of
# UAX 31, which are the same in every version of Unicode (`\w` is not), and the full-width forms of ASCII's.
_SIGNS: Final = (
    r"\x80-\xa7\xa9\xab\xac\xae\xb0\xb1\xb6\xbb\xbf\xd7\xf7\u1680\u2000-\u205f\u2190-\u245f\u2500-\u2775"
    r"\u2794-\u2bff\u2e00-\u2e7f\u3000-\u3003\u3008-\u3020\u3030\ufd3e\ufd3f\ufe45\ufe46"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_IN_NAME: Final = rf"[^\x00-,./:-@\[-^`{{-\x7f{_SIGNS}]"  # of ASCII: letters, digits, "_" and "-"
_TOKEN: Final = re.compile(
    rf"""[{_BLANKS}]*+(?:
      (?P<number>-?[0-9]{{1,308}}(?:\.[0-9]{{1,308}})?(?![A-Za-z0-9_.]|(?!-){_IN_NAME}))
    | (?P<name>[A-Za-z_]{_IN_NAME}*(?:\.{_IN_NAME}+)*)
    | (?P<text>"(?:[^"\\]|\\["\\])*"|'(?:[^'\\]|\\['\\])*')
    | (?P<sign>==|!=|<=|>=|&&|\|\||[<>!(),\[\]])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class NameReference:
    """A reference such as `user.department` or `r_sub`."""

    text: str
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """A string, number, boolean or list literal."""

    value: str | bool | int | Decimal | tuple["Constant", ...]
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function applied to arguments, such as `g(r_sub, p_sub, r_dom)`."""

    function: str
    arguments: tuple["Expression", ...]
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and one of the comparison signs, or `in`."""

    sign: str
    left: "Expression"
    right: "Expression"
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Operands joined by `&&`, flattened."""

    operands: tuple["Expression", ...]
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Operands joined by `||`, flattened."""

    operands: tuple["Expression", ...]
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Negation:
    """`!` and its operand."""

    operand: "Expression"
    position: int = field(default=0, compare=False, repr=False)


Expression = NameReference | Constant | FunctionCall | Binary | Conjunction | Disjunction | Negation


@dataclass(frozen=True, slots=True)
class ExpressionInvalid:
    """Where an expression leaves the grammar: a zero-based character position, and why."""

    position: int
    message: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


class _NotInGrammar(Exception):  # noqa: N818  # caught in `parse`, never leaves this module
    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.problem = ExpressionInvalid(position, message)


def parse(source: str, *, quoted_names: bool = False) -> Expression | ExpressionInvalid:
    """Read an expression; the answer is a `ExpressionInvalid` where it leaves the grammar.

    With `quoted_names` a part of a name may be any text: `user["cognito:groups"]`.
    """
    try:
        parser = _Parser(list(_tokens(source)), len(source), quoted_names=quoted_names)
        expression = parser.disjunction(0)
        parser.expect_end()
    except _NotInGrammar as error:
        return error.problem
    return expression


def _tokens(source: str) -> Iterator[_Token]:
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None or match.lastgroup is None:
            rest = source[position:].lstrip(_BLANKS)
            if not rest:
                return
            at = len(source) - len(rest)
            raise _NotInGrammar(at, f"{source[at]!r} is not part of the expression language")
        yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        position = match.end()


class _Parser:
    """Precedence, loosest first: `||`, `&&`, `!`, comparison."""

    def __init__(self, tokens: list[_Token], length: int, *, quoted_names: bool) -> None:
        self._tokens = tokens
        self._at = 0
        self._end = length
        self._quoted_names = quoted_names

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _position(self) -> int:
        return self._tokens[self._at].position if self._at < len(self._tokens) else self._end

    def _refuse(self, message: str) -> _NotInGrammar:
        return _NotInGrammar(self._position(), message)

    def _is_sign(self, *signs: str) -> bool:
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        return token.kind == "sign" and token.text in signs

    def _take_sign(self, sign: str) -> None:
        if not self._is_sign(sign):
            raise self._refuse(f"{sign!r} is needed here")
        self._at += 1

    def expect_end(self) -> None:
        if self._at < len(self._tokens):
            raise self._refuse(f"{self._peek()!r} does not belong here")

    def disjunction(self, depth: int) -> Expression:
        if depth > MAX_NESTING:
            raise self._refuse(f"is nested deeper than {MAX_NESTING} levels")
        start = self._position()
        operands = [self._conjunction(depth)]
        while self._is_sign("||"):
            self._at += 1
            operands.append(self._conjunction(depth))
        return operands[0] if len(operands) == 1 else Disjunction(tuple(operands), start)

    def _conjunction(self, depth: int) -> Expression:
        start = self._position()
        operands = [self._negation(depth)]
        while self._is_sign("&&"):
            self._at += 1
            operands.append(self._negation(depth))
        return operands[0] if len(operands) == 1 else Conjunction(tuple(operands), start)

    def _negation(self, depth: int) -> Expression:
        start, times = self._position(), 0
        while self._is_sign("!"):
            self._at += 1
            times += 1
        operand = self._comparison(depth)
        return Negation(operand, start) if times % 2 else operand

    def _comparison(self, depth: int) -> Expression:
        start = self._position()
        left = self._operand(depth)
        if self._is_sign("==", "!=", "<", "<=", ">", ">="):
            sign = self._peek()
            self._at += 1
            return Binary(sign, left, self._operand(depth), start)
        if self._peek() == "in" and self._tokens[self._at].kind == "name":
            self._at += 1
            return Binary("in", left, self._operand(depth), start)
        return left

    def _operand(self, depth: int) -> Expression:
        if self._at >= len(self._tokens):
            raise self._refuse("the expression ends too early")
        token = self._tokens[self._at]
        match token.kind:
            case "number":
                self._at += 1
                number = Decimal(token.text) if "." in token.text else int(token.text)
                return Constant(number, token.position)
            case "text":
                self._at += 1
                return Constant(_unquoted(token.text), token.position)
            case "name":
                return self._named(token, depth)
            case _ if token.text in {"(", "["}:
                return self._bracketed(token, depth)
            case _:
                raise self._refuse(f"{token.text!r} does not belong here")

    def _named(self, token: _Token, depth: int) -> Expression:
        self._at += 1
        if token.text in {"true", "false"}:
            return Constant(token.text == "true", token.position)
        if token.text == "in":
            raise _NotInGrammar(token.position, "'in' needs something on its left")
        if self._quoted_names and self._is_sign("["):
            return self._quoted(token)
        if not self._is_sign("("):
            return NameReference(token.text, token.position)
        self._at += 1
        return FunctionCall(token.text, self._list_until(")", depth), token.position)

    def _quoted(self, token: _Token) -> NameReference:
        """Read the parts in brackets after a name."""
        parts = [token.text]
        while self._is_sign("["):
            self._at += 1
            if self._at >= len(self._tokens) or self._tokens[self._at].kind != "text":
                raise self._refuse("a part of a name in quotes is needed here")
            parts.append(_unquoted(self._peek()))
            self._at += 1
            self._take_sign("]")
        return NameReference(".".join(parts), token.position)

    def _bracketed(self, token: _Token, depth: int) -> Expression:
        self._at += 1
        if token.text == "(":
            inner = self.disjunction(depth + 1)
            if not self._is_sign(","):
                self._take_sign(")")
                return inner
            self._at += 1
            entries = (inner, *self._list_until(")", depth))
        else:
            entries = self._list_until("]", depth)
        return _literal_list(entries, token.position)

    def _list_until(self, closing: str, depth: int) -> tuple[Expression, ...]:
        entries: list[Expression] = []
        while not self._is_sign(closing):
            entries.append(self.disjunction(depth + 1))
            if not self._is_sign(closing):
                self._take_sign(",")
        self._at += 1
        return tuple(entries)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def _literal_list(entries: tuple[Expression, ...], position: int) -> Constant:
    literals = tuple(entry for entry in entries if isinstance(entry, Constant))
    if len(literals) != len(entries):
        raise _NotInGrammar(position, "a list holds literals only")
    return Constant(literals, position)


def unparse(expression: Expression) -> str:
    """Return an expression in the grammar's own notation, fully bracketed."""
    match expression:
        case NameReference(text):
            return _name(text)
        case Constant(bool(value)):
            return "true" if value else "false"
        case Constant(str(value)):
            return _quotation(value)
        case Constant(tuple(entries)):
            return f"({', '.join(unparse(entry) for entry in entries)},)"
        case Constant(value):
            return str(value)
        case FunctionCall(function, arguments):
            return f"{function}({', '.join(unparse(argument) for argument in arguments)})"
        case Binary(sign, left, right):
            return f"{unparse(left)} {sign} {unparse(right)}"
        case Negation(operand):
            return f"!({unparse(operand)})"
        case Conjunction(operands):
            return f"({' && '.join(unparse(operand) for operand in operands)})"
        case Disjunction(operands):
            return f"({' || '.join(unparse(operand) for operand in operands)})"


def _name(text: str) -> str:
    found = _TOKEN.fullmatch(text)
    if found is not None and found.lastgroup == "name":
        return text
    head, _, rest = text.partition(".")
    return f"{head}[{_quotation(rest)}]"


def _quotation(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
