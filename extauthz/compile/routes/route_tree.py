"""The routes of one host as a tree of segments, and the walk that finds the best template for a path.

A segment may lead to a literal child, to a literal that is spelt differently, and to the parameter child, and
each of these may turn out to match nothing. The walk therefore has a bound: `best` gives up after
`MAX_VISITS` steps, and `compile/routes/route_columns.py` answers instead. `Node.width` says for which trees
that can happen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import islice
from typing import Final, NamedTuple

from immutables import Map

from extauthz.compile.routes.mcp_messages import McpRoutes, claims_of
from extauthz.domain.forwarding import Forwarding
from extauthz.domain.mcp import POST
from extauthz.domain.path import decode_segment
from extauthz.domain.policy import AuthenticationRequirement, Route

ANY_METHOD: Final = "*"
MAX_WIDTH: Final = 100
"""A walk below a node of at most this width ends within `MAX_VISITS` steps."""
MAX_VISITS: Final = 2 * MAX_WIDTH + 2

Segments = tuple[str | None, ...]
"""The segments of a template, None for a parameter."""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route in the index, with what a match of it leads to."""

    resource: str
    service: str
    route: Route
    action: str
    names: tuple[str, ...]
    authentication: AuthenticationRequirement
    forwarding: Forwarding | None = None
    require_bound: bool = False


@dataclass(frozen=True, slots=True)
class Leaf:
    """All routes of one host and shape, across resources: an explicit method beats `*`."""

    entries: tuple[RouteEntry, ...] = ()
    by_claim: Mapping[str, RouteEntry] = field(default_factory=dict)
    messages: McpRoutes[RouteEntry] | None = None
    """The routes that cover messages; with one, no POST leads to a route without."""

    def for_method(self, method: str) -> RouteEntry | None:
        """Return the route for a method; None: the template lacks it, or it takes a message to know."""
        if self.messages is not None and method == POST:
            return None
        return self.by_claim.get(method) or self.by_claim.get(ANY_METHOD)

    def replaced(self, entries: tuple[RouteEntry, ...]) -> "Leaf":
        """Return the leaf with other entries; conflicts were found before, so each method has one."""
        by_claim = {
            claim: entry for entry in entries for claim in claims_of(entry.route.methods, entry.route.mcp)
        }
        patterns = [(pattern, entry) for entry in entries for pattern in entry.route.mcp]
        return Leaf(entries, by_claim, McpRoutes.of(patterns) if patterns else None)


_NO_LITERALS: "Final[Map[str, RouteNode]]" = Map()


@dataclass(frozen=True, slots=True)
class RouteNode:
    """What templates have in common up to one of their segments. Immutable.

    `widest` and `spellings` only grow while the node has literals: they are bounds, no part of its value.
    """

    literals: "Map[str, RouteNode]" = _NO_LITERALS
    parameter: "RouteNode | None" = None
    leaf: Leaf | None = None
    below: Leaf | None = None
    escaped: Map[str, Map[str, None]] | None = None
    """The literals that contain an escape, by their decoded text; None when there are none."""
    widest: int = field(default=0, compare=False)
    """The largest width of a literal child."""
    spellings: int = field(default=1, compare=False)
    """How many literal children one segment may lead to."""
    width: int = field(default=1, compare=False)
    """How many nodes, this one included, one path can lead to; counted up to `MAX_WIDTH` + 1."""

    @property
    def is_empty(self) -> bool:
        """Whether no template leads here."""
        return not self.literals and self.parameter is None and self.leaf is None and self.below is None

    def respelt(self, segment: str) -> "Iterator[RouteNode]":
        """Yield the literal children that decode to the same text as a segment spelt differently."""
        decoded = decode_segment(segment)
        others = () if self.escaped is None else self.escaped.get(decoded, ())
        for literal in (decoded, *others):
            if literal != segment and literal in self.literals:
                yield self.literals[literal]


class Match(NamedTuple):
    """The best template for a path, and the path segments its parameters stand for.

    `respelt` marks a path that does not spell the template's literals as the template does.
    """

    leaf: Leaf
    values: tuple[str, ...]
    respelt: bool

    def parameters(self, entry: RouteEntry) -> dict[str, object]:
        """Return the route's parameters by its own names, decoded once."""
        parameters: dict[str, object] = {}
        for name, value in zip(entry.names, self.values, strict=True):
            parameters[name] = decode_segment(value) if "%" in value else value
        return parameters


class Unfinished(Enum):
    """The walk ended at its bound, without an answer."""

    TOO_MANY_WAYS = auto()


def best(tree: RouteNode, segments: tuple[str, ...]) -> Match | Unfinished | None:
    """Return the best template for a whole path; never `Unfinished` below a width of `MAX_WIDTH`.

    As far as there is no choice the way is walked without looking back.
    """
    node = tree
    values: tuple[str, ...] = ()
    for position, segment in enumerate(segments):
        literal, parameter = node.literals.get(segment), node.parameter
        if (
            node.below is not None
            or node.escaped is not None
            or "%" in segment
            or (literal is not None and parameter is not None)
        ):
            return _best_of_several(node, position, values, segments)
        if literal is not None:
            node = literal
        elif parameter is not None and segment:
            node, values = parameter, (*values, segment)
        else:
            return None
    leaf = node.below if node.leaf is None else node.leaf
    return None if leaf is None else Match(leaf, values, False)


def _best_of_several(
    start: RouteNode, at: int, passed: tuple[str, ...], segments: tuple[str, ...]
) -> Match | Unfinished | None:
    """Return the best template below a node, which stands before the segment `at`.

    The stack holds what is still worth trying, the best on top, so the first leaf reached is the answer.
    """
    last = len(segments)
    visited = 0
    waiting: list[tuple[RouteNode, int, tuple[str, ...], bool, bool]] = [(start, at, passed, False, False)]
    while waiting:
        visited += 1
        node, position, values, respelt, only_below = waiting.pop()
        if only_below:
            assert node.below is not None
            return Match(node.below, values, respelt)
        if position == last:
            if node.leaf is not None:
                return Match(node.leaf, values, respelt)
            if node.below is not None:
                return Match(node.below, values, respelt)
            continue
        segment = segments[position]
        if node.below is not None:
            waiting.append((node, position, values, respelt, True))
        if node.parameter is not None and segment:
            waiting.append((node.parameter, position + 1, (*values, segment), respelt, False))
        if node.escaped is not None or "%" in segment:
            others = islice(node.respelt(segment), MAX_VISITS)
            waiting.extend((child, position + 1, values, True, False) for child in others)
        literal = node.literals.get(segment)
        if literal is not None:
            waiting.append((literal, position + 1, values, respelt, False))
        if visited + len(waiting) > MAX_VISITS:
            return Unfinished.TOO_MANY_WAYS
    return None


def leaf_at(tree: RouteNode | None, segments: Segments, *, covers_below: bool) -> Leaf | None:
    """Return the leaf of one shape, None where there is none."""
    node = tree
    for segment in segments:
        if node is None:
            return None
        node = node.parameter if segment is None else node.literals.get(segment)
    if node is None:
        return None
    return node.below if covers_below else node.leaf


def shapes(tree: RouteNode) -> Iterator[tuple[Segments, bool]]:
    """Yield the segments of every template in the tree, and whether it covers what is below."""
    waiting: list[tuple[RouteNode, Segments]] = [(tree, ())]
    while waiting:
        node, segments = waiting.pop()
        if node.leaf is not None:
            yield segments, False
        if node.below is not None:
            yield segments, True
        if node.parameter is not None:
            waiting.append((node.parameter, (*segments, None)))
        waiting.extend((child, (*segments, literal)) for literal, child in node.literals.items())


def planted(
    node: RouteNode, segments: Segments, leaf: Leaf | None, *, covers_below: bool, at: int = 0
) -> RouteNode:
    """Return the tree with a leaf replaced, copying only the nodes on the way to it.

    `at` is how many of the segments lead to `node`.
    """
    if at == len(segments):
        return replace(node, below=leaf) if covers_below else replace(node, leaf=leaf)
    segment = segments[at]
    literals, parameter, escaped = node.literals, node.parameter, node.escaped
    widest, spellings = node.widest, node.spellings
    if segment is None:
        child = planted(parameter or _NO_NODE, segments, leaf, covers_below=covers_below, at=at + 1)
        parameter = None if child.is_empty else child
    else:
        known = literals.get(segment)
        child = planted(known or _NO_NODE, segments, leaf, covers_below=covers_below, at=at + 1)
        widest = max(widest, child.width)
        if not child.is_empty:
            literals = literals.set(segment, child)
        elif known is not None:
            literals = literals.delete(segment)
        if not literals:
            widest = 0
        if "%" in segment and (known is None) is (segment in literals):
            escaped = _escaped(node, segment, present=segment in literals)
            of_one_text = 0 if escaped is None else len(escaped.get(decode_segment(segment), ()))
            # The text without escapes may be a literal, too.
            spellings = 1 if escaped is None else max(spellings, of_one_text + 1)
    width = 1 + widest * spellings + (0 if parameter is None else parameter.width)
    return RouteNode(
        literals, parameter, node.leaf, node.below, escaped, widest, spellings, min(width, MAX_WIDTH + 1)
    )


_NO_NODE: Final = RouteNode()


def _escaped(node: RouteNode, segment: str, *, present: bool) -> Map[str, Map[str, None]] | None:
    """Return the node's escaped literals with one more or one less."""
    known: Map[str, Map[str, None]] = Map() if node.escaped is None else node.escaped
    decoded = decode_segment(segment)
    spellings: Map[str, None] = known.get(decoded, Map())
    if present:
        spellings = spellings.set(segment, None)
    elif segment in spellings:
        spellings = spellings.delete(segment)
    return (known.set(decoded, spellings) if spellings else known.delete(decoded)) or None
