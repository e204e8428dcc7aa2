"""The routes of one path that cover messages of the Model Context Protocol."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

import re2

from extauthz.domain.folded_names import are_comparable, folded
from extauthz.domain.mcp import (
    ANY_NAME,
    ANY_NOTIFICATION,
    NAME_MEMBERS,
    NOTIFICATIONS,
    POST,
    URI,
    McpMessage,
    McpPattern,
)
from extauthz.domain.normal_uri import is_normal_uri, with_lower_authority

MAX_PARAMETERS: Final = 16
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}", re.ASCII)
# What a parameter stands for: unreserved characters (RFC 3986 2.3), but not `.` or `..`: other places.
_VALUE: Final = r"([A-Za-z0-9_~-][A-Za-z0-9._~-]*|\.[A-Za-z0-9_~-][A-Za-z0-9._~-]*)"
_NO_PARAMETERS: Final[Mapping[str, object]] = {}

_Entry = TypeVar("_Entry")


class UriTemplate(NamedTuple):
    """A URI with `{name}` for text of unreserved characters; `literal` counts the others."""

    shape: str
    before: str
    """What is before its first parameter."""
    names: tuple[str, ...]
    literal: int
    pattern: Any
    """Of RE2, which takes time in proportion to a client's URI."""

    @classmethod
    def parse(cls, text: str) -> "UriTemplate | str":
        """Read a template; the answer is a message where it is not one."""
        pieces = _PARAMETER.split(text)
        literals, names = pieces[::2], tuple(pieces[1::2])
        if any("{" in literal or "}" in literal for literal in literals):
            return "'{name}' stands for a part of the URI, and no other brackets are taken"
        if len(set(names)) < len(names) or len(names) > MAX_PARAMETERS:
            return f"each parameter appears once, at most {MAX_PARAMETERS} of them"
        if any(not literal for literal in literals[1:-1]):
            return "between two parameters there is some text"
        shape = "{}".join(literals)
        return cls(shape, literals[0], names, len(shape), re2.compile(_VALUE.join(map(re2.escape, literals))))


class Covered(NamedTuple, Generic[_Entry]):
    """The entry that covers a message, and the parameters of its URI."""

    entry: _Entry
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class McpRoutes(Generic[_Entry]):
    """Which entry covers which message: the exact name, then the URI template with most text, then `*`.

    INVARIANT: a template or `*` takes no name that a server could take for one with a route of its own.
    """

    exact: Mapping[tuple[str, str | None], Covered[_Entry]]
    """By method and name, which a message is, too."""
    templates: tuple[tuple[str, UriTemplate, _Entry], ...]
    spellings: frozenset[tuple[str, str]]
    """The exact names as readers see them that do not compare them exactly."""

    @classmethod
    def of(cls, entries: Iterable[tuple[McpPattern, _Entry]]) -> "McpRoutes[_Entry]":
        """Take the patterns of a path; no two of them claim the same."""
        exact: dict[tuple[str, str | None], Covered[_Entry]] = {}
        templates: list[tuple[str, UriTemplate, _Entry]] = []
        spellings: set[tuple[str, str]] = set()
        for pattern, entry in entries:
            template = None if pattern.name is None else _template(pattern)
            if template is not None:
                templates.append((pattern.method, template, entry))
                continue
            exact[pattern.method, pattern.name] = Covered(entry, _NO_PARAMETERS)
            if pattern.name is not None and pattern.name != ANY_NAME:
                spellings.add((pattern.method, folded(pattern.name)))
        templates.sort(key=lambda each: (-each[1].literal, each[1].shape))
        return cls(exact, tuple(templates), frozenset(spellings))

    def covered(self, message: McpMessage) -> Covered[_Entry] | None:
        """Return the entry of a message; None where no route names it."""
        found = self.exact.get(message)
        if found is None and message.method.startswith(NOTIFICATIONS):
            found = self.exact.get((ANY_NOTIFICATION, None))
        method, name = message
        if found is not None or name is None:
            return found
        if NAME_MEMBERS.get(method) == URI:
            return self._of_uri(method, name)
        if not are_comparable(name) or (method, folded(name)) in self.spellings:
            return None
        return self.exact.get((method, ANY_NAME))

    def _of_uri(self, method: str, uri: str) -> Covered[_Entry] | None:
        if not is_normal_uri(uri):
            return None
        found = self._of_template(method, uri) or self.exact.get((method, ANY_NAME))
        lower = with_lower_authority(uri)
        if found is None or lower == uri:
            return found
        other = self.exact.get((method, lower)) or self._of_template(method, lower)
        return found if other is None or other.entry is found.entry else None

    def _of_template(self, method: str, uri: str) -> Covered[_Entry] | None:
        for of_method, template, entry in self.templates:
            if of_method != method or not uri.startswith(template.before):
                continue
            matched = template.pattern.fullmatch(uri)
            if matched is not None:
                return Covered(entry, dict(zip(template.names, matched.groups(), strict=True)))
        return None


def _template(pattern: McpPattern) -> UriTemplate | None:
    """Return the template of a pattern whose name has parameters."""
    if pattern.name is None or NAME_MEMBERS.get(pattern.method) != URI:
        return None
    template = UriTemplate.parse(pattern.name)
    assert isinstance(template, UriTemplate), "routes are checked when their document is read"
    return template if template.names else None


def claims_of(methods: Sequence[str], patterns: Sequence[McpPattern]) -> list[str]:
    """Return what no other route of the host and shape may claim: methods, and messages of POST."""
    if not patterns:
        return list(methods)
    return [*(method for method in methods if method != POST), *map(_claimed, patterns)]


def _claimed(pattern: McpPattern) -> str:
    """Return the claim of a pattern: templates of one shape claim the same."""
    template = _template(pattern)
    return pattern.claim if template is None else McpPattern(pattern.method, template.shape).claim
