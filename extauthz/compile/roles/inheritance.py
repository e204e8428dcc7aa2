"""Role inheritance: no cycles, and at most eight links, in every domain.

docs/reference/policy-language.md#role-bindings has the rule.

The lines of `*` hold in every domain. Their chains are measured once; in another domain only chains with a
line of its own are measured, so that many domains and many lines of `*` cost their sum, not their product.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from extauthz.domain.policy import WILDCARD

CYCLE: Final = "the roles inherit in a cycle"
MAX_ROLE_LINKS: Final = 8
_ROLE: Final = "role:"

Neighbours = Callable[[str, str], Iterable[str]]
"""The roles that one domain's own lines, by themselves, connect with a role."""


@dataclass(slots=True)
class Inheritance:
    """One check. `parents` and `heirs` follow one domain's lines up and, those of `*`, down."""

    parents: Neighbours
    heirs: Neighbours
    _star: dict[str, int] = field(default_factory=dict)
    _below: dict[str, tuple[int, str]] = field(default_factory=dict)

    def problem_of_star(self, names: Iterable[str]) -> str | None:
        """Return what is wrong with the lines of `*`, whose lower ends are `names`."""
        for name in sorted(names):
            problem = self._measure(name, self._of_star, self._star)
            if problem is not None:
                return problem
        return None

    def problem_in(self, domain: str, names: Iterable[str]) -> str | None:
        """Return what is wrong with the chains that have a line of the domain; `names` are their lower ends.

        The lines of `*` by themselves are in order.
        """
        own = sorted(names)
        # Only from a line of `*` that ends at a lower end of its own lines does a chain come back to them.
        comes_back = any(any(self.heirs(WILDCARD, name)) for name in own)
        lower_ends = frozenset(own)

        def above(name: str) -> Iterable[str]:
            return {*self.parents(domain, name), *self.parents(WILDCARD, name)}

        lengths: dict[str, int] = {}
        for name in own:
            problem = self._measure(
                name, above, lengths, only_star=None if comes_back else lower_ends.__contains__
            )
            if problem is not None:
                return problem
            links, lowest = self._links_below(name, 0)
            if links + lengths[name] > MAX_ROLE_LINKS:
                return _too_long(lowest)
        return None

    def _of_star(self, name: str) -> Iterable[str]:
        return self.parents(WILDCARD, name)

    def _measure(
        self,
        start: str,
        above: Callable[[str], Iterable[str]],
        lengths: dict[str, int],
        only_star: Callable[[str], bool] | None = None,
    ) -> str | None:
        """Measure the longest chain above each role that `start` reaches, with an explicit stack.

        Above a role of which `only_star` is false there are lines of `*` alone.
        """
        if start in lengths:
            return None
        path: list[str] = [start]
        reached: list[list[str]] = [sorted(above(start))]
        waiting: list[list[str]] = [list(reached[0])]
        while waiting:
            if waiting[-1]:
                parent = waiting[-1].pop()
                if parent in path:
                    return _cycle(path[path.index(parent) :])
                if parent in lengths:
                    continue
                if only_star is not None and not only_star(parent):
                    problem = self._measure(parent, self._of_star, self._star)
                    if problem is not None:
                        return problem
                    lengths[parent] = self._star[parent]
                    continue
                if len(path) > MAX_ROLE_LINKS:
                    return _too_long(path[0])
                path.append(parent)
                reached.append(sorted(above(parent)))
                waiting.append(list(reached[-1]))
                continue
            waiting.pop()
            name, parents = path.pop(), reached.pop()
            lengths[name] = 1 + max(lengths[parent] for parent in parents) if parents else 0
            if lengths[name] > MAX_ROLE_LINKS:
                return _too_long(name)
        return None

    def _links_below(self, name: str, depth: int) -> tuple[int, str]:
        """Return how many links of `*` lead to a role at most, and the role where such a chain begins."""
        known = self._below.get(name)
        if known is not None:
            return known
        longest = (0, name)
        # Chains of `*` were measured, so the depth ends this only where a caller did not have them measured.
        for heir in sorted(self.heirs(WILDCARD, name)) if depth <= MAX_ROLE_LINKS else ():
            links, lowest = self._links_below(heir, depth + 1)
            if links + 1 > longest[0]:
                longest = (links + 1, lowest)
        self._below[name] = longest
        return longest


def _cycle(roles: list[str]) -> str:
    first = roles.index(min(roles))
    names = [role.removeprefix(_ROLE) for role in (*roles[first:], *roles[: first + 1])]
    return f"{CYCLE}: {' -> '.join(names)}"


def _too_long(name: str) -> str:
    return f"the role {name.removeprefix(_ROLE)!r} inherits over more than {MAX_ROLE_LINKS} links"
