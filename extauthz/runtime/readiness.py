"""Whether a worker should be sent requests: what the health endpoint shows of it, and what of that gates."""

import time
from itertools import islice
from typing import Final

import structlog

from extauthz.admin.health import shown_problems
from extauthz.compile.directory import DEFAULT_TENANT, TenancyMode
from extauthz.compile.roles import RoleIndex
from extauthz.decisionlog.log import DecisionLog
from extauthz.domain.reasons import Effect
from extauthz.keys.cache import JwksCache
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.source import Publisher
from extauthz.runtime.issuers import Issuers
from extauthz.settings import OverflowAction, Settings, StaleAction

_NOBODY: Final = "\0nobody"
"""No name holds a NUL, so no rule but a `*` can mean it."""
_PROBED_TENANTS: Final = 16
_PROBLEMS_OF_A_TENANT: Final = 5

_log = structlog.get_logger("extauthz.readiness")


class WorkerReadiness:
    """Whether a worker should be sent requests; `checks` by the names of the health endpoint."""

    def __init__(
        self,
        current: CurrentPolicies,
        cache: JwksCache,
        publisher: Publisher,
        settings: Settings,
        decision_log: DecisionLog,
        issuers: Issuers,
    ) -> None:
        """Look at these parts; keys have not been had yet."""
        self._current = current
        self._cache = cache
        self._publisher = publisher
        self._settings = settings
        self._decision_log = decision_log
        self._issuers = issuers
        self._had_keys = False

    def keys_usable(self) -> bool:
        """Tell whether tokens can be verified, or need not be."""
        issuers = self._cache.current().issuers.values()
        return all(keys.keys_at(time.time()) is not None for keys in issuers)

    def checks(self) -> dict[str, bool]:
        """Return each check's outcome; one that does not apply is left out."""
        checks = {"casbin": self._decides(), "policies": self._fresh()}
        if self._publisher.available is not None:
            checks["database"] = self._publisher.available
        if self._settings.mode is TenancyMode.SELFHOST and self._settings.oidc_enabled:
            checks["jwks"] = self.keys_usable()
        if self._decision_log.problem is not None:
            checks["decision_log"] = False
        return checks

    def problems(self) -> list[str]:
        """Return in words what is wrong with the newest policies; those of a tenant begin with its name."""
        log = self._decision_log.problem
        shown = [*policy_problems(self._publisher), *self._issuers.problems()]
        return shown if log is None else [*shown, log_problem(log)]

    def gate(self, checks: dict[str, bool]) -> bool:
        """Tell whether these checks let requests in: keys gate the first start only."""
        self._had_keys = self._had_keys or checks.get("jwks", True) or self._others_have_keys()
        return self.gate_but_for_keys(checks) and self._had_keys

    def gate_but_for_keys(self, checks: dict[str, bool]) -> bool:
        """Tell the same of a worker that takes the place of one that had keys."""
        return checks["casbin"] and checks["policies"] and log_takes_decisions(self._decision_log)

    def _others_have_keys(self) -> bool:
        """Tell whether only some of several providers failed: the tokens of the others are accepted then."""
        if not self._cache.all_tried():
            return False
        return any(keys.keys_at(time.time()) is not None for keys in self._cache.current().issuers.values())

    def _decides(self) -> bool:
        directory = self._current.current()
        if directory is None:
            return False
        try:
            return all(
                decides_as_known(snapshot.roles)
                for snapshot in islice(directory.snapshots.values(), _PROBED_TENANTS)
            )
        except Exception:  # noqa: BLE001  # who cannot decide is not ready, and goes on reporting that
            _log.exception("known_request_not_decided")
            return False

    def _fresh(self) -> bool:
        directory = self._current.current()
        if directory is None:
            return False
        selfhost = self._settings.mode is TenancyMode.SELFHOST
        if selfhost and DEFAULT_TENANT not in directory.snapshots:
            return False
        if self._settings.policy_stale_action is StaleAction.SERVE:
            return True
        # One tenant of many whose rows do not compile is denied as stale, and keeps nobody else waiting.
        confirmed_at = directory.confirmed(DEFAULT_TENANT) if selfhost else directory.confirmed_at
        return time.time() - confirmed_at <= self._settings.policy_max_staleness


def log_takes_decisions(log: DecisionLog) -> bool:
    """Tell whether the decision log lets decisions be made: with `deny`, not while it is full."""
    return log.on_overflow is OverflowAction.DROP or not log.full


def log_problem(problem: str) -> str:
    """Return what is wrong with the decision log, as health endpoints show it."""
    return f"decision log: {problem}"


def policy_problems(publisher: Publisher) -> list[str]:
    """Return what is wrong with the newest policies of each tenant, as health endpoints show it."""
    return shown_problems(
        f"policies of tenant {tenant!r}: {problem}"
        for tenant, problems in publisher.problems.items()
        for problem in problems[:_PROBLEMS_OF_A_TENANT]
    )


def decides_as_known(roles: RoleIndex) -> bool:
    """Let the role rules decide two requests whose outcome is known; tell whether it comes to that.

    One is what some rule names, which comes to a deny if one names it, else to an allow or another rule's
    deny; the other is one that nobody can send, which may come to anything but an allow.
    """
    nobody = roles.decide((_NOBODY,), authenticated=False, dom=_NOBODY, obj=_NOBODY, act=_NOBODY)
    if nobody is not None and nobody.effect is not Effect.DENY:
        return False
    for (obj, act, dom), cell in islice(roles.cells.items(), 1):
        denied = bool(cell.deny)
        subject = next(iter(cell.deny or cell.allow))
        outcome = roles.decide((subject,), authenticated=True, dom=dom, obj=obj, act=act)
        return outcome is not None and (outcome.effect is Effect.DENY or not denied)
    return True
