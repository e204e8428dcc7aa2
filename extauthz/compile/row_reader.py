"""Stored rows become typed policies again: the documents were checked before they were written.

They are checked again all the same, because a row can be broken behind our back; role rules, of which there
are many, have a short way for what is plainly in order.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from extauthz.compile.documents.plain_role_rules import PlainRoleRules
from extauthz.compile.documents.policy_documents import (
    Reading,
    parse_attribute_policy,
    parse_role_binding,
    parse_role_rule,
)
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.domain.policy import AttributePolicy, Entity, Resource, RoleBinding, RoleRule
from extauthz.domain.problem import Problem

Document = Mapping[str, object]

KINDS: Final[Mapping[str, type[Entity]]] = {
    "resource": Resource,
    "role_rule": RoleRule,
    "role_binding": RoleBinding,
    "attribute_policy": AttributePolicy,
}


class StoredReader:
    """Reads the rows of one load."""

    def __init__(self, reading: Reading) -> None:
        """Take what documents are read under."""
        self._role_rules = PlainRoleRules()
        self._parsers: Mapping[str, Callable[[object, str, list[Problem]], Entity | None]] = {
            "resource": partial(parse_resource, claim_headers=reading.claim_headers),
            "role_rule": partial(parse_role_rule, reading=reading),
            "role_binding": partial(parse_role_binding, reading=reading),
            "attribute_policy": partial(parse_attribute_policy, reading=reading),
        }

    def plain_role_rules(self, columns: Sequence[Sequence[str | None]]) -> list[RoleRule] | None:
        """Return the role rules of some rows, given as columns; None: they have to be read one by one.

        The columns are id, subject, its kind, domain, object, action and effect.
        """
        return self._role_rules.read_columns(columns)

    def read(self, kind: str, document: Document, problems: list[Problem]) -> Entity | None:
        """Read one row; None when any problem was noted, under a pointer that names kind and id."""
        if kind == "role_rule" and (plain := self._role_rules.read(document)) is not None:
            return plain
        parse = self._parsers[kind]
        pointer = f"/{kind}/{document.get('id', document.get('name'))}"
        if kind == "resource":
            document = {name: value for name, value in document.items() if name != "id"}
        return parse(document, pointer, problems)
