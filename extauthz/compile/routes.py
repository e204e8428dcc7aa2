"""Routes: path templates and the index that finds the best one for a host and a path (POLICY.md, Routes).

The index is a tree of segments per host. Looking up never scans: a path visits a node at most once, literal
children before the parameter child before a final `/**`.

`/a@b` and `/a%40b` are different paths (RFC 3986 2.2) which most upstreams read as one. Routes may name both;
a path that only another spelling of a literal leads to the best template is marked, and nobody may guess.

Tenants of one service have the same words in their routes. These are one object for all of them (`intern`):
of a thousand tenants' words a processor's cache would hold few, and a request would wait for each.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Final, NamedTuple

from immutables import Map

from extauthz.domain.path import CanonicalPath, PathRejected, decode_segment
from extauthz.domain.policy import AuthenticationRequirement, Resource, Route

MAX_SEGMENTS: Final = 64
MAX_SHAPE: Final = 2000
ANY_METHOD: Final = "*"
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed path template: one entry a segment, None for a parameter; `names` in their order."""

    text: str
    segments: tuple[str | None, ...]
    names: tuple[str, ...]
    covers_below: bool

    @classmethod
    def parse(cls, text: str) -> "Template | str":
        """Read a path template; the answer is a message where it is not one."""
        if not text.startswith("/"):
            return "a path template starts with '/'"
        covers_below = text == "/**" or text.endswith("/**")
        body = text.removesuffix("/**") if covers_below else text
        if body.count("/") > MAX_SEGMENTS:
            return f"a path template has at most {MAX_SEGMENTS} segments"
        if covers_below and not body:
            return cls(text, (), (), covers_below)
        if covers_below and body.endswith("/"):
            return "an empty segment before '/**' matches no request"
        names: list[str] = []
        plain: list[str] = []
        for segment in body.split("/")[1:]:
            if segment == "**":
                return "'/**' stands only at the end"
            if "{" not in segment and "}" not in segment:
                plain.append(segment)
                continue
            parameter = _PARAMETER.fullmatch(segment)
            if parameter is None:
                return f"the segment {segment!r} is neither literal nor one '{{name}}'"
            if parameter[1] in names:
                return f"the parameter {parameter[1]!r} appears twice"
            names.append(intern(parameter[1]))
            plain.append("{}")
        return cls._canonical(plain, names, covers_below=covers_below)

    @classmethod
    def _canonical(cls, plain: list[str], names: list[str], *, covers_below: bool) -> "Template | str":
        # A parameter stands for some unreserved text while the literal rest is made canonical.
        canonical = CanonicalPath.parse(
            "/" + "/".join("p" if segment == "{}" else segment for segment in plain)
        )
        if isinstance(canonical, PathRejected):
            return f"no request can have this path: {canonical.reason}"
        segments = tuple(
            None if original == "{}" else intern(segment)
            for original, segment in zip(plain, canonical.segments, strict=True)
        )
        waiting = iter(names)
        text = "".join(f"/{{{next(waiting)}}}" if segment is None else f"/{segment}" for segment in segments)
        found = cls(text + ("/**" if covers_below else ""), segments, tuple(names), covers_below)
        if len(found.shape) > MAX_SHAPE:
            return f"a path template has at most {MAX_SHAPE} characters, names of parameters aside"
        return found

    @property
    def shape(self) -> str:
        """What it has in common with every template that matches the same paths: `{}` for a parameter."""
        plain = "".join(f"/{'{}' if segment is None else segment}" for segment in self.segments)
        return plain + ("/**" if self.covers_below else "")


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route in the index, with what a match of it leads to."""

    resource: str
    service: str
    route: Route
    action: str
    names: tuple[str, ...]
    optional: bool
    """Whether no credential is needed; rules decide either way."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """All routes of one host and shape, across resources: an explicit method beats `*`."""

    entries: tuple[RouteEntry, ...] = ()
    by_method: Mapping[str, RouteEntry] = field(default_factory=dict)

    def for_method(self, method: str) -> RouteEntry | None:
        """Return the route for a method; None: the template lacks it."""
        return self.by_method.get(method) or self.by_method.get(ANY_METHOD)

    def replaced(self, entries: tuple[RouteEntry, ...]) -> "Leaf":
        """Return the leaf with other entries; conflicts were found before, so each method has one."""
        return Leaf(entries, {method: entry for entry in entries for method in entry.route.methods})


_NO_LITERALS: Final[Map[str, "_Node"]] = Map()


@dataclass(frozen=True, slots=True)
class _Node:
    literals: Map[str, "_Node"] = _NO_LITERALS
    parameter: "_Node | None" = None
    leaf: Leaf | None = None
    below: Leaf | None = None
    escaped: Map[str, tuple[str, ...]] | None = None
    """The literals that contain an escape, by their decoded text; None when there are none."""

    @property
    def is_empty(self) -> bool:
        return not self.literals and self.parameter is None and self.leaf is None and self.below is None

    def respelt(self, segment: str) -> "Iterator[_Node]":
        """Yield the literal children that decode to the same text as a segment spelt differently."""
        decoded = decode_segment(segment)
        others = () if self.escaped is None else self.escaped.get(decoded, ())
        for literal in (decoded, *others):
            if literal != segment and literal in self.literals:
                yield self.literals[literal]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two routes of one host and shape that both want a method."""

    host: str | None
    path: str
    method: str
    resource: str
    other_resource: str
    other_path: str


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


@dataclass(frozen=True, slots=True)
class RouteIndex:
    """Every route of one tenant. Immutable: a change returns another index that shares what it can."""

    trees: Map[str | None, _Node] = field(default_factory=Map)

    def best(self, host: str, path: CanonicalPath) -> Match | None:
        """Return the best match of the most specific host tier that has one."""
        trees = self.trees
        if len(trees) == 1 and (tree := trees.get(None)) is not None:
            return _best(tree, path.segments)
        for tier in _tiers(host):
            tree = trees.get(tier)
            if tree is not None:
                match = _best(tree, path.segments)
                if match is not None:
                    return match
        return None

    def conflicts(self, resource: Resource) -> list[tuple[int, Conflict]]:
        """Return, by position in `resource.routes`, what stands against adding these routes."""
        found: list[tuple[int, Conflict]] = []
        own: dict[tuple[str | None, tuple[str | None, ...], bool, str], str] = {}
        for position, route in enumerate(resource.routes):
            template = _parsed(route)
            leaf = self._leaf(route.host, template)
            for method in route.methods:
                shape = (route.host, template.segments, template.covers_below, method)
                entry = leaf.by_method.get(method) if leaf is not None else None
                if entry is not None and entry.resource != resource.name:
                    conflict = Conflict(
                        route.host, route.path, method, resource.name, entry.resource, entry.route.path
                    )
                    found.append((position, conflict))
                elif shape in own:
                    conflict = Conflict(
                        route.host, route.path, method, resource.name, resource.name, own[shape]
                    )
                    found.append((position, conflict))
                own.setdefault(shape, route.path)
        return found

    def with_resource(self, resource: Resource) -> "RouteIndex":
        """Return the index with the resource's routes added; `conflicts` was asked before."""
        trees = self.trees
        for route in resource.routes:
            template = _parsed(route)
            optional = route.authentication is AuthenticationRequirement.OPTIONAL
            entry = RouteEntry(resource.name, resource.service, route, route.action, template.names, optional)
            leaf = self._leaf_in(trees, route.host, template) or Leaf()
            tree = trees.get(route.host) or _Node()
            leaf = leaf.replaced((*leaf.entries, entry))
            trees = trees.set(route.host, _planted(tree, template.segments, template.covers_below, leaf))
        return RouteIndex(trees)

    def without_resource(self, resource: Resource) -> "RouteIndex":
        """Return the index with the resource's routes taken out."""
        trees = self.trees
        for route in resource.routes:
            template = _parsed(route)
            leaf = self._leaf_in(trees, route.host, template)
            if leaf is None:
                continue
            rest = tuple(entry for entry in leaf.entries if entry.resource != resource.name)
            tree = _planted(
                trees[route.host],
                template.segments,
                template.covers_below,
                leaf.replaced(rest) if rest else None,
            )
            trees = trees.delete(route.host) if tree.is_empty else trees.set(route.host, tree)
        return RouteIndex(trees)

    def _leaf(self, host: str | None, template: Template) -> Leaf | None:
        return self._leaf_in(self.trees, host, template)

    @staticmethod
    def _leaf_in(trees: Map[str | None, _Node], host: str | None, template: Template) -> Leaf | None:
        node = trees.get(host)
        for segment in template.segments:
            if node is None:
                return None
            node = node.parameter if segment is None else node.literals.get(segment)
        if node is None:
            return None
        return node.below if template.covers_below else node.leaf


def _parsed(route: Route) -> Template:
    template = Template.parse(route.path)
    assert isinstance(template, Template), "routes are checked when their document is read"
    return template


def _tiers(host: str) -> Iterator[str | None]:
    """Yield the exact host, every `*.suffix` from the longest, then no host."""
    yield host
    dot = -1 if host.startswith("[") else host.find(".")
    while dot >= 0:
        yield "*" + host[dot:]
        dot = host.find(".", dot + 1)
    yield None


def _best(tree: _Node, segments: tuple[str, ...]) -> Match | None:
    """Return the best template for a whole path.

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
    start: _Node, at: int, passed: tuple[str, ...], segments: tuple[str, ...]
) -> Match | None:
    """Return the best template below a node, which stands before the segment `at`.

    The stack holds what is still worth trying, the best on top, so the first leaf reached is the answer.
    """
    last = len(segments)
    waiting: list[tuple[_Node, int, tuple[str, ...], bool, bool]] = [(start, at, passed, False, False)]
    while waiting:
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
            waiting.extend((child, position + 1, values, True, False) for child in node.respelt(segment))
        literal = node.literals.get(segment)
        if literal is not None:
            waiting.append((literal, position + 1, values, respelt, False))
    return None


def _planted(node: _Node, segments: tuple[str | None, ...], covers_below: bool, leaf: Leaf | None) -> _Node:
    """Return the tree with a leaf replaced, copying only the nodes on the way to it."""
    if not segments:
        if covers_below:
            return replace(node, below=leaf)
        return replace(node, leaf=leaf)
    segment, rest = segments[0], segments[1:]
    if segment is None:
        child = _planted(node.parameter or _Node(), rest, covers_below, leaf)
        return replace(node, parameter=None if child.is_empty else child)
    child = _planted(node.literals.get(segment) or _Node(), rest, covers_below, leaf)
    if child.is_empty:
        literals = node.literals.delete(segment) if segment in node.literals else node.literals
    else:
        literals = node.literals.set(segment, child)
    if "%" not in segment or (segment in node.literals) is (segment in literals):
        return replace(node, literals=literals)
    return replace(node, literals=literals, escaped=_escaped(node, segment, present=segment in literals))


def _escaped(node: _Node, segment: str, *, present: bool) -> Map[str, tuple[str, ...]] | None:
    """Return the node's escaped literals with one more or one less."""
    known: Map[str, tuple[str, ...]] = Map() if node.escaped is None else node.escaped
    decoded = decode_segment(segment)
    spellings = tuple(spelling for spelling in known.get(decoded, ()) if spelling != segment)
    if present:
        spellings = (*spellings, segment)
    return (known.set(decoded, spellings) if spellings else known.delete(decoded)) or None


def index_of(resources: Iterable[Resource]) -> RouteIndex:
    """Return the index of all resources' routes, which do not conflict."""
    index = RouteIndex()
    for resource in resources:
        index = index.with_resource(resource)
    return index
