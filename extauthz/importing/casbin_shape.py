"""Which part of a policy line each field of a Casbin request is compared with, and how.

Input: a model as pycasbin reads it. Output: a `ModelShape`, where the meaning of the model can be held
exactly by role rules, role bindings and routes; else why it cannot. A matcher is read where it is `&&` over
one term a field, each `r.x == p.x`, `g(r.sub, p.sub)`, a pattern function, or one of these `|| p.x == "*"`;
the whole may be followed by `|| r.sub == "NAME"`, a superuser.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from extauthz.casbin_enforce.model import PlainModel

_NAMES: Final = {
    "sub": frozenset({"sub", "subject", "user"}),
    "dom": frozenset({"dom", "domain", "tenant", "org"}),
    "obj": frozenset({"obj", "object", "res", "resource", "path", "url", "uri", "data"}),
    "act": frozenset({"act", "action", "method", "op"}),
}
_ROLE_MODEL: Final = (
    "write the rules as role rules, role bindings and attribute policies: see docs/policy-language.md"
)


class How(StrEnum):
    """How a field of the request is compared with that of a line."""

    EQUAL = "=="
    ROLE = "g"
    KEY_MATCH = "keyMatch"
    KEY_MATCH2 = "keyMatch2"
    KEY_MATCH3 = "keyMatch3"
    REGEX = "regexMatch"


PATTERNS: Final = frozenset({How.KEY_MATCH, How.KEY_MATCH2, How.KEY_MATCH3})
_FITTING: Final = {
    "sub": frozenset({How.EQUAL, How.ROLE}),
    "dom": frozenset({How.EQUAL}),
    "obj": frozenset({How.EQUAL, *PATTERNS}),
    "act": frozenset({How.EQUAL, How.REGEX, How.KEY_MATCH}),
}


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison; with `wildcard` a line with `*` in the field matches every request."""

    how: How
    wildcard: bool = False


@dataclass(slots=True)
class ModelShape:
    """What decides under a model.

    `terms` has the compared fields by their class (`sub`, `dom`, `obj`, `act`), `columns` the place of each
    class in a policy line. `denies` is whether deny lines count. `superusers` are the names that the matcher
    itself lets pass.
    """

    columns: dict[str, int]
    eft: int | None
    denies: bool
    has_roles: bool
    with_domain: bool
    terms: dict[str, Term] = field(default_factory=dict)
    superusers: list[str] = field(default_factory=list)

    @property
    def can_deny(self) -> bool:
        """Whether a line can deny."""
        return self.denies and self.eft is not None


@dataclass(frozen=True, slots=True)
class CannotRead:
    """A part of a model whose meaning cannot be held: its section, why, and what to write."""

    section: str
    reason: str
    instead: str = _ROLE_MODEL


def read_shape(model: PlainModel) -> ModelShape | list[CannotRead]:
    """Return what decides, or everything that cannot be read."""
    problems: list[CannotRead] = []
    requests = _classes(model.request, "request_definition", problems)
    columns = _classes(model.policy, "policy_definition", problems, known_only=True)
    if "sub" not in requests or "sub" not in columns:
        problems.append(CannotRead("request_definition", "it names no subject (sub)"))
    if model.effect.ranked:
        problems.append(
            CannotRead(
                "policy_effect",
                "the first line that matches decides; here the highest priority does, and a deny wins in it",
                "write attribute policies with priorities",
            )
        )
    elif model.effect.judge([]) is not False:
        problems.append(
            CannotRead(
                "policy_effect",
                "it allows what no line denies; here what nothing allows is denied",
                "write an allow for '*' on each resource that is meant",
            )
        )
    for kind, definition in model.roles.items():
        if kind != "g":
            problems.append(
                CannotRead(
                    "role_definition",
                    f"{kind} groups resources or actions, and only subjects have roles here",
                    f"write the lines once for each member of a group of {kind}",
                )
            )
        elif definition.parameters:
            problems.append(
                CannotRead("role_definition", "a role has conditions", "write an attribute policy instead")
            )
    role = model.roles.get("g")
    shape = ModelShape(
        columns=columns,
        eft=model.token("p_eft"),
        denies=model.effect.counts_denies,
        has_roles=role is not None,
        with_domain=role is not None and role.with_domain,
    )
    _Reader(shape, requests, problems).read(model.matcher.tree)
    return problems or shape


def _classes(
    tokens: tuple[str, ...], section: str, problems: list[CannotRead], *, known_only: bool = False
) -> dict[str, int]:
    found: dict[str, int] = {}
    for place, token in enumerate(tokens):
        known = class_of(token)
        if known is None:
            # A column that the matcher does not compare decides nothing; the matcher is read term by term.
            if not known_only:
                problems.append(
                    CannotRead(section, f"the field {token[2:]!r} is neither sub, dom, obj nor act")
                )
        elif known in found:
            problems.append(CannotRead(section, f"two fields are of the kind {known}"))
        else:
            found[known] = place
    return found


def class_of(token: str) -> str | None:
    """Return which of `sub`, `dom`, `obj` and `act` a token of a model such as `r_sub` is."""
    return next((known for known, names in _NAMES.items() if token[2:] in names), None)


class _Reader:
    """Reads a matcher into the terms of a shape; what it cannot read becomes a problem."""

    def __init__(self, shape: ModelShape, requests: dict[str, int], problems: list[CannotRead]) -> None:
        self._shape = shape
        self._requests = requests
        self._problems = problems

    def read(self, tree: ast.expr) -> None:
        alternatives = list(_operands(tree, ast.Or))
        rest = []
        for each in alternatives:
            name = _superuser(each)
            if name is None:
                rest.append(each)
            else:
                self._shape.superusers.append(name)
        if len(rest) == len(alternatives) and len(rest) > 1 and self._is_term(tree):
            rest = [tree]
        if len(rest) != 1:
            self._cannot(tree, "it is not one '&&' of comparisons, with superusers")
            return
        for term in _operands(rest[0], ast.And):
            self._term(term)
        if "sub" not in self._shape.terms and not self._problems:
            self._cannot(tree, "it does not ask for the subject")

    def _is_term(self, tree: ast.expr) -> bool:
        return any(_wildcard(each) is not None for each in _operands(tree, ast.Or))

    def _term(self, tree: ast.expr) -> None:
        wild: set[str] = set()
        compared: list[tuple[str, How]] = []
        wild_first = False
        for each in _operands(tree, ast.Or):
            if (name := _wildcard(each)) is not None:
                wild.add(name)
                wild_first |= not compared
            elif (found := self._comparison(each)) is not None:
                compared.append(found)
            else:
                self._cannot(each, "it is not a comparison that can be read")
                return
        if len(compared) != 1 or not wild <= {compared[0][0]}:
            self._cannot(tree, "it compares more than one field")
            return
        known, how = compared[0]
        if known in self._shape.terms:
            self._cannot(tree, f"the field {known} is compared twice")
        elif how not in _FITTING[known]:
            self._cannot(tree, f"{how} on {known} has no equal here")
        else:
            # On '*' these fail, so that a `p.x == "*"` behind them is never reached.
            reached = wild_first or how not in {How.KEY_MATCH3, How.REGEX}
            self._shape.terms[known] = Term(how, bool(wild) and reached)

    def _comparison(self, tree: ast.expr) -> tuple[str, How] | None:
        match tree:
            case ast.Compare(ast.Name(left), [ast.Eq()], [ast.Name(right)]):
                if left.startswith("p_"):
                    left, right = right, left
                return self._pair(left, right, How.EQUAL)
            case ast.Call(ast.Name("g"), [ast.Name(left), ast.Name(right), *rest], []):
                if self._shape.has_roles and self._is_domain(rest):
                    return self._pair(left, right, How.ROLE)
            case ast.Call(ast.Name(function), [ast.Name(left), ast.Name(right)], []):
                if function in set(How) - {How.EQUAL, How.ROLE}:
                    return self._pair(left, right, How(function))
        return None

    def _is_domain(self, rest: list[ast.expr]) -> bool:
        if not self._shape.with_domain:
            return not rest
        return (
            len(rest) == 1
            and isinstance(rest[0], ast.Name)
            and rest[0].id.startswith("r_")
            and class_of(rest[0].id) == "dom"
            and "dom" in self._requests
        )

    def _pair(self, left: str, right: str, how: How) -> tuple[str, How] | None:
        known = class_of(left)
        if not left.startswith("r_") or not right.startswith("p_") or known is None:
            return None
        if class_of(right) != known or known not in self._requests or known not in self._shape.columns:
            return None
        return known, how

    def _cannot(self, tree: ast.expr, reason: str) -> None:
        written = ast.unparse(tree).replace("r_", "r.").replace("p_", "p.")
        self._problems.append(CannotRead("matchers", f"{written!r}: {reason}"))


def _operands(tree: ast.expr, operator: type[ast.boolop]) -> Iterator[ast.expr]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.BoolOp) and isinstance(node.op, operator):
            waiting += reversed(node.values)
        else:
            yield node


def _wildcard(tree: ast.expr) -> str | None:
    """Return the class of the field in `p.x == "*"`, None for anything else."""
    match tree:
        case ast.Compare(ast.Name(name), [ast.Eq()], [ast.Constant("*")]) | ast.Compare(
            ast.Constant("*"), [ast.Eq()], [ast.Name(name)]
        ):
            return class_of(name) if name.startswith("p_") else None
    return None


def _superuser(tree: ast.expr) -> str | None:
    """Return the name in `r.sub == "name"`, None for anything else."""
    match tree:
        case ast.Compare(ast.Name(name), [ast.Eq()], [ast.Constant(value)]) | ast.Compare(
            ast.Constant(value), [ast.Eq()], [ast.Name(name)]
        ):
            if name.startswith("r_") and class_of(name) == "sub" and isinstance(value, str):
                return value
    return None
