"""The operators of conditions, one row each: parser, evaluator, warnings, documentation and REST read them.

A new operator is a row here and in docs/reference/policy-language.md, and a decision case in tests/cases/.
What it does with values is in `comparisons.py`, which literals it takes in `literals.py`.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from extauthz.compile.conditions import comparisons, literals
from extauthz.compile.conditions.attributes import Attribute
from extauthz.compile.conditions.comparisons import Compare, ReadText, Test, TextTest
from extauthz.compile.conditions.values import Kind, equal, negated
from extauthz.domain.policy import Literal, Scalar
from extauthz.domain.time_text import parse_time

_TEXT: Final = frozenset({Kind.TEXT})
_LIST: Final = frozenset({Kind.LIST})
_ADDRESS: Final = frozenset({Kind.ADDRESS})
_ORDERED: Final = frozenset({Kind.NUMBER, Kind.TIME})


class Bound(NamedTuple):
    """Which bound an ordering operator sets: a lower or an upper one, with the literal itself or without."""

    is_lower: bool
    is_strict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator: `attribute name value`, where the value is a literal or an attribute."""

    name: str
    meaning: str
    """When it is true, for the documentation."""
    types: str
    """The types of its operands, for the documentation."""
    literal_problem: Callable[[str, Attribute, object], str | None]
    """Why a literal does not fit (`literals.py`)."""
    compare: Compare | None = None
    """Compares two values; None: the value must be a literal."""
    prepare: Callable[[Literal, ReadText], Test] | None = None
    """Compiles a literal; None: `compare` with the literal as it is."""
    prepare_text: Callable[[Literal], TextTest | None] | None = None
    """Compiles a literal of text alone (else None), which is compared without asking for kinds."""
    sign: str | None = None
    """How Casbin's notation (`format: casbin`) writes a comparison."""
    when_absent: bool = False
    """The result where an operand is definitely absent."""
    takes_list: bool = False
    """Whether the value is a list."""
    kinds: frozenset[Kind] | None = None
    """The kinds that the attribute can have; None: the kinds of the value."""
    required: Callable[[Literal], tuple[Scalar, ...]] | None = None
    """The values of which the attribute must equal one, or list one where it is a list."""
    bound: Bound | None = None
    """The bound that an ordering operator sets."""
    is_part_of_text: bool = False
    """Whether the value is a part of the attribute's text."""
    reads_presence: bool = False
    """Whether it asks if the attribute is there, which is never unknown."""

    @property
    def is_of_lists(self) -> bool:
        """Whether the attribute is a list."""
        return self.kinds == _LIST

    @property
    def is_choice(self) -> bool:
        """Whether the attribute must equal the value, or one of a list."""
        return self.required is not None and not self.is_of_lists

    @property
    def is_negative(self) -> bool:
        """Whether it holds for everything but the value."""
        return self.when_absent

    def test(self, attribute: Attribute, literal: Literal) -> Test:
        """Compile a literal that fits."""
        read = parse_time if self.bound is not None else attribute.read_text

        def read_text(text: str) -> object:
            value = None if read is None else read(text)
            return text if value is None else value

        if self.prepare is not None:
            return self.prepare(literal, read_text)
        compare, value = self.compare, comparisons.typed(literal, read_text)
        assert compare is not None, self.name
        return lambda found: compare(found, value)


def literal_problem(word: str, attribute: Attribute, raw: object) -> str | None:
    """Return why a literal does not fit the operator `word`, to be read after "found 3, "; None: it fits."""
    found = tuple(raw) if isinstance(raw, list | tuple) else raw
    return literals.unusable(found) or OPERATORS[word].literal_problem(word, attribute, found)


def _value(literal: Literal) -> tuple[Scalar, ...]:
    return () if isinstance(literal, tuple) else (literal,)


def _entries(literal: Literal) -> tuple[Scalar, ...]:
    return literal if isinstance(literal, tuple) else ()


def _first_entry(literal: Literal) -> tuple[Scalar, ...]:
    return _entries(literal)[:1]


_ROWS: Final = (
    Operator(
        name="eq",
        meaning="equal",
        types="both of the same type",
        literal_problem=literals.same_type,
        compare=equal,
        prepare_text=comparisons.equals_text,
        sign="==",
        required=_value,
    ),
    Operator(
        name="neq",
        meaning="not equal",
        types="both of the same type",
        literal_problem=literals.same_type,
        compare=lambda left, right: negated(equal(left, right)),
        sign="!=",
        when_absent=True,
    ),
    Operator(
        name="gt",
        meaning="greater",
        types="numbers; times",
        literal_problem=literals.one_ordered,
        compare=comparisons.order(operator.gt),
        prepare=comparisons.order_to(operator.gt),
        sign=">",
        kinds=_ORDERED,
        bound=Bound(is_lower=True, is_strict=True),
    ),
    Operator(
        name="gte",
        meaning="greater or equal",
        types="numbers; times",
        literal_problem=literals.one_ordered,
        compare=comparisons.order(operator.ge),
        prepare=comparisons.order_to(operator.ge),
        sign=">=",
        kinds=_ORDERED,
        bound=Bound(is_lower=True, is_strict=False),
    ),
    Operator(
        name="lt",
        meaning="less",
        types="numbers; times",
        literal_problem=literals.one_ordered,
        compare=comparisons.order(operator.lt),
        prepare=comparisons.order_to(operator.lt),
        sign="<",
        kinds=_ORDERED,
        bound=Bound(is_lower=False, is_strict=True),
    ),
    Operator(
        name="lte",
        meaning="less or equal",
        types="numbers; times",
        literal_problem=literals.one_ordered,
        compare=comparisons.order(operator.le),
        prepare=comparisons.order_to(operator.le),
        sign="<=",
        kinds=_ORDERED,
        bound=Bound(is_lower=False, is_strict=False),
    ),
    Operator(
        name="in",
        meaning="the attribute is one of the list",
        types="value: a list of one type",
        literal_problem=literals.list_of_same_type,
        compare=comparisons.member,
        prepare=comparisons.one_of,
        prepare_text=comparisons.one_of_texts,
        takes_list=True,
        required=_entries,
    ),
    Operator(
        name="notIn",
        meaning="the attribute is not one of the list",
        types="value: a list of one type",
        literal_problem=literals.list_of_same_type,
        compare=lambda left, right: negated(comparisons.member(left, right)),
        prepare=comparisons.none_of,
        prepare_text=comparisons.none_of_texts,
        takes_list=True,
        when_absent=True,
    ),
    Operator(
        name="contains",
        meaning="the value is a substring",
        types="strings, by code point",
        literal_problem=literals.one_text,
        compare=comparisons.text(lambda left, right: right in left),
        prepare_text=comparisons.contains_text,
        kinds=_TEXT,
        is_part_of_text=True,
    ),
    Operator(
        name="startsWith",
        meaning="the value is a prefix",
        types="strings, by code point",
        literal_problem=literals.one_text,
        compare=comparisons.text(str.startswith),
        prepare_text=comparisons.starts_with_text,
        kinds=_TEXT,
        is_part_of_text=True,
    ),
    Operator(
        name="endsWith",
        meaning="the value is a suffix",
        types="strings, by code point",
        literal_problem=literals.one_text,
        compare=comparisons.text(str.endswith),
        prepare_text=comparisons.ends_with_text,
        kinds=_TEXT,
        is_part_of_text=True,
    ),
    Operator(
        name="has",
        meaning="the list contains the value",
        types="attribute: a list",
        literal_problem=literals.one,
        compare=lambda left, right: comparisons.member(right, left),
        kinds=_LIST,
        required=_value,
    ),
    Operator(
        name="hasAny",
        meaning="the list contains any of the values",
        types="attribute: a list; value: a list of one type",
        literal_problem=literals.list_of_one_type,
        compare=comparisons.has_any,
        takes_list=True,
        kinds=_LIST,
        required=_entries,
    ),
    Operator(
        name="hasAll",
        meaning="the list contains all of the values",
        types="attribute: a list; value: a list of one type",
        literal_problem=literals.list_of_one_type,
        compare=comparisons.has_all,
        takes_list=True,
        kinds=_LIST,
        required=_first_entry,
    ),
    Operator(
        name="matches",
        meaning="the whole string matches an RE2 pattern of at most 512 characters",
        types="string; the value is a literal",
        literal_problem=literals.one_pattern,
        prepare=comparisons.matches,
        kinds=_TEXT,
    ),
    Operator(
        name="cidr",
        meaning="the address is in one of the networks",
        types="address; the value is a network without host bits, or a list of such",
        literal_problem=literals.networks,
        prepare=comparisons.in_networks,
        kinds=_ADDRESS,
    ),
    Operator(
        name="exists",
        meaning="present (value `true`), absent (value `false`)",
        types="any; unknown only of a body; JSON null is absent, empty is present",
        literal_problem=literals.one_flag,
        reads_presence=True,
    ),
)

OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType({row.name: row for row in _ROWS})
"""Every operator by its name, in the order of the documentation."""
EQ: Final = OPERATORS["eq"]
