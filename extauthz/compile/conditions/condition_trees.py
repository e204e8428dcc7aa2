"""Condition trees: untrusted documents become typed nodes (docs/reference/policy-language.md#conditions).

Parsing is iterative and bounded (size, depth, nodes), so that no document can exhaust the stack; what it
accepts is shallow enough to be evaluated by plain calls.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from extauthz.compile.conditions.attribute_names import attribute_named, attribute_problem, reading_problem
from extauthz.compile.conditions.operators import OPERATORS, literal_problem
from extauthz.compile.conditions.readings import READINGS, read_as
from extauthz.compile.fields import Fields, shown
from extauthz.domain.policy import All, Always, AnyOf, AttributeName, Condition, Literal, Node, Not
from extauthz.domain.problem import Problem

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 1_000


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
                for member in ("attribute", "as", "operator", "value"):
                    fields.get(member)
                return []
            case _:
                found = "is missing" if not fields.has("type") else f"found {shown(node_type)}"
                fields.note("type", f"{found}, one of 'AND', 'OR', 'NOT', 'ALWAYS', 'CONDITION' is needed")
                for member in ("conditions", "condition", "attribute", "as", "operator", "value"):
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
        attribute = self._operand(fields)
        word = fields.get("operator")
        if not isinstance(word, str) or word not in OPERATORS:
            found = f"found {shown(word)}" if fields.has("operator") else "is missing"
            fields.note("operator", f"{found}, one of {', '.join(sorted(OPERATORS))} is needed")
            return None
        if fields.has("as") and OPERATORS[word].reads_presence:
            fields.note("as", f"the operator {word} asks for the attribute itself; leave 'as' out")
            return None
        if not fields.has("value"):
            fields.note("value", "is missing, a literal or {'attribute': name} is needed")
            return None
        raw = fields.get("value")
        if attribute is None:
            return None
        if isinstance(raw, Mapping):
            return self._comparison_of_two(fields, attribute, word, raw)
        problem = literal_problem(word, attribute_named(attribute), raw)
        if problem is not None:
            fields.note("value", f"found {shown(raw)}, {problem}")
            return None
        return Condition(attribute, word, _frozen(raw))

    def _comparison_of_two(
        self, fields: Fields, attribute: str, word: str, raw: Mapping[str, object]
    ) -> Condition | None:
        inner = Fields(raw, fields.at("value"), self._problems)
        other = self._operand(inner)
        inner.done()
        if OPERATORS[word].compare is None:
            fields.note("value", f"names an attribute, the operator {word} needs a literal")
            return None
        return None if other is None else Condition(attribute, word, AttributeName(other))

    def _operand(self, fields: Fields) -> str | None:
        """Return the name of the attribute, and how it is read, of one side; both may be one object."""
        operand = fields.get("attribute")
        if isinstance(operand, Mapping) and not fields.has("as"):
            fields = Fields(operand, fields.at("attribute"), self._problems)
            fields.get("as")
            found = self._read_attribute(fields)
            fields.done()
            return found
        return self._read_attribute(fields)

    def _read_attribute(self, fields: Fields) -> str | None:
        name = self._attribute(fields.get("attribute"), fields, "attribute")
        word = fields.get("as")
        if not fields.has("as"):
            return name
        if not isinstance(word, str) or word not in READINGS:
            wanted = ", ".join(map(repr, READINGS))
            fields.note("as", f"found {shown(word)}, one of {wanted} is needed")
            return None
        if name is None:
            return None
        if problem := reading_problem(name, word):
            fields.note("as", f"{shown(name)} {problem}")
            return None
        return read_as(word, name)

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
