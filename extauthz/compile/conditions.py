"""Condition trees: untrusted documents become typed nodes (docs/reference/policy-language.md#conditions).

Parsing is iterative and bounded (size, depth, nodes), so that no document can exhaust the stack; what it
accepts is shallow enough to be evaluated by plain calls.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import re2

from extauthz.compile.attributes import attribute_problem
from extauthz.compile.fields import Fields, shown
from extauthz.compile.values import Kind, kind_of, parse_address, parse_network, parse_time
from extauthz.domain.policy import All, Always, AnyOf, AttributeName, Condition, Literal, Node, Not
from extauthz.domain.problem import Problem

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 1_000
MAX_PATTERN: Final = 512

_LISTS: Final = frozenset({"in", "notIn", "hasAny", "hasAll"})
_TEXTS: Final = frozenset({"contains", "startsWith", "endsWith", "matches"})
_EQUALITIES: Final = frozenset({"eq", "neq", "in", "notIn"})
_ORDERS: Final = frozenset({"gt", "gte", "lt", "lte"})
_LITERAL_ONLY: Final = frozenset({"matches", "cidr", "exists"})
OPERATORS: Final = _LISTS | _TEXTS | _EQUALITIES | _ORDERS | {"has", "cidr", "exists"}

_PATTERN_OPTIONS: Final = re2.Options()
_PATTERN_OPTIONS.log_errors = False
_PATTERN_OPTIONS.max_mem = 1 << 20


def parse_condition(
    document: object, pointer: str, problems: list[Problem], *, condition_headers: frozenset[str]
) -> Node | None:
    """Read a `rule_data` document of format `json`; None when any problem was noted."""
    if _is_larger(document, MAX_BYTES):
        problems.append(Problem(pointer, f"is larger than {MAX_BYTES} bytes"))
        return None
    return _Reader(problems, condition_headers).read(document, pointer)


def _is_larger(document: object, limit: int) -> bool:
    """Tell whether any JSON text of the document is longer; names, text and separators count, in UTF-8."""
    size = 0
    waiting = [document]
    while waiting and size <= limit:
        item = waiting.pop()
        size += 2
        if isinstance(item, str):
            size += len(item.encode("utf-8", "surrogatepass"))
        elif isinstance(item, Mapping):
            waiting += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
    return size > limit


class _Reader:
    def __init__(self, problems: list[Problem], condition_headers: frozenset[str]) -> None:
        self._problems = problems
        self._condition_headers = condition_headers
        self._nodes = 0

    def read(self, document: object, pointer: str) -> Node | None:
        """Walk the tree with an explicit stack; children are built before their parents."""
        before = len(self._problems)
        order: list[tuple[Fields, str, list[int]]] = []
        waiting: list[tuple[object, str, int, int | None]] = [(document, pointer, 1, None)]
        while waiting:
            item, where, depth, parent = waiting.pop()
            self._nodes += 1
            if self._nodes > MAX_NODES:
                self._problems.append(Problem(pointer, f"has more than {MAX_NODES} nodes"))
                return None
            if depth > MAX_DEPTH:
                self._problems.append(Problem(pointer, f"is nested deeper than {MAX_DEPTH} levels"))
                return None
            fields = Fields(item, where, self._problems)
            node_type = fields.get("type") if fields.is_object else ""
            children: list[int] = []
            order.append((fields, node_type if isinstance(node_type, str) else "", children))
            if parent is not None:
                order[parent][2].append(len(order) - 1)
            me = len(order) - 1
            for child, at in reversed(self._children(fields, node_type)):
                waiting.append((child, at, depth + 1, me))
        built: dict[int, Node] = {}
        for index in range(len(order) - 1, -1, -1):
            fields, node_type, children = order[index]
            node = self._build(fields, node_type, [built[child] for child in children if child in built])
            fields.done()
            if node is not None:
                built[index] = node
        return built.get(0) if len(self._problems) == before else None

    def _children(self, fields: Fields, node_type: object) -> list[tuple[object, str]]:
        if not fields.is_object:
            return []
        match node_type:
            case "AND" | "OR":
                entries = fields.items("conditions", required=True, at_least=1)
                return [(entry, f"{fields.at('conditions')}/{n}") for n, entry in enumerate(entries)]
            case "NOT":
                if not fields.has("condition"):
                    fields.note("condition", "is missing, a condition is needed")
                    return []
                return [(fields.get("condition"), fields.at("condition"))]
            case "ALWAYS":
                return []
            case "CONDITION":
                for member in ("attribute", "operator", "value"):
                    fields.get(member)
                return []
            case _:
                found = "is missing" if not fields.has("type") else f"found {shown(node_type)}"
                fields.note("type", f"{found}, one of 'AND', 'OR', 'NOT', 'ALWAYS', 'CONDITION' is needed")
                for member in ("conditions", "condition", "attribute", "operator", "value"):
                    fields.get(member)
                return []

    def _build(self, fields: Fields, node_type: str, children: list[Node]) -> Node | None:
        match node_type:
            case "AND":
                return All(tuple(children))
            case "OR":
                return AnyOf(tuple(children))
            case "NOT":
                return Not(children[0]) if children else None
            case "ALWAYS":
                return Always()
            case "CONDITION":
                return self._comparison(fields)
            case _:
                return None

    def _comparison(self, fields: Fields) -> Condition | None:
        attribute = self._attribute(fields.get("attribute"), fields, "attribute")
        word = fields.get("operator")
        if not isinstance(word, str) or word not in OPERATORS:
            found = f"found {shown(word)}" if fields.has("operator") else "is missing"
            fields.note("operator", f"{found}, one of {', '.join(sorted(OPERATORS))} is needed")
            return None
        if not fields.has("value"):
            fields.note("value", "is missing, a literal or {'attribute': name} is needed")
            return None
        raw = fields.get("value")
        if attribute is None:
            return None
        if isinstance(raw, Mapping):
            return self._comparison_of_two(fields, attribute, word, raw)
        problem = literal_problem(attribute, word, raw)
        if problem is not None:
            fields.note("value", f"found {shown(raw)}, {problem}")
            return None
        return Condition(attribute, word, _frozen(raw))

    def _comparison_of_two(
        self, fields: Fields, attribute: str, word: str, raw: Mapping[str, object]
    ) -> Condition | None:
        inner = Fields(raw, fields.at("value"), self._problems)
        other = self._attribute(inner.get("attribute"), inner, "attribute")
        inner.done()
        if word in _LITERAL_ONLY:
            fields.note("value", f"names an attribute, the operator {word} needs a literal")
            return None
        return None if other is None else Condition(attribute, word, AttributeName(other))

    def _attribute(self, name: object, fields: Fields, member: str) -> str | None:
        if not isinstance(name, str):
            found = f"found {shown(name)}" if fields.has(member) else "is missing"
            fields.note(member, f"{found}, the name of an attribute is needed")
            return None
        if problem := attribute_problem(name, self._condition_headers):
            fields.note(member, f"{shown(name)} {problem}")
            return None
        return name


def _frozen(raw: object) -> Literal:
    if isinstance(raw, list | tuple):
        return tuple(_scalar(entry) for entry in raw)
    return _scalar(raw)


def _scalar(raw: object) -> str | bool | int | Decimal:
    assert isinstance(raw, str | bool | int | Decimal)
    return raw


def literal_problem(attribute: str, word: str, raw: object) -> str | None:
    """Return why a literal does not fit the operator, None when it does."""
    entries = tuple(raw) if isinstance(raw, list | tuple) else None
    if entries is not None:
        kinds = {kind_of(entry) for entry in entries}
        if None in kinds or Kind.LIST in kinds:
            return "a list of strings, numbers or booleans is needed"
        if any(isinstance(entry, str) and _has_surrogate(entry) for entry in entries):
            return "text without lone surrogates is needed"
        if not entries:
            return "a list of one or more entries is needed"
    elif kind_of(raw) is None:
        return "a string, number, boolean, list or {'attribute': name} is needed"
    elif isinstance(raw, str) and _has_surrogate(raw):
        return "text without lone surrogates is needed"
    if word in _LISTS:
        if entries is None:
            return f"the operator {word} needs a list"
        if len({kind_of(entry) for entry in entries}) > 1:
            return "a list of one type is needed"
        return _typed_problem(attribute, word, entries)
    if word == "cidr":
        return _networks_problem(entries if entries is not None else (raw,))
    if entries is not None and word not in {"eq", "neq"}:
        return f"the operator {word} needs a single value"
    if word in _TEXTS:
        if not isinstance(raw, str):
            return f"the operator {word} needs a string"
        return _pattern_problem(raw) if word == "matches" else None
    if word == "exists":
        return None if isinstance(raw, bool) else "the operator exists needs true or false"
    if word in _ORDERS:
        if isinstance(raw, str):
            return None if parse_time(raw) else f"the operator {word} needs a number or an RFC 3339 time"
        if kind_of(raw) is not Kind.NUMBER:
            return f"the operator {word} needs a number or an RFC 3339 time"
        return None
    return _typed_problem(attribute, word, (raw,))


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _typed_problem(attribute: str, word: str, entries: tuple[object, ...]) -> str | None:
    if word not in _EQUALITIES:
        return None
    texts = [entry for entry in entries if isinstance(entry, str)]
    if attribute == "env.time" and any(parse_time(text) is None for text in texts):
        return "an RFC 3339 time such as '2026-01-31T08:00:00Z' is needed"
    if attribute == "request.source.address" and any(parse_address(text) is None for text in texts):
        return "an IP address is needed; networks go with the operator cidr"
    return None


def _networks_problem(entries: tuple[object, ...]) -> str | None:
    for entry in entries:
        if not isinstance(entry, str) or parse_network(entry) is None:
            return f"{shown(entry)} is not a network such as '10.0.0.0/8' (without host bits)"
    return None


def _pattern_problem(pattern: str) -> str | None:
    if len(pattern) > MAX_PATTERN:
        return f"a pattern of at most {MAX_PATTERN} characters is needed"
    try:
        compile_pattern(pattern)
    except re2.error as error:
        return f"RE2 refuses the pattern: {_detail(error)}"
    return None


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern with RE2: linear time whatever the pattern, within bounded memory."""
    return re2.compile(pattern, options=_PATTERN_OPTIONS)


def _detail(error: Exception) -> str:
    detail = error.args[0] if error.args else "unknown error"
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
