"""Stored rows become typed policies again: the documents were checked before they were written.

They are checked again all the same, because a row can be broken behind our back; role rules, of which there
are many, have a short way for what is plainly in order.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from extauthz.compile.documents import (
    Reading,
    parse_attribute_policy,
    parse_resource,
    parse_role_binding,
    parse_role_rule,
)
from extauthz.compile.snapshot import Entity
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD, AttributePolicy, Resource, RoleBinding, RoleRule, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect

Document = Mapping[str, object]

KINDS: Final[Mapping[str, type[Entity]]] = {
    "resource": Resource,
    "role_rule": RoleRule,
    "role_binding": RoleBinding,
    "attribute_policy": AttributePolicy,
}
_EFFECTS: Final = {effect.value: effect for effect in Effect}
_NAMED_KINDS: Final = {kind.value: kind for kind in SubjectKind if kind is not SubjectKind.ANY}
_KNOWN_NAMES: Final = 200_000


class StoredReader:
    """Reads the rows of one load; remembers which names it has found canonical."""

    def __init__(self, reading: Reading) -> None:
        """Take what documents are read under."""
        self._names: set[str] = set()
        self._parsers: Mapping[str, Callable[[object, str, list[Problem]], Entity | None]] = {
            "resource": parse_resource,
            "role_rule": self._role_rule,
            "role_binding": partial(parse_role_binding, reading=reading),
            "attribute_policy": partial(parse_attribute_policy, reading=reading),
        }
        self._full_role_rule = partial(parse_role_rule, reading=reading)

    def read(self, kind: str, document: Document, problems: list[Problem]) -> Entity | None:
        """Read one row; None when any problem was noted, under a pointer that names kind and id."""
        parse = self._parsers[kind]
        if kind == "resource":
            document = {name: value for name, value in document.items() if name != "id"}
        return parse(document, f"/{kind}/{document.get('id', document.get('name'))}", problems)

    def _role_rule(self, document: object, pointer: str, problems: list[Problem]) -> RoleRule | None:
        if isinstance(document, dict) and len(document) == 7:
            sub, dom, obj = document.get("sub"), document.get("dom"), document.get("obj")
            act, rule_id = document.get("act"), document.get("id")
            effect = _EFFECTS.get(str(document.get("effect")))
            kind = _NAMED_KINDS.get(str(document.get("sub_kind")))
            plain = effect is not None and kind is not None and sub != WILDCARD and isinstance(rule_id, str)
            if plain and all(self._is_name(name) for name in (sub, dom, obj, act)) and rule_id:
                return RoleRule(rule_id, sub, kind, dom, obj, act, effect)  # type: ignore[arg-type]
        return self._full_role_rule(document, pointer, problems)

    def _is_name(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        if value in self._names:
            return True
        if name_problem(value) is not None:
            return False
        if len(self._names) < _KNOWN_NAMES:
            self._names.add(value)
        return True
