"""The fast path of reading role rules, of which there are many: documents that have no problem."""

from operator import itemgetter
from typing import Final

from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD, RoleRule, SubjectKind
from extauthz.domain.reasons import Effect

_EFFECTS: Final = {effect.value: effect for effect in Effect}
_NAMED_KINDS: Final = {
    # What a name of kind `any` or `workload` may be is for the full reading.
    kind.value: kind
    for kind in (SubjectKind.ROLE, SubjectKind.USER, SubjectKind.SERVICE)
}
_KNOWN_NAMES: Final = 200_000
_MAX_ID: Final = 128
_MAX_CHARACTERS: Final = 600
"""Of all names together: in UTF-8 they are at most four times as long, and so within their bound."""
_MEMBERS: Final = 7
_members: Final = itemgetter("id", "sub", "sub_kind", "dom", "obj", "act", "effect")
_members_without_kind: Final = itemgetter("id", "sub", "dom", "obj", "act", "effect")


class PlainRoleRules:
    """Reads the role rules of one load; remembers which names it has found canonical, and shares them.

    INVARIANT: a rule that it reads is the one that `documents.parse_role_rule` reads.
    """

    def __init__(self) -> None:
        """Start without a name."""
        self._names: dict[str, str] = {}

    def read(self, document: object) -> RoleRule | None:
        """Return the rule; None leaves the document to the full reading, which judges and explains it."""
        if type(document) is not dict:
            return None
        try:
            if len(document) == _MEMBERS:
                rule_id, sub, kind, dom, obj, act, effect = _members(document)
                named_kind, known_effect = _NAMED_KINDS[kind], _EFFECTS[effect]
            elif len(document) == _MEMBERS - 1:
                rule_id, sub, dom, obj, act, effect = _members_without_kind(document)
                named_kind, known_effect = SubjectKind.ROLE, _EFFECTS[effect]
                if known_effect is Effect.DENY:
                    return None
            else:
                return None
            names = self._names
            try:
                sub, dom, obj, act = names[sub], names[dom], names[obj], names[act]
            except KeyError:
                sub, dom, obj, act = self._name(sub), self._name(dom), self._name(obj), self._name(act)
        except (KeyError, TypeError):
            return None
        if WILDCARD in (sub, rule_id) or not _is_id(rule_id):
            return None
        if len(sub) + len(dom) + len(obj) + len(act) > _MAX_CHARACTERS:
            return None
        return RoleRule(rule_id, sub, named_kind, dom, obj, act, known_effect)

    def _name(self, value: object) -> str:
        """Return a canonical name, the same object for the same name. Raises KeyError for anything else."""
        if not isinstance(value, str) or name_problem(value) is not None:
            raise KeyError(value)
        return self._names.setdefault(value, value) if len(self._names) < _KNOWN_NAMES else value


def _is_id(value: object) -> bool:
    if type(value) is not str:
        return False
    # The commonest ids, without the calls of the full test.
    if 0 < len(value) <= _MAX_ID and value.isascii() and value.isprintable() and " " not in value:
        return True
    return name_problem(value, max_length=_MAX_ID) is None
