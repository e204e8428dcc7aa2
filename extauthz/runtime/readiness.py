"""Readiness of a worker: the checks and problems of the health endpoint, and which of them gate readiness.

Input: the policies, keys, publisher and decision log of a worker. Output: named checks, problems as texts.
"""

import time
from itertools import islice
from typing import Final

import structlog

from extauthz.compile.roles.role_index import RoleIndex
from extauthz.decisionlog.log import DecisionLog
from extauthz.domain.reasons import Effect
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys.assertion_file import AssertionFile
from extauthz.keys.cache import JwksCache
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.source import Publisher
from extauthz.runtime.descriptors import descriptor_problem
from extauthz.runtime.issuers import Issuers
from extauthz.settings import OverflowAction, Settings, StaleAction
from extauthz.telemetry.readiness import shown_problems

_UNMATCHED: Final = "\0unmatched"
"""A name that only the wildcard `*` matches, because no valid name contains NUL."""
_PROBED_TENANTS: Final = 16
_PROBLEMS_OF_A_TENANT: Final = 5

_log = structlog.get_logger("extauthz.readiness")


class WorkerReadiness:
    """The readiness of one worker; the keys of `checks` are the names in the health endpoint."""

    def __init__(
        self,
        current: CurrentPolicies,
        cache: JwksCache,
        publisher: Publisher,
        settings: Settings,
        decision_log: DecisionLog,
        issuers: Issuers,
        assertion_keys: AssertionFile | None = None,
    ) -> None:
        """Store the parts to examine; keys have not been available yet."""
        self._current = current
        self._cache = cache
        self._publisher = publisher
        self._settings = settings
        self._decision_log = decision_log
        self._issuers = issuers
        self._assertion_keys = assertion_keys
        self._had_keys = False

    def keys_usable(self) -> bool:
        """Return whether every issuer that has keys has some that are not stale; true without issuers."""
        issuers = self._cache.current().issuers.values()
        return all(keys.keys_at(time.time()) is not None for keys in issuers if keys.config.has_keys)

    def checks(self) -> dict[str, bool]:
        """Return the result of each check; a check that does not apply is left out."""
        checks = {"casbin": self._decides(), "policies": self._fresh()}
        if self._publisher.available is not None:
            checks["database"] = self._publisher.available
        if self._settings.mode is TenancyMode.SELFHOST and self._settings.oidc_enabled:
            checks["jwks"] = self.keys_usable()
        if self._decision_log.problem is not None:
            checks["decision_log"] = False
        return checks

    def problems(self) -> list[str]:
        """Return the problems of policies (each names its tenant), of files, the process and the log."""
        log = self._decision_log.problem
        shown = [*policy_problems(self._publisher), *self._issuers.problems()]
        if self._assertion_keys is not None and self._assertion_keys.problem is not None:
            shown.append(self._assertion_keys.problem)
        if (problem := descriptor_problem()) is not None:
            shown.append(problem)
        return shown if log is None else [*shown, log_problem(log)]

    def gate(self, checks: dict[str, bool]) -> bool:
        """Return whether the worker may be ready with these checks; keys gate the first start only."""
        self._had_keys = self._had_keys or checks.get("jwks", True) or self._others_have_keys()
        return self.gate_but_for_keys(checks) and self._had_keys

    def gate_but_for_keys(self, checks: dict[str, bool]) -> bool:
        """Return the same for a worker that replaces one that had keys, so that keys do not gate."""
        return checks["casbin"] and checks["policies"] and log_takes_decisions(self._decision_log)

    def _others_have_keys(self) -> bool:
        """Return whether only some of several providers failed; tokens of the others are accepted then."""
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
        except Exception:  # noqa: BLE001  # a worker that cannot decide is not ready and still reports
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
        # In saas a tenant whose rows do not compile is denied as stale; it does not affect readiness.
        confirmed_at = directory.confirmed(DEFAULT_TENANT) if selfhost else directory.confirmed_at
        return time.time() - confirmed_at <= self._settings.policy_max_staleness


def log_takes_decisions(log: DecisionLog) -> bool:
    """Return whether the decision log permits decisions: with `deny`, only while it is not full."""
    return log.on_overflow is OverflowAction.DROP or not log.full


def log_problem(problem: str) -> str:
    """Return the text of a problem of the decision log for the health endpoint."""
    return f"decision log: {problem}"


def policy_problems(publisher: Publisher) -> list[str]:
    """Return the problems of the newest policies of each tenant for the health endpoint."""
    return shown_problems(
        f"policies of tenant {tenant!r}: {problem}"
        for tenant, problems in publisher.problems.items()
        for problem in problems[:_PROBLEMS_OF_A_TENANT]
    )


def decides_as_known(roles: RoleIndex) -> bool:
    """Return whether the role rules decide two requests as expected.

    The first cannot be sent by any client (its names contain NUL): it must not be allowed. The second is
    taken from a rule: it must be denied if a deny rule names it, and otherwise allowed, or denied by another
    rule.
    """
    unmatched = roles.decide(
        (_UNMATCHED,), authenticated=False, dom=_UNMATCHED, obj=_UNMATCHED, act=_UNMATCHED
    )
    if unmatched is not None and unmatched.effect is not Effect.DENY:
        return False
    for (obj, act, dom), cell in islice(roles.cells.items(), 1):
        denied = bool(cell.deny)
        subject = next(iter(cell.deny or cell.allow))
        outcome = roles.decide((subject,), authenticated=True, dom=dom, obj=obj, act=act)
        return outcome is not None and (outcome.effect is Effect.DENY or not denied)
    return True
