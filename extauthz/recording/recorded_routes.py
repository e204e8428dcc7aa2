"""Routes that find the target of a recorded request, also where a part of its path is folded.

The template that the request had then is known. Where every live route is as old as the record, what is
folded did not lead to any other of them, and only routes of the draft can be new to it. Else no literal of a
route may be where something is folded: `CannotSayError` is raised.
"""

from collections.abc import Iterator
from typing import Final

from extauthz.compile.routes.route_index import RouteIndex, host_tiers
from extauthz.compile.routes.route_tree import Leaf, Match, RouteEntry, Segments, leaf_at, shapes
from extauthz.domain.path import CanonicalPath, decode_segment
from extauthz.recording.not_known import CannotSayError
from extauthz.recording.recorded_path import FoldedPath, FoldedRest, FoldedSegment, RecordedParameters

_Added = tuple[str | None, Segments, bool]
"""The host of a route, its segments, and whether it ends with `/**`."""
_NOTHING_ADDED: Final[tuple[_Added, ...]] = ()


class RecordedMatch(Match):
    """A match whose parameters cannot be read where they are folded."""

    __slots__ = ()

    def parameters(self, entry: RouteEntry) -> dict[str, object]:
        """Return the route's parameters by its own names."""
        return RecordedParameters(Match.parameters(self, entry))


class RecordedRoutes(RouteIndex):
    """The routes of one side of a replay."""

    live: RouteIndex | None
    added: tuple[_Added, ...]

    @classmethod
    def of(cls, routes: RouteIndex, live: RouteIndex | None = None) -> "RecordedRoutes":
        """Return the same routes; `live` are those that the records are compared with, None: not known."""
        found = cls(routes.trees, routes.columns)
        object.__setattr__(found, "live", live)
        added = _NOTHING_ADDED if live is None or live is routes else tuple(_added(routes, live))
        object.__setattr__(found, "added", added)
        return found

    def best(self, host: str, path: CanonicalPath) -> Match | None:
        """Return the best match of the most specific host tier that has one."""
        if not isinstance(path, FoldedPath):
            return RouteIndex.best(self, host, path)
        known = self._known(host, path)
        if known is not None:
            return known
        found = RouteIndex.best(self, host, path)
        rest = path.segments[-1]
        if isinstance(rest, FoldedRest):
            # What is folded may be empty: then the path ends one segment earlier.
            ended = RouteIndex.best(self, host, path._replace(segments=path.segments[:-1]))
            if (found is None) is not (ended is None) or (found and ended and found.leaf is not ended.leaf):
                raise CannotSayError(rest.not_known)
        return None if found is None else RecordedMatch(*found)

    def _known(self, host: str, path: FoldedPath) -> Match | None:
        """Return the match of the template that the path had, where it still has it; None: not known."""
        template = path.template
        if template is None or self.live is None:
            return None
        for tier in host_tiers(host):
            live = leaf_at(self.live.trees.get(tier), template.segments, covers_below=template.covers_below)
            if live is not None:
                break
        else:
            return None
        leaf: Leaf | None = live
        if self.live.trees is not self.trees:
            leaf = leaf_at(self.trees.get(tier), template.segments, covers_below=template.covers_below)
        if leaf is None:
            return None
        if any(_may_match(each, host, path.segments) for each in self.added):
            raise CannotSayError(path.not_known)
        at = (place for place, segment in enumerate(template.segments) if segment is None)
        return RecordedMatch(leaf, tuple(path.segments[place] for place in at), False)


def _added(routes: RouteIndex, live: RouteIndex) -> Iterator[_Added]:
    """Yield the shapes of routes that the live ones do not have."""
    for host, tree in routes.trees.items():
        known = live.trees.get(host)
        if known is tree:
            continue
        for segments, covers_below in shapes(tree):
            if leaf_at(known, segments, covers_below=covers_below) is None:
                yield host, segments, covers_below


def _may_match(added: _Added, host: str, path: tuple[str, ...]) -> bool:
    """Tell whether a route matches a path for some value of what is folded."""
    pattern, segments, covers_below = added
    if pattern not in host_tiers(host):
        return False
    is_open = isinstance(path[-1], FoldedRest)
    known = path[:-1] if is_open else path
    if len(segments) > len(known) and not is_open:
        return False
    if len(segments) < len(known) and not covers_below:
        return False
    return all(map(_may_be, segments, known))


def _may_be(written: str | None, segment: str) -> bool:
    if written is None or isinstance(segment, FoldedSegment):
        return True
    return written == segment or decode_segment(written) == decode_segment(segment)
