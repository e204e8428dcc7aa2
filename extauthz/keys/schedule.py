"""The times of fetches: the provider's `max-age` within limits, and increasing delays after failures.

Pure: times and random numbers are arguments. Input: `Cache-Control`, the number of failures. Output: seconds.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Limits, in seconds.

    `cool_down` is the minimum between two fetches of one issuer for tokens with unknown key ids;
    `most_on_demand` is the number of such fetches per second, of all issuers together. Keys are refreshed
    before their lifetime ends: the provider's `max-age`, at least `shortest_lifetime` and at most
    `longest_lifetime`, or `usual_lifetime` without one. A failed fetch is retried after `first_retry`, then
    after twice that, up to `longest_retry`. Keys are used for `max_staleness` after the last success. A
    request may wait for a fetch that began at most `worth_waiting` ago, if the provider's last fetch ended
    within that time.
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
        """The longest time in seconds between two scheduled fetches."""
        return max(self.longest_lifetime, self.longest_retry)

    def refresh_after(self, cache_control: str | None, chance: float) -> float:
        """Return the seconds until a refresh. `chance` in [0, 1) spreads the fetches of many processes."""
        lifetime = max_age(cache_control)
        if lifetime is None:
            lifetime = self.usual_lifetime
        bounded = min(max(lifetime, self.shortest_lifetime), self.longest_lifetime)
        return bounded * (0.9 - 0.2 * chance)

    def retry_after(self, failures: int, chance: float) -> float:
        """Return the seconds until a retry after a number of consecutive failures (1 or more)."""
        doubled = self.first_retry * 2.0 ** min(failures - 1, 30)
        return min(doubled, self.longest_retry) * (1.0 - 0.5 * chance)


class RateLimit:
    """A limit of `most` events in any second; not thread-safe."""

    __slots__ = ("_most", "_recent")

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: deque[float] = deque(maxlen=most)

    def take(self, now: float) -> bool:
        """Return whether an event at `now` (seconds) is within the limit; if so, count it."""
        recent = self._recent
        # A recorded time in the future means that the clock was set back; it does not count.
        if len(recent) == self._most and 0.0 <= now - recent[0] < 1.0:
            return False
        recent.append(now)
        return True


def max_age(cache_control: str | None) -> float | None:
    """Return the freshness lifetime of a `Cache-Control` value in seconds; None if it states none.

    `no-store` and `no-cache` mean 0 (RFC 9111 5.2.2); of several `max-age` the smallest applies
    (RFC 9111 4.2.1 prefers the most restrictive of conflicting directives).
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
