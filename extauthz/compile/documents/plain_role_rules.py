"""The fast path of reading role rules, of which there are many: documents that have no problem."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Final, cast

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
_MAX_NAME_IN_COLUMNS: Final = _MAX_CHARACTERS // 4
_MEMBERS: Final = 7
_rule: Final = cast("Callable[[tuple[object, ...]], RoleRule]", partial(tuple.__new__, RoleRule))
_members: Final = itemgetter("id", "sub", "sub_kind", "dom", "obj", "act", "effect")
_members_without_kind: Final = itemgetter("id", "sub", "dom", "obj", "act", "effect")


class PlainRoleRules:
    """Reads the role rules of one load; remembers which names it has found canonical, and shares them.

    INVARIANT: a rule that it reads is the one that `documents.parse_role_rule` reads.
    """

    def __init__(self) -> None:
        """Start without a name."""
        self._names: dict[str, str] = {}
        self._names_of_columns: dict[str, str] = {}

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

    def read_columns(self, columns: Sequence[Sequence[str | None]]) -> list[RoleRule] | None:
        """Return the rules of columns in the order of `RoleRule`; None where one is not for this reading.

        INVARIANT: what is tested of each rule is what `read` tests.
        """
        ids, subs, kinds, doms, objs, acts, effects = columns
        try:
            written = "".join(ids)  # type: ignore[arg-type]  # a missing id raises TypeError
            lengths = set(map(len, ids))  # type: ignore[arg-type]
            if not written.isascii() or not written.isprintable() or " " in written or WILDCARD in written:
                return None
            if not ids or min(lengths) == 0 or max(lengths) > _MAX_ID or WILDCARD in subs:
                return None
            names = [self._column(column) for column in (subs, doms, objs, acts)]
            named_kinds = map(_NAMED_KINDS.__getitem__, cast("Sequence[str]", kinds))
            known_effects = map(_EFFECTS.__getitem__, cast("Sequence[str]", effects))
            members = zip(ids, names[0], named_kinds, *names[1:], known_effects, strict=True)
            return list(map(_rule, members))
        except (KeyError, TypeError):
            return None

    def _column(self, column: Sequence[str | None]) -> list[str]:
        """Return a column of canonical names. Raises KeyError for anything else, and for a long name."""
        known = self._names_of_columns
        names = cast("Sequence[str]", column)
        with contextlib.suppress(KeyError):
            return list(map(known.__getitem__, names))
        for name in {*names}.difference(known):
            if type(name) is not str or name_problem(name, max_length=_MAX_NAME_IN_COLUMNS) is not None:
                raise KeyError(name)
            if len(known) < _KNOWN_NAMES:
                known[name] = name
        return list(map(known.get, names, names))

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
