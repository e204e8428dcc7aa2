"""The member names of a JSON object as all readers see them, also those that do not compare them exactly.

`domain.folded_names` is how most of those differ. Some end a name at a control character, take one with dots
for a path, or read text as JSON again.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.folded_names import are_comparable, folded

MAX_MEMBERS: Final = 1_000
"""Of an object that a path leads through; with more its members are unknown: each name costs time."""

CONTROL: Final = re.compile("[\0-\x1f\x7f-\x9f]")
# JavaScript makes the members of one the object's own when it copies objects; JSON.NET replaces the object.
_REFERENCES: Final = frozenset(("__proto__", "$ref"))
_MAY_BE_JSON: Final = frozenset(" \t\n\r{[n")
# What may be an object, a list or null. The Python SDK of MCP reads text once more as JSON for an argument of
# another type than `str`.
_JSON_TEXT: Final = re.compile(
    r"""[ \t\n\r]*(null|\{[ \t\n\r]*(\}|".*\})|\[[ \t\n\r]*(\]|["\[{0-9tfnNI-].*\]))[ \t\n\r]*""", re.DOTALL
)
_NONE: Final = frozenset[str]()
_KNOWN_OBJECTS: Final = 1024
_KNOWN_NAMES: Final = 32
_KNOWN_LENGTH: Final = 256
"""Of the names of an object together, in characters: what is kept stays below 8 MB."""

MESSAGE_NAMES: Final = frozenset(
    ("jsonrpc", "id", "method", "params", "result", "error", "name", "uri", "arguments", "_meta", "task")
)
"""What members of MCP's messages and of their parameters are called.

INVARIANT: no two are the same without case and separators, and none has a dot or a control character. So an
object that has no other names has each of them for every reader, and none that is not there.
"""


class Names(NamedTuple):
    """The names of one object."""

    written: frozenset[str]
    """What names are without case and separators."""
    repeated: frozenset[str]
    """What several names are."""
    with_dots: tuple[str, ...]
    """The names that contain a dot, in that form: to some readers they are paths."""
    are_distinct: bool
    """Whether each name is that of one member for every reader, and none is a path."""

    def is_plain(self, step: "MemberStep", *, is_there: bool) -> bool:
        """Tell whether every reader takes the member of a step, and none one with dots in its name."""
        folded = step.folded
        if (folded in self.written) is not is_there or folded in self.repeated:
            return False
        return not self.with_dots or not step.folded_rest.startswith(self.with_dots)


# A tool's calls have the same names again and again; names that a client sends once replace none of them.
_KNOWN: Final[BoundedCache[tuple[str, ...], Names]] = BoundedCache(_KNOWN_OBJECTS)


def known_names(members: Mapping[str, object]) -> Names | None:
    """Return the names of an object, where another one had the same names before; None says nothing."""
    return _KNOWN.get(tuple(members)) if len(members) <= _KNOWN_NAMES else None


def names_of(members: Mapping[str, object]) -> Names | None:
    """Read the names of an object; None where readers may find other ones, or there are too many."""
    if len(members) > MAX_MEMBERS:
        return None
    together = "".join(members)
    if CONTROL.search(together) or not are_comparable(together) or not _REFERENCES.isdisjoint(members):
        return None
    if together.isascii() and together.isalpha() and together.islower():
        # Names are in that form already, which is the usual case.
        names = Names(frozenset(members), _NONE, (), True)
    else:
        counts = Counter(map(folded, members))
        repeated = frozenset(name for name, count in counts.items() if count > 1)
        with_dots = tuple(folded(name) for name in members if "." in name)
        names = Names(frozenset(counts), repeated, with_dots, not (repeated or with_dots))
    if len(together) <= _KNOWN_LENGTH and len(members) <= _KNOWN_NAMES:
        _KNOWN.put(tuple(members), names)
    return names


def is_json_text(text: str) -> bool:
    """Tell whether some readers may read a text as JSON again, and find an object, a list or null."""
    return text[:1] in _MAY_BE_JSON and _JSON_TEXT.fullmatch(text) is not None


class MemberStep(NamedTuple):
    """One name of a path, and what follows with it."""

    name: str
    folded: str
    folded_rest: str
    """The name and all that follow it, without case and separators."""


@lru_cache(maxsize=4096)
def steps_of(path: str) -> tuple[MemberStep, ...]:
    """Return the steps of a path: member names with dots between them. Policies have few different ones."""
    return tuple(_steps(path))


def _steps(path: str) -> Iterable[MemberStep]:
    rest = path
    while rest:
        name, _, after = rest.partition(".")
        yield MemberStep(name, folded(name), folded(rest))
        rest = after
