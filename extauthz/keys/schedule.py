"""When to fetch again: what the provider asks for within our bounds, and less often while it is away."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Bounds in seconds.

    `cool_down` lies between two fetches of one issuer that tokens with unknown keys cause; `most_on_demand`
    of them, of all issuers together, may begin in a second. A good answer is refreshed
    before its lifetime ends: the provider's `max-age` within `shortest_lifetime` and `longest_lifetime`,
    `usual_lifetime` when it says nothing. While fetches fail they are repeated after `first_retry`, then
    twice that, up to `longest_retry`. Keys are used for `max_staleness` after the last success. A request may
    wait for a fetch that began at most `worth_waiting` ago, of a provider whose fetches end within that time:
    one that hangs holds request threads once, and for a moment.
    """

    cool_down: float = 2.0
    most_on_demand: int = 50
    shortest_lifetime: float = 60.0
    usual_lifetime: float = 300.0
    longest_lifetime: float = 3600.0
    first_retry: float = 1.0
    longest_retry: float = 60.0
    max_staleness: float = 86400.0
    worth_waiting: float = 0.15

    @property
    def longest_wait(self) -> float:
        """The longest time between two scheduled fetches."""
        return max(self.longest_lifetime, self.longest_retry)

    def refresh_after(self, cache_control: str | None, chance: float) -> float:
        """Return after how many seconds to refresh. `chance` in [0, 1) keeps many processes apart."""
        lifetime = max_age(cache_control)
        if lifetime is None:
            lifetime = self.usual_lifetime
        bounded = min(max(lifetime, self.shortest_lifetime), self.longest_lifetime)
        return bounded * (0.9 - 0.2 * chance)

    def retry_after(self, failures: int, chance: float) -> float:
        """Return after how many seconds to try again after this many failures in a row."""
        doubled = self.first_retry * 2.0 ** min(failures - 1, 30)
        return min(doubled, self.longest_retry) * (1.0 - 0.5 * chance)


class RateLimit:
    """At most `most` events in any second; not safe to share between threads."""

    __slots__ = ("_most", "_recent")

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: deque[float] = deque(maxlen=most)

    def take(self, now: float) -> bool:
        """Note an event at `now` (seconds) and return true, or false when there were too many."""
        recent = self._recent
        # A time that lies ahead is one of a clock that was put back: it does not count.
        if len(recent) == self._most and 0.0 <= now - recent[0] < 1.0:
            return False
        recent.append(now)
        return True


def max_age(cache_control: str | None) -> float | None:
    """Return the freshness lifetime in seconds that `Cache-Control` asks for, None if it does not say.

    `no-store` and `no-cache` ask for none at all (RFC 9111 5.2.2); of several `max-age` the smallest counts
    (RFC 9111 4.2.1 prefers the restrictive reading of a conflict).
    """
    ages: list[float] = []
    for directive in (cache_control or "").split(","):
        name, _, value = directive.strip().partition("=")
        match name.lower():
            case "no-store" | "no-cache":
                ages.append(0.0)
            case "max-age":
                digits = value.strip('"')
                if digits.isascii() and digits.isdigit() and len(digits) <= 18:
                    ages.append(float(digits))
            case _:
                pass
    return min(ages, default=None)
