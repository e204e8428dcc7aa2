"""The `g` lines of a plain Casbin policy as a graph: pycasbin's answers, bounded by the size of the file.

pycasbin remembers every name that it was ever asked about, and builds the graph of a domain by comparing
every name with every other. Here nothing grows with requests, and a question costs the links it follows.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from extauthz.compile.casbin_patterns import Undecided, time_match
from extauthz.compile.casbin_rows import Row

MAX_LINKS: Final = 9
"""pycasbin's `max_hierarchy_level` of 10 counts names, the subject's own included."""
_MAX_CONDITIONAL_LINKS: Final = 10
_ANY_PLACE: Final = ""

Condition = tuple[str, ...]
Follow = Callable[[Condition], bool]
Links = dict[tuple[str, str], list[tuple[str, Condition]]]


class RoleGraph:
    """Who has which role, directly or by inheritance, in which domain."""

    def __init__(self, rows: Iterable[Row], *, with_domain: bool, parameters: int = 0) -> None:
        """Take the `g` rows; the last `parameters` fields of each are those of its condition function."""
        self._with_domain = with_domain
        self._conditional = parameters > 0
        self._links: Links = {}
        for row in rows:
            user, role = row.fields[:2]
            domain = row.fields[2] if with_domain else _ANY_PLACE
            condition = row.fields[len(row.fields) - parameters :]
            self._links.setdefault((domain, user), []).append((role, condition))

    def names(self, name: str, domain: str) -> frozenset[str]:
        """Return the name itself and every role it has, for a graph without conditions."""
        return frozenset(found for level in self._levels(name, domain, lambda _: True) for found in level)

    def has(self, arguments: tuple[object, ...], now: datetime) -> bool:
        """Answer `g(name, role)` or `g(name, role, domain)`.

        Raises:
            TypeError: arguments that are not two or three strings.
            Undecided: the role hangs on a condition function that a policy file cannot name.
        """
        if not 2 <= len(arguments) <= 3 or not all(isinstance(each, str) for each in arguments):
            raise TypeError("a role function needs two or three strings")
        name, role, *place = (str(each) for each in arguments)
        domain = place[0] if place and self._with_domain else _ANY_PLACE
        if self._reaches(name, role, domain, lambda condition: _holds(condition, now) is True):
            return True
        if self._conditional and self._reaches(
            name, role, domain, lambda condition: _holds(condition, now) is not False
        ):
            raise Undecided(f"{name!r} has the role {role!r} under a condition that only a program can judge")
        return False

    def _reaches(self, name: str, role: str, domain: str, follow: Follow) -> bool:
        return any(role in level for level in self._levels(name, domain, follow))

    def _levels(self, name: str, domain: str, follow: Follow) -> Iterator[set[str]]:
        seen = {name}
        level = {name}
        for _ in range(1 + (_MAX_CONDITIONAL_LINKS if self._conditional else MAX_LINKS)):
            yield level
            level = {
                role
                for user in level
                for role, condition in self._links.get((domain, user), ())
                if role not in seen and (not condition or follow(condition))
            }
            if not level:
                return
            seen |= level


def _holds(condition: Condition, now: datetime) -> bool | None:
    """Judge two times, the only condition that Casbin itself brings along; None for any other."""
    if len(condition) != 2:
        return None
    try:
        return time_match(*condition, now=now)
    except ValueError:
        return None
