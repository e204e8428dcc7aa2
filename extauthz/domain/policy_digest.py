"""The digest of a policy set: the sum of the SHA-256 of each entity, modulo 2**256, in 64 hexadecimal digits.

It depends on what is in force and on nothing else: not on the order in which it was written or read, nor on
where it was read from. A change takes out the hash of what it replaces and adds that of what it writes, so
the digest of the next revision costs as much as the change.

The digest says whether two policy sets are the same one. It does not replace a signature.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from extauthz.domain.policy import Entity, RoleRule

COUNTED_AT_ONCE: Final = 20_000
"""A set with at most as many entities is counted where it is built: that takes less than 50 ms."""
_MODULUS: Final = 2**256
_MOST_ZEROS: Final = 1000


def entity_hash(entity: Entity) -> int:
    """Return the SHA-256 of an entity as a number."""
    if isinstance(entity, RoleRule):
        text = rule_text(entity)
    else:
        text = json.dumps(_plain(entity), sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big")


def rule_text(rule: Any) -> str:
    """Return the text of a rule, a named tuple; of these there are many, and JSON takes four times as long.

    NUL is in no name, and in no JSON text. As in `_plain`, a member with its default is left out.
    """
    defaults: Mapping[str, object] = rule._field_defaults
    if not defaults:
        return "\0".join(rule)
    required = len(rule) - len(defaults)
    optional = zip(defaults.items(), rule[required:], strict=True)
    return "\0".join(
        (*rule[:required], *(f"{name}={value}" for (name, default), value in optional if value != default))
    )


def _plain(value: object) -> object:
    """Return a value as JSON can have it, in one way.

    A member with its default is left out, so that a member that a later version adds changes no digest.
    """
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return _number(value)
        case Mapping():
            return {"object": {str(name): _plain(member) for name, member in value.items()}}
        case tuple() if not hasattr(value, "_fields"):
            return [_plain(member) for member in value]
        case _:
            return _members(value)


def _number(value: Decimal) -> object:
    """Return a number in one form: 1.50 is 1.5, and 1e2 is the integer 100, as comparisons have it."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "literals are finite"
    text = "".join(map(str, digits)).lstrip("0")
    shortest = text.rstrip("0")
    exponent += len(text) - len(shortest)
    if not shortest:
        return 0
    if 0 <= exponent < _MOST_ZEROS:
        return int(f"{'-' * sign}{shortest}{'0' * exponent}")
    return {"decimal": f"{'-' * sign}{shortest}e{exponent}"}


def _members(value: object) -> dict[str, object]:
    kind: Any = type(value)
    members: dict[str, object] = {"type": kind.__name__}
    for name, default in _fields(kind):
        member = getattr(value, name)
        if default is MISSING or member != default:
            members[name] = _plain(member)
    return members


@lru_cache(maxsize=64)
def _fields(kind: type) -> tuple[tuple[str, object], ...]:
    """Return the members of a dataclass or a named tuple with their defaults."""
    if is_dataclass(kind):
        return tuple((field.name, field.default) for field in fields(kind))
    named: Any = kind
    return tuple((name, named._field_defaults.get(name, MISSING)) for name in named._fields)


class _Whole:
    """The sum of a policy set that was read whole; None until its entities are counted."""

    __slots__ = ("_entities", "begun", "sum")

    def __init__(self, entities: tuple[Mapping[str, Entity], ...]) -> None:
        self._entities: tuple[Mapping[str, Entity], ...] = entities
        self.begun = False
        self.sum: int | None = None

    def count(self) -> None:
        # Twice at the same time is twice the same sum.
        total = 0
        for table in self._entities:
            for entity in table.values():
                total += entity_hash(entity)
        self.sum = total % _MODULUS
        self._entities = ()


class PolicyDigest:
    """The digest of a policy set at one revision: that of a set that was read whole, and what changed since.

    A large set is counted after it is in force, so that counting delays no load: `text` is None until then.
    """

    __slots__ = ("_since", "_text", "_whole")

    def __init__(self, whole: _Whole, since: int) -> None:
        """Take the sum of the whole set, and of the changes since."""
        self._whole = whole
        self._since = since
        self._text: str | None = None

    @property
    def text(self) -> str | None:
        """The digest; None while the set is not counted."""
        if self._text is None and self._whole.sum is not None:
            self._text = f"{(self._whole.sum + self._since) % _MODULUS:064x}"
        return self._text

    def counted(self) -> str:
        """Return the digest, counting the set if that was not done: about a second for a million entities."""
        if self._whole.sum is None:
            self._whole.count()
        text = self.text
        assert text is not None, "the set is counted"
        return text

    def begin_count(self) -> bool:
        """Tell whether the caller has to count the set; true once for all digests that share it."""
        if self._whole.begun or self._whole.sum is not None:
            return False
        self._whole.begun = True
        return True

    def changed(self, removed: Iterable[Entity], added: Iterable[Entity]) -> "PolicyDigest":
        """Return the digest of the set without the entities that are gone, and with those that came."""
        since = self._since + sum(map(entity_hash, added)) - sum(map(entity_hash, removed))
        return PolicyDigest(self._whole, since % _MODULUS)


def digest_of(*tables: Mapping[str, Entity]) -> PolicyDigest:
    """Return the digest of a whole policy set, given as immutable tables of entities by id."""
    whole = _Whole(tables)
    if sum(map(len, tables)) <= COUNTED_AT_ONCE:
        whole.count()
    return PolicyDigest(whole, 0)


def counted_digest(entities: Iterable[Entity]) -> str:
    """Return the digest of entities, counted one by one."""
    return f"{sum(map(entity_hash, entities)) % _MODULUS:064x}"


def entities_of(*tables: Mapping[str, Entity]) -> Iterator[Entity]:
    """Yield the entities of tables."""
    for table in tables:
        yield from table.values()
