"""The route templates of one host as columns of bits: they answer where the tree has too many ways to walk.

Each template is one bit. A column, for one position and one literal or for the parameter there, is the
integer of the templates that have it. The templates that match a path are found by one AND for each segment,
and the best of them by choosing a column again at each segment: the work grows with the number of segments,
and by one machine word for every 64 templates.

Templates are kept in shards, so that the column of a rare literal is a short integer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from immutables import Map

from extauthz.compile.routes.route_tree import Leaf, Match, RouteNode, Segments, leaf_at, shapes
from extauthz.domain.path import decode_segment

SHARD: Final = 4096
_FULL: Final = (1 << SHARD) - 1

TemplateShape = tuple[Segments, bool]
"""The segments of a template, and whether it ends in `/**`."""
Rank = tuple[int, ...]
_LITERAL, _RESPELT, _PARAMETER, _REST = range(4)
_Bits = Map[tuple[int, str], int]


@dataclass(frozen=True, slots=True)
class _Shard:
    """At most `SHARD` templates. `exact` and `below` are by number of segments, the others by position."""

    used: int = 0
    shapes: Map[int, TemplateShape] = field(default_factory=Map)
    literals: _Bits = field(default_factory=Map)
    escaped: _Bits = field(default_factory=Map)
    """Literals with an escape, by their decoded text."""
    parameters: Map[int, int] = field(default_factory=Map)
    exact: Map[int, int] = field(default_factory=Map)
    below: Map[int, int] = field(default_factory=Map)

    @classmethod
    def of(cls, templates: Sequence[TemplateShape]) -> "_Shard":
        """Return the shard of many templates; the same as adding them one by one, in less time."""
        literals: dict[tuple[int, str], int] = {}
        escaped: dict[tuple[int, str], int] = {}
        parameters: dict[int, int] = {}
        exact: dict[int, int] = {}
        below: dict[int, int] = {}
        for bit, (segments, covers_below) in enumerate(templates):
            mask = 1 << bit
            for position, segment in enumerate(segments):
                if segment is None:
                    parameters[position] = parameters.get(position, 0) | mask
                    continue
                literals[position, segment] = literals.get((position, segment), 0) | mask
                if "%" in segment:
                    decoded = (position, decode_segment(segment))
                    escaped[decoded] = escaped.get(decoded, 0) | mask
            lengths = below if covers_below else exact
            lengths[len(segments)] = lengths.get(len(segments), 0) | mask
        return cls(
            used=(1 << len(templates)) - 1,
            shapes=Map(enumerate(templates)),
            literals=Map(literals),
            escaped=Map(escaped),
            parameters=Map(parameters),
            exact=Map(exact),
            below=Map(below),
        )

    def changed(self, shape: TemplateShape, bit: int, *, present: bool) -> "_Shard":
        """Return the shard with one template added or taken out."""
        segments, covers_below = shape
        mask = 1 << bit
        literals, escaped, parameters = self.literals, self.escaped, self.parameters
        for position, segment in enumerate(segments):
            if segment is None:
                parameters = _marked(parameters, position, mask, present=present)
                continue
            literals = _marked(literals, (position, segment), mask, present=present)
            if "%" in segment:
                decoded = (position, decode_segment(segment))
                escaped = _marked(escaped, decoded, mask, present=present)
        exact, below = self.exact, self.below
        if covers_below:
            below = _marked(below, len(segments), mask, present=present)
        else:
            exact = _marked(exact, len(segments), mask, present=present)
        return _Shard(
            used=self.used | mask if present else self.used & ~mask,
            shapes=self.shapes.set(bit, shape) if present else self.shapes.delete(bit),
            literals=literals,
            escaped=escaped,
            parameters=parameters,
            exact=exact,
            below=below,
        )

    def best(self, segments: tuple[str, ...]) -> tuple[Rank, TemplateShape] | None:
        """Return the best template of the shard, with its rank at each segment: the lowest is best."""
        count = len(segments)
        exact = self.exact.get(count, 0)
        left = exact
        for length, bits in self.below.items():
            if length <= count:
                left |= bits
        chosen: list[tuple[int, int, int]] = []
        ended = 0
        for position, segment in enumerate(segments):
            if not left:
                return None
            ended |= self.below.get(position, 0)
            if left & ~ended == 0:
                # Only templates are left that end before here in `/**`.
                break
            literal = self.literals.get((position, segment), 0)
            respelt = self._respelt(position, segment) & ~literal
            parameter = self.parameters.get(position, 0) if segment else 0
            left &= literal | respelt | parameter | ended
            chosen.append((literal, respelt, parameter))
        if not left:
            return None
        rank: list[int] = []
        for columns in chosen:
            for preference, column in enumerate(columns):
                if kept := left & column:
                    left = kept
                    rank.append(preference)
                    break
            else:
                rank.append(_REST)
                break
        else:
            if not left & exact:
                rank.append(_REST)
            left = left & exact or left
        return tuple(rank), self.shapes[left.bit_length() - 1]

    def _respelt(self, position: int, segment: str) -> int:
        if not self.escaped and "%" not in segment:
            return 0
        decoded = (position, decode_segment(segment))
        return self.literals.get(decoded, 0) | self.escaped.get(decoded, 0)


def _marked(columns: Map, key: object, mask: int, *, present: bool) -> Map:  # type: ignore[type-arg]
    bits = columns.get(key, 0)
    bits = bits | mask if present else bits & ~mask
    if bits:
        return columns.set(key, bits)
    return columns.delete(key) if key in columns else columns


@dataclass(frozen=True, slots=True)
class RouteColumns:
    """All templates of one host. Immutable; a change copies the columns of one template."""

    shards: tuple[_Shard, ...] = ()
    places: Map[TemplateShape, tuple[int, int]] = field(default_factory=Map)
    """The shard and the bit of every template."""

    @classmethod
    def of(cls, tree: RouteNode) -> "RouteColumns":
        """Return the columns of all templates in a tree."""
        every = list(shapes(tree))
        parts = [every[start : start + SHARD] for start in range(0, len(every), SHARD)]
        places = {shape: (at, bit) for at, part in enumerate(parts) for bit, shape in enumerate(part)}
        return cls(tuple(_Shard.of(part) for part in parts), Map(places))

    def following(self, tree: RouteNode, changed: Iterable[TemplateShape]) -> "RouteColumns":
        """Return the columns of a tree that differs in these templates from the one that they are of."""
        columns = self
        for shape in changed:
            segments, covers_below = shape
            if leaf_at(tree, segments, covers_below=covers_below) is None:
                columns = columns._without(shape)
            else:
                columns = columns._with(shape)
        return columns

    def _with(self, shape: TemplateShape) -> "RouteColumns":
        if shape in self.places:
            return self
        at = next((at for at, shard in enumerate(self.shards) if shard.used != _FULL), len(self.shards))
        shard = self.shards[at] if at < len(self.shards) else _Shard()
        bit = (~shard.used & (shard.used + 1)).bit_length() - 1
        return self._replaced(at, shard.changed(shape, bit, present=True), self.places.set(shape, (at, bit)))

    def _without(self, shape: TemplateShape) -> "RouteColumns":
        if shape not in self.places:
            return self
        at, bit = self.places[shape]
        shard = self.shards[at].changed(shape, bit, present=False)
        return self._replaced(at, shard, self.places.delete(shape))

    def _replaced(
        self, at: int, shard: _Shard, places: Map[TemplateShape, tuple[int, int]]
    ) -> "RouteColumns":
        return RouteColumns((*self.shards[:at], shard, *self.shards[at + 1 :]), places)

    def best(self, tree: RouteNode, segments: tuple[str, ...]) -> Match | None:
        """Return the best template for a whole path; `tree` holds the leaves of all templates."""
        found = min(self._best_of_each(segments), default=None, key=lambda ranked: ranked[0])
        if found is None:
            return None
        rank, (template, covers_below) = found
        leaf = leaf_at(tree, template, covers_below=covers_below)
        assert isinstance(leaf, Leaf), "the columns hold the templates of the tree"
        values = tuple(value for value, segment in zip(segments, template, strict=False) if segment is None)
        return Match(leaf, values, _RESPELT in rank)

    def _best_of_each(self, segments: tuple[str, ...]) -> Iterator[tuple[Rank, TemplateShape]]:
        for shard in self.shards:
            found = shard.best(segments)
            if found is not None:
                yield found
