"""What the REST API is built from: one value that the runtime and the tests construct."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from extauthz.compile.snapshot import Snapshot
from extauthz.decide.identity import TokenPolicy
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.problem import Problem
from extauthz.domain.service_key import PresentedKey
from extauthz.domain.tenancy import TenancyMode
from extauthz.keys.introspector import Introspector
from extauthz.keys.source import KeySource
from extauthz.publish.past import History
from extauthz.publish.source import PolicySource
from extauthz.rest.quotas import Quotas
from extauthz.rest.recording import Recording
from extauthz.storage.failed_credentials import FailedCredentials
from extauthz.storage.key_use import KeyUse
from extauthz.storage.sidecar_reports import SidecarReports
from extauthz.storage.write import Validate
from extauthz.telemetry.readiness import Readiness
from extauthz.telemetry.spans import Tracing

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.storage.pool import Pool


HeadSource = Callable[[str, int, float], Awaitable[bytes | None]]
"""Returns the head of a tenant: tenant, serial that the caller has, seconds to wait for a newer one."""

WaitFor = Callable[[str, int, float], Awaitable[bool]]
"""Waits until a tenant is published at a revision or later: tenant, revision, seconds at most."""


Compiled = Callable[[Any, str, "UUID | None"], Awaitable[Snapshot | list[Problem]]]
"""Returns the policies of a tenant, live or as a draft would leave them, in a transaction of the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """Everything a request may need.

    `pool` holds connections that see no tenant until a transaction names one. `validate` refuses a change
    that would not compile. `clock` gives POSIX seconds, `new_id` UUIDv7 texts. `max_staleness` (seconds
    since the policies were last confirmed; None: no bound) is for checks, as in a sidecar. Without an
    `admin_api_key` no caller is the operator. `failures` and `key_use` are notes of one process about its
    callers; `random_bytes` makes the secrets of keys. `unreadable` names the rows of a tenant that are not in
    force as they are stored. `file_issuers` is every `iss` of the file of IDENTITY_PROVIDERS. Without `heads`
    there are no signed policies, and without `history` no earlier revision can be rebuilt. `recording` is
    what this process records. `sidecars` are the reports that it receives; its own workers report with
    `worker_key`. `condition_body_max` is how much of a body is read; 0: nothing. `authzen_base_url` is what
    AuthZEN metadata names; None: it cannot be told.
    """

    mode: TenancyMode
    pool: "Pool"
    policies: PolicySource
    wait_for: WaitFor
    validate: Validate
    keys: KeySource
    tokens: VerifiedTokens
    token_policy: TokenPolicy
    admin_api_key: str | None
    condition_headers: frozenset[str]
    max_staleness: float | None
    recorder: Recorder
    new_id: Callable[[], str]
    clock: Callable[[], float]
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    unreadable: Callable[[str], Sequence[Problem]] = lambda _tenant: ()
    file_issuers: Callable[[], frozenset[str]] = frozenset
    quotas: Quotas = field(default_factory=Quotas)
    failures: FailedCredentials = field(default_factory=FailedCredentials)
    key_use: KeyUse = field(default_factory=KeyUse)
    introspector: Introspector | None = None
    random_bytes: Callable[[int], bytes] = os.urandom
    claim_headers: frozenset[str] = frozenset()
    key_set: Callable[[], bytes] | None = None
    heads: HeadSource | None = None
    history: History | None = None
    recording: Recording = field(default_factory=Recording)
    sidecars: SidecarReports = field(default_factory=SidecarReports)
    compiled: "Compiled | None" = None
    worker_key: PresentedKey | None = None
    condition_body_max: int = 65_536
    authzen_base_url: str | None = None
    tracing: Tracing | None = None
    replay_queued: Callable[[], None] = lambda: None
    """Is called when a replay waits to be run."""

    def snapshot(self, tenant: str) -> Snapshot | None:
        """Return the policies in force of a tenant; None while none are loaded."""
        directory = self.policies.current()
        return None if directory is None else directory.snapshots.get(tenant)
