"""Stored rows become typed policies again: the documents were checked before they were written.

They are checked again all the same, because a row can be broken behind our back; role rules, of which there
are many, have a short way for what is plainly in order.
"""

from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
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
_ROLE_RULE_MEMBERS: Final = 7
_role_rule_members: Final = itemgetter("id", "sub", "sub_kind", "dom", "obj", "act", "effect")


class StoredReader:
    """Reads the rows of one load; remembers which names it has found canonical, and shares them."""

    def __init__(self, reading: Reading) -> None:
        """Take what documents are read under."""
        self._names: dict[str, str] = {}
        self._parsers: Mapping[str, Callable[[object, str, list[Problem]], Entity | None]] = {
            "resource": parse_resource,
            "role_rule": partial(parse_role_rule, reading=reading),
            "role_binding": partial(parse_role_binding, reading=reading),
            "attribute_policy": partial(parse_attribute_policy, reading=reading),
        }

    def read(self, kind: str, document: Document, problems: list[Problem]) -> Entity | None:
        """Read one row; None when any problem was noted, under a pointer that names kind and id."""
        if kind == "role_rule" and (plain := self._plain_role_rule(document)) is not None:
            return plain
        parse = self._parsers[kind]
        pointer = f"/{kind}/{document.get('id', document.get('name'))}"
        if kind == "resource":
            document = {name: value for name, value in document.items() if name != "id"}
        return parse(document, pointer, problems)

    def _plain_role_rule(self, document: Document) -> RoleRule | None:
        """Read a rule that is plainly in order; the full reading judges, and explains, all others."""
        if len(document) != _ROLE_RULE_MEMBERS:
            return None
        try:
            rule_id, sub, kind, dom, obj, act, effect = _role_rule_members(document)
            named_kind, known_effect = _NAMED_KINDS[kind], _EFFECTS[effect]
            names = self._names
            try:
                sub, dom, obj, act = names[sub], names[dom], names[obj], names[act]
            except KeyError:
                sub, dom, obj, act = self._name(sub), self._name(dom), self._name(obj), self._name(act)
        except (KeyError, TypeError):
            return None
        if sub == WILDCARD or type(rule_id) is not str or not rule_id:
            return None
        return RoleRule(rule_id, sub, named_kind, dom, obj, act, known_effect)

    def _name(self, value: object) -> str:
        """Return a canonical name, the same object for the same name. Raises KeyError for anything else."""
        if not isinstance(value, str) or name_problem(value) is not None:
            raise KeyError(value)
        return self._names.setdefault(value, value) if len(self._names) < _KNOWN_NAMES else value
