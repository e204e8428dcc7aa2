"""The `g` lines of a Casbin policy as a graph: pycasbin's answers in memory bounded by the file.

pycasbin remembers every name that it was ever asked about, and builds the graph of a domain by comparing
every name with every other. Here nothing grows with requests, and a question costs the links it follows.

pycasbin follows a limited number of links, and loses the denies of the roles behind them. A caller that would
allow what pycasbin allows therefore asks a second time, with the roles behind them left open.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum, auto
from functools import lru_cache
from itertools import islice
from typing import Final

from extauthz.casbin_enforce.functions import Undecided, time_match
from extauthz.casbin_enforce.policy_file import Row

MAX_LINKS: Final = 9
"""pycasbin's `max_hierarchy_level` of 10 counts names, the subject's own included."""
_MAX_CONDITIONAL_LINKS: Final = 10
_ANY_PLACE: Final = ""

LinkCondition = tuple[str, ...]
Follow = Callable[[LinkCondition], bool]
Links = dict[tuple[str, str], list[tuple[str, LinkCondition]]]


class Far(Enum):
    """What the roles are that pycasbin does not get to."""

    ABSENT = auto()
    OPEN = auto()


class RoleGraph:
    """The roles of names by domain, direct and inherited."""

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
        # The rows of a policy ask the same for one request; no more is kept than those of one or two.
        self.names_at_any_distance = lru_cache(maxsize=8)(self._names_at_any_distance)

    def names(self, name: str, domain: str) -> frozenset[str]:
        """Return the name itself and every role that pycasbin gives it, for a graph without conditions."""
        return frozenset().union(*self._near(name, domain, _always))

    def _names_at_any_distance(self, name: str, domain: str) -> frozenset[str]:
        """Return the name itself and every role it has, for a graph without conditions."""
        return frozenset().union(*self._levels(name, domain, _always))

    def has(self, arguments: tuple[object, ...], now: datetime, *, far: Far) -> bool:
        """Answer `g(name, role)` or `g(name, role, domain)`.

        Raises:
            TypeError: arguments that are not two or three strings.
            Undecided: the role hangs on a condition function that a policy file cannot name, or is open.
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
        if far is Far.OPEN and self._is_far(name, role, domain, now):
            raise Undecided(too_far(name))
        return False

    def _is_far(self, name: str, role: str, domain: str, now: datetime) -> bool:
        if not self._conditional:
            return role in self.names_at_any_distance(name, domain)
        levels = self._levels(name, domain, lambda condition: _holds(condition, now) is not False)
        return any(role in level for level in levels)

    def _reaches(self, name: str, role: str, domain: str, follow: Follow) -> bool:
        return any(role in level for level in self._near(name, domain, follow))

    def _near(self, name: str, domain: str, follow: Follow) -> Iterator[set[str]]:
        """Yield the levels that pycasbin looks at."""
        links = _MAX_CONDITIONAL_LINKS if self._conditional else MAX_LINKS
        return islice(self._levels(name, domain, follow), 1 + links)

    def _levels(self, name: str, domain: str, follow: Follow) -> Iterator[set[str]]:
        seen = {name}
        level = {name}
        while level:
            yield level
            level = {
                role
                for user in level
                for role, condition in self._links.get((domain, user), ())
                if role not in seen and (not condition or follow(condition))
            }
            seen |= level


def too_far(name: str) -> str:
    """Say why a role of the name is open."""
    return f"{name!r} inherits over more links than Casbin follows"


def _always(_condition: LinkCondition) -> bool:
    return True


def _holds(condition: LinkCondition, now: datetime) -> bool | None:
    """Judge two times, the only condition that Casbin itself brings along; None for any other."""
    if len(condition) != 2:
        return None
    try:
        return time_match(*condition, now=now)
    except ValueError:
        return None
