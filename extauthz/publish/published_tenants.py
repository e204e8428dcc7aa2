"""What is in force of all tenants of a database, put together as one directory.

Input: what a refresh found of each tenant (`Refreshed`). Output: the directory in `CurrentPolicies`, the
states of tenants and the problems of their newest rows; a log line when policies of a tenant are refused,
accepted or published. Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from extauthz.compile.directory import Directory
from extauthz.publish.rejected_revisions import log_refused
from extauthz.publish.tenant_configs import TenantConfigs, log_damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from extauthz.domain.problem import Problem
    from extauthz.domain.tenancy import TenancyMode
    from extauthz.domain.tenant_config import TenantConfig, TenantIdentityProvider
    from extauthz.publish.current import CurrentPolicies
    from extauthz.publish.tenant import TenantPolicies

_log = structlog.get_logger("extauthz.publish")


@dataclass(slots=True)
class Refreshed:
    """What a refresh finds of each tenant; filled tenant by tenant, then published."""

    states: dict[str, TenantPolicies] = field(default_factory=dict)
    """The policies to put in force."""
    unready: dict[str, TenantConfig] = field(default_factory=dict)
    """The configurations of tenants none of whose policies compiled since the start."""
    drafts: dict[str, TenantPolicies] = field(default_factory=dict)
    """What could be read of those tenants: it validates writes, and is never published."""
    failed: dict[str, Sequence[Problem]] = field(default_factory=dict)
    """Why the newest rows of a tenant are not in force."""
    loading: set[str] = field(default_factory=set)
    """The tenants that are being read whole."""


class PublishedTenants:
    """Keeps `CurrentPolicies` at what refreshes find.

    `on_failure` is told of each configuration that cannot be read; `on_issuers` gets the issuers of all
    tenants whenever they changed, before they are published.
    """

    def __init__(
        self,
        current: CurrentPolicies,
        *,
        mode: TenancyMode,
        on_failure: Callable[[], None],
        on_issuers: Callable[[Sequence[TenantIdentityProvider]], None],
    ) -> None:
        """Begin with no tenant, and publish nothing."""
        self._current = current
        self._mode = mode
        self._on_failure = on_failure
        self._on_issuers = on_issuers
        self._configs = TenantConfigs()
        self._lagging: dict[str, float] = {}
        self._found = Refreshed()
        self.epoch: str | None = None
        """The epoch of the database that was published, None before the first refresh."""

    @property
    def states(self) -> Mapping[str, TenantPolicies]:
        """The policies in force."""
        return self._found.states

    @property
    def unready(self) -> Mapping[str, TenantConfig]:
        """The configurations of tenants none of whose policies compiled since the start."""
        return self._found.unready

    @property
    def problems(self) -> Mapping[str, Sequence[Problem]]:
        """Why the newest rows of tenants are not in force."""
        return self._found.failed

    def state(self, tenant: str) -> TenantPolicies | None:
        """Return the tenant's published state, or what could be read of it (`is_complete` is false then)."""
        return self._found.states.get(tenant) or self._found.drafts.get(tenant)

    def among(self, wanted: Collection[str]) -> Refreshed:
        """Return what is in force of the wanted tenants, for a refresh to change."""
        before = self._found
        unready = {tenant: known for tenant, known in before.unready.items() if tenant in wanted}
        return Refreshed(
            states={tenant: state for tenant, state in before.states.items() if tenant in wanted},
            unready=unready,
            drafts={tenant: known for tenant, known in before.drafts.items() if tenant in unready},
        )

    def publish(self, found: Refreshed, epoch: str, confirmed_at: float) -> list[str]:
        """Put in force what a refresh found, and return the tenants whose policies are others than before.

        `confirmed_at` is when the database was asked (POSIX seconds).
        """
        before, directory = self._found, self._current.current()
        for tenant in found.loading | found.failed.keys():
            # A tenant that is new has waited for as long as this refresh takes.
            waits_since = confirmed_at if tenant in found.loading else 0.0
            if directory is not None and tenant in found.states:
                waits_since = directory.confirmed(tenant)
            self._lagging.setdefault(tenant, waits_since)
        self._log_problems(found)
        self._lagging = {tenant: self._lagging[tenant] for tenant in found.loading | found.failed.keys()}
        moved = [tenant for tenant, state in found.states.items() if before.states.get(tenant) is not state]
        self._found, self.epoch = found, epoch
        self._register({tenant: state.config for tenant, state in found.states.items()} | found.unready)
        self._current.swap(
            Directory(
                mode=self._mode,
                snapshots={tenant: state.snapshot for tenant, state in found.states.items()},
                epoch=epoch,
                confirmed_at=confirmed_at,
                hosts=self._configs.hosts,
                suspended=self._configs.suspended,
                issuers=self._configs.issuers,
                service_keys=self._configs.identity_keys,
                lagging=dict(self._lagging),
            )
        )
        for tenant in moved:
            _log.debug("policies_published", tenant=tenant, revision=found.states[tenant].snapshot.revision)
        return moved

    def _log_problems(self, found: Refreshed) -> None:
        before = self._found.failed
        for tenant, problems in found.failed.items():
            if problems != before.get(tenant):
                log_refused(tenant, problems, has_policies=tenant in found.states)
        for tenant in before.keys() - found.failed.keys():
            if tenant in found.states:
                _log.info("policies_accepted", tenant=tenant, revision=found.states[tenant].snapshot.revision)

    def _register(self, registered: Mapping[str, TenantConfig]) -> None:
        """Take over what is registered now, and tell of what of it cannot be read and of other issuers."""
        before = self._configs
        self._configs = before.following(registered)
        if self._configs is before:
            return
        for tenant in self._configs.damaged_since(before):
            self._on_failure()
            log_damaged(tenant, self._configs.of[tenant])
        if self._configs.issuers != before.issuers:
            self._on_issuers(self._configs.issuers)
