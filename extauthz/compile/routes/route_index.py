"""Routes: path templates and the index that finds the best one for a host and a path.

docs/reference/policy-language.md#routes has the rules.

The index is a tree of segments per host. Looking up never scans: it walks the tree, literal children before
the parameter child before a final `/**`, and where that could take a way for every combination of them, it
asks the columns of `compile/routes/route_columns.py` instead.

`/a@b` and `/a%40b` are different paths (RFC 3986 2.2) which most upstreams read as one. Routes may name both;
a path that only another spelling of a literal leads to the best template is marked, and refused.

Tenants of one service have the same words in their routes. These are one object for all of them (`intern`):
of a thousand tenants' words a processor's cache would hold few, and a request would wait for each.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from sys import intern
from typing import Final

from immutables import Map

from extauthz.compile.routes.mcp_messages import claims_of
from extauthz.compile.routes.route_columns import RouteColumns
from extauthz.compile.routes.route_tree import (
    MAX_WIDTH,
    Leaf,
    Match,
    RouteEntry,
    RouteNode,
    Unfinished,
    best,
    leaf_at,
    planted,
)
from extauthz.domain.path import CanonicalPath, PathRejected
from extauthz.domain.policy import Resource, Route

MAX_SEGMENTS: Final = 64
MAX_SHAPE: Final = 2000
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
class RouteConflict:
    """Two routes of one host and shape that both want a method."""

    host: str | None
    path: str
    method: str
    resource: str
    other_resource: str
    other_path: str


@dataclass(frozen=True, slots=True)
class RouteIndex:
    """Every route of one tenant. Immutable: a change returns another index that shares what it can.

    INVARIANT: a host whose tree is wider than `MAX_WIDTH` has columns, of the shapes in that tree.
    """

    trees: Map[str | None, RouteNode] = field(default_factory=Map)
    columns: Map[str | None, RouteColumns] = field(default_factory=Map, compare=False)
    messages: int = 0
    """How many routes cover messages of the Model Context Protocol."""

    def best(self, host: str, path: CanonicalPath) -> Match | None:
        """Return the best match of the most specific host tier that has one."""
        trees = self.trees
        if len(trees) == 1 and (tree := trees.get(None)) is not None:
            return self._best(None, tree, path.segments)
        for tier in host_tiers(host):
            tree = trees.get(tier)
            if tree is not None:
                match = self._best(tier, tree, path.segments)
                if match is not None:
                    return match
        return None

    def _best(self, host: str | None, tree: RouteNode, segments: tuple[str, ...]) -> Match | None:
        match = best(tree, segments)
        return self.columns[host].best(tree, segments) if isinstance(match, Unfinished) else match

    def conflicts(self, resource: Resource) -> list[tuple[int, RouteConflict]]:
        """Return, by position in `resource.routes`, the routes that conflict with these."""
        found: list[tuple[int, RouteConflict]] = []
        own: dict[tuple[str | None, tuple[str | None, ...], bool, str], str] = {}
        for position, route in enumerate(resource.routes):
            template = _parsed(route)
            leaf = _leaf_in(self.trees, route.host, template)
            for claim in claims_of(route.methods, route.mcp):
                shape = (route.host, template.segments, template.covers_below, claim)
                entry = leaf.by_claim.get(claim) if leaf is not None else None
                if entry is not None and entry.resource != resource.name:
                    conflict = RouteConflict(
                        route.host, route.path, claim, resource.name, entry.resource, entry.route.path
                    )
                    found.append((position, conflict))
                elif shape in own:
                    conflict = RouteConflict(
                        route.host, route.path, claim, resource.name, resource.name, own[shape]
                    )
                    found.append((position, conflict))
                own.setdefault(shape, route.path)
        return found

    def with_resource(self, resource: Resource) -> "RouteIndex":
        """Return the index with the resource's routes added; `conflicts` was asked before."""
        trees = self.trees
        changed: list[tuple[str | None, Template]] = []
        for route in resource.routes:
            template = _parsed(route)
            entry = RouteEntry(
                resource.name,
                resource.service,
                route,
                route.action,
                template.names,
                route.authentication,
                resource.forwarding,
                resource.require_bound,
            )
            leaf = _leaf_in(trees, route.host, template) or Leaf()
            trees = _planted_in(trees, route.host, template, leaf.replaced((*leaf.entries, entry)))
            changed.append((route.host, template))
        return self._with_trees(trees, changed, self.messages + _messages(resource))

    def without_resource(self, resource: Resource) -> "RouteIndex":
        """Return the index with the resource's routes taken out."""
        trees = self.trees
        changed: list[tuple[str | None, Template]] = []
        for route in resource.routes:
            template = _parsed(route)
            leaf = _leaf_in(trees, route.host, template)
            if leaf is None:
                continue
            rest = tuple(entry for entry in leaf.entries if entry.resource != resource.name)
            trees = _planted_in(trees, route.host, template, leaf.replaced(rest) if rest else None)
            changed.append((route.host, template))
        return self._with_trees(trees, changed, self.messages - _messages(resource))

    def _with_trees(
        self, trees: Map[str | None, RouteNode], changed: list[tuple[str | None, Template]], messages: int
    ) -> "RouteIndex":
        """Return the index of these trees; `changed` are the templates in which they differ from its own."""
        columns = self.columns
        for host in {host for host, _ in changed}:
            tree = trees.get(host)
            if tree is None or tree.width <= MAX_WIDTH:
                columns = columns.delete(host) if host in columns else columns
            elif host not in columns:
                columns = columns.set(host, RouteColumns.of(tree))
            else:
                shapes = [(each.segments, each.covers_below) for at, each in changed if at == host]
                columns = columns.set(host, columns[host].following(tree, shapes))
        return RouteIndex(trees, columns, messages)


def _messages(resource: Resource) -> int:
    return sum(bool(route.mcp) for route in resource.routes)


def _leaf_in(trees: Map[str | None, RouteNode], host: str | None, template: Template) -> Leaf | None:
    return leaf_at(trees.get(host), template.segments, covers_below=template.covers_below)


def _planted_in(
    trees: Map[str | None, RouteNode], host: str | None, template: Template, leaf: Leaf | None
) -> Map[str | None, RouteNode]:
    tree = planted(
        trees.get(host) or RouteNode(), template.segments, leaf, covers_below=template.covers_below
    )
    return trees.delete(host) if tree.is_empty else trees.set(host, tree)


def _parsed(route: Route) -> Template:
    template = Template.parse(route.path)
    assert isinstance(template, Template), "routes are checked when their document is read"
    return template


def host_tiers(host: str) -> Iterator[str | None]:
    """Yield the exact host, every `*.suffix` from the longest, then no host."""
    yield host
    dot = -1 if host.startswith("[") else host.find(".")
    while dot >= 0:
        yield "*" + host[dot:]
        dot = host.find(".", dot + 1)
    yield None


def index_of(resources: Iterable[Resource]) -> RouteIndex:
    """Return the index of all resources' routes, which do not conflict."""
    index = RouteIndex()
    for resource in resources:
        index = index.with_resource(resource)
    return index
