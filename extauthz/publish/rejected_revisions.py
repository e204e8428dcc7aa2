"""Revisions that did not compile: their problems, when each is read again, and their log line."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from extauthz.domain.problem import Problem

RETRY_S: Final = 1.0
"""How long a revision that did not compile is left alone before it is read again, at least."""
LONGEST_RETRY_S: Final = 30.0
_PAUSE_SHARE: Final = 4.0
"""The pause as a multiple of the time of reading the revision: a large tenant leaves time for others."""
SHOWN_PROBLEMS: Final = 20

_log = structlog.get_logger("extauthz.publish")


@dataclass(frozen=True, slots=True)
class _Refused:
    revision: int
    epoch: str
    retry_at: float
    problems: Sequence[Problem]


class RejectedRevisions:
    """The newest revision of each tenant whose rows do not compile. `steady` is a clock in seconds."""

    def __init__(self, steady: Callable[[], float]) -> None:
        """Start with none."""
        self._steady = steady
        self._refused: dict[str, _Refused] = {}

    def known_problems(self, tenant: str, revision: int, epoch: str) -> Sequence[Problem] | None:
        """Return why this revision did not compile; None when it is to be read (again) now."""
        refused = self._refused.get(tenant)
        if refused is None or (refused.revision, refused.epoch) != (revision, epoch):
            return None
        return refused.problems if self._steady() < refused.retry_at else None

    def revision(self, tenant: str) -> int | None:
        """Return the revision that did not compile."""
        refused = self._refused.get(tenant)
        return None if refused is None else refused.revision

    def is_due(self, tenant: str) -> bool:
        """Tell whether what did not compile is to be looked at now, whatever its revision is."""
        refused = self._refused.get(tenant)
        return refused is None or self._steady() >= refused.retry_at

    def add(
        self, tenant: str, revision: int, epoch: str, problems: Sequence[Problem], *, began: float
    ) -> None:
        """Note that a revision did not compile; `began` is when reading it began."""
        now = self._steady()
        pause = min(max(RETRY_S, (now - began) * _PAUSE_SHARE), LONGEST_RETRY_S)
        self._refused[tenant] = _Refused(revision, epoch, now + pause, problems)

    def keep(self, tenants: Collection[str]) -> None:
        """Forget all tenants but these."""
        self._refused = {tenant: self._refused[tenant] for tenant in tenants}

    def next_retry_in(self) -> float:
        """Return the seconds until a revision is to be read again; infinite when there is none."""
        first = min((refused.retry_at for refused in self._refused.values()), default=math.inf)
        return max(first - self._steady(), 0.0)


def log_refused(tenant: str, problems: Sequence[Problem], *, has_policies: bool) -> None:
    """Log why a tenant's newest rows are not in force."""
    _log.error(
        "policies_refused",
        message=(
            "rows that cannot be read keep their last good version; other changes are followed"
            if has_policies
            else "the tenant has no policies yet; its requests are answered 503 not_ready"
        ),
        tenant=tenant,
        problems=[str(problem) for problem in problems[:SHOWN_PROBLEMS]],
        problem_count=len(problems),
    )
