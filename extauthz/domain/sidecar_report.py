"""What a sidecar reports to its control plane: limits that both sides keep, and what it says of bodies."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PATH: Final = "/sidecar-reports"
MAX_TENANTS: Final = 1_000
"""Tenants in one report; a sidecar of more sends several."""
MAX_KEY_USES: Final = 2_000
"""Uses of service keys in one report; further ones are in the next report."""


class RequestBodies(StrEnum):
    """What a sidecar has seen of the bodies of requests since it started; the values are in its reports."""

    ARRIVED = "arrived"
    """A check had a body that conditions can read."""
    UNREADABLE = "unreadable"
    """Requests with a JSON or form body came, and of none could conditions read it."""
    NONE = "none"
    """No check was of a request with such a body."""


@dataclass(frozen=True, slots=True)
class ReportedBodies:
    """What the live sidecars of a tenant say of bodies, each number one of `sidecars`.

    `silent` do not say, as earlier versions; `reading_none` have CONDITION_BODY_MAX=0. `arrived`,
    `unreadable` and `without` are those with each `RequestBodies`; the others have had no check yet.
    """

    sidecars: int = 0
    silent: int = 0
    reading_none: int = 0
    arrived: int = 0
    unreadable: int = 0
    without: int = 0
