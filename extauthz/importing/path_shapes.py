"""Sets of paths as routes can hold them, and their intersections.

A `PathShape` is a number of segments, each literal or any one non-empty segment (None); with `below` every
path of at least one more segment. The shape of `/data/*` in Casbin's sense is `("data",)` with `below`: the
template `/data/**` without `/data` itself.

INVARIANT: in a set of shapes that is closed under `meet`, the best template for a path (literal before
parameter before `/**`) is the intersection of all shapes that hold the path. So each template has one answer
to "which lines match", and the best template of a request decides like all lines together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

MAX_SHAPES: Final = 2_000
"""Of those with a parameter or `below`; their intersections can be many more than they are."""


@dataclass(frozen=True, slots=True)
class PathShape:
    """A set of paths."""

    segments: tuple[str | None, ...]
    below: bool = False

    @property
    def is_literal(self) -> bool:
        """Whether it holds exactly one path."""
        return not self.below and None not in self.segments

    @property
    def itself(self) -> "PathShape":
        """The paths that `/**` covers and the shape does not: the prefix itself."""
        return PathShape(self.segments)

    def meet(self, other: "PathShape") -> "PathShape | None":
        """Return the paths in both, None where there are none."""
        longer, shorter = (self, other) if len(self.segments) >= len(other.segments) else (other, self)
        size = len(shorter.segments)
        if len(longer.segments) == size:
            if longer.below is not shorter.below:
                return None
        elif not shorter.below:
            return None
        found: list[str | None] = []
        for one, another in zip(longer.segments[:size], shorter.segments, strict=True):
            if one is None or another is None:
                both = one if another is None else another
                if both == "":
                    return None
                found.append(both)
            elif one == another:
                found.append(one)
            else:
                return None
        return PathShape((*found, *longer.segments[size:]), longer.below)

    def template(self, names: tuple[str, ...] = ()) -> str:
        """Return the template of a route; `names` are those of its parameters, as far as they are given."""
        written: list[str] = []
        place = 0
        for segment in self.segments:
            if segment is None:
                name = names[place] if place < len(names) else f"p{place + 1}"
                place += 1
                written.append(f"{{{name}}}")
            else:
                written.append(segment)
        return "".join(f"/{each}" for each in written) + ("/**" if self.below else "")


class ShapeTree(Generic[_T]):
    """Finds the shapes that hold a shape, with what is kept for each of them."""

    def __init__(self) -> None:
        self._children: dict[str | None, ShapeTree[_T]] = {}
        self._exact: list[_T] = []
        self._below: list[_T] = []

    def add(self, shape: PathShape, value: _T) -> None:
        """Keep a value for a shape."""
        node = self
        for segment in shape.segments:
            node = node._children.setdefault(segment, ShapeTree())
        (node._below if shape.below else node._exact).append(value)

    def holding(self, shape: PathShape) -> Iterator[_T]:
        """Yield what is kept for each shape that holds every path of this one."""
        level = [self]
        for segment in shape.segments:
            for node in level:
                yield from node._below
            keys = (None,) if segment is None else (segment, None) if segment else (segment,)
            level = [node._children[key] for node in level for key in keys if key in node._children]
        for node in level:
            yield from node._below if shape.below else node._exact


def closed(shapes: Iterable[PathShape]) -> dict[PathShape, None] | None:
    """Return the shapes, the prefixes that `/**` would cover as well, and all intersections.

    None where they are more than `MAX_SHAPES`, those of one path aside.
    """
    literals: dict[PathShape, None] = {}
    wide: dict[PathShape, None] = {}
    for shape in shapes:
        for each in (shape, shape.itself) if shape.below and shape.segments else (shape,):
            (literals if each.is_literal else wide)[each] = None
    waiting = list(wide)
    while waiting:
        shape = waiting.pop()
        if len(wide) > MAX_SHAPES:
            return None
        for other in list(wide):
            # Without a parameter, two of them are one inside of the other, or apart.
            if None not in shape.segments and None not in other.segments:
                continue
            both = shape.meet(other)
            if both is None or both in wide:
                continue
            if both.is_literal:
                literals[both] = None
            else:
                wide[both] = None
                waiting.append(both)
    return wide | literals
