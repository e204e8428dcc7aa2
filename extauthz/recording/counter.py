"""Counts the shapes of one process, from the verdicts that the thread of the decision log has written.

INVARIANT: `count` and `tick` are called by that one thread, and no lock is taken there: a full table is
handed over as it is, and `take` makes shapes of it on another thread. No answer waits for any of this.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import Malformed, RequestFacts
from extauthz.domain.tenancy import TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.domain.verdict import Allowed, Denied, NamedVerdict, Preflight, Rule, Target, Verdict
from extauthz.recording.bounds import KEPT_ALLOWS, KEPT_DENIES
from extauthz.recording.day import reading
from extauthz.recording.documents import Counted
from extauthz.recording.frame import Count, Frame, ShapeKey
from extauthz.recording.shape import (
    ABSENT,
    MCP_METHOD,
    MCP_NAME,
    OWNER,
    PREFLIGHT,
    SUBJECT,
    CredentialState,
    Shape,
    literal,
)
from extauthz.recording.slot_readers import FOLDED, slot_text

CUT_EVERY_S: Final = 15.0
"""Seconds that a table takes counts before it is handed over; a replay has them within a minute."""

_Identity = tuple[PrincipalKind | None, Authentication | None, bool, str | None, str | None, tuple[str, ...]]

_MAX_KNOWN: Final = 1_000
_SHAPE_OCTETS: Final = 900
_DECISION_OCTETS: Final = 140
_ANONYMOUS: Final = PrincipalKind.ANONYMOUS
_NONE: Final = AuthenticationRequirement.NONE
_ALLOW: Final = Effect.ALLOW
_DENY: Final = Effect.DENY
_RULE_MATCHED: Final = Reason.RULE_MATCHED
_PREFLIGHT: Final = Reason.PREFLIGHT
_NOT_OF_CREDENTIALS: Final = frozenset({Reason.TOKEN_MISSING, Reason.TENANT_SUSPENDED, Reason.POLICY_STALE})
"""The reasons of denials without a principal that are not about a credential."""
# Looked up in its class, a member of an enumeration costs a call.
_VERIFIED: Final = CredentialState.VERIFIED
_NO_CREDENTIAL: Final = CredentialState.NONE
_REFUSED: Final = CredentialState.REFUSED
_UNREAD: Final = CredentialState.UNREAD
_WITHOUT_IDENTITY: Final[_Identity] = (None, None, False, None, None, ())
_MESSAGE: Final = frozenset((MCP_METHOD, MCP_NAME))
_NO_ATTRIBUTES: Final[frozenset[str]] = frozenset()


class ShapeCounter:
    """Counts shapes until they are taken; half of the bounds is for those that wait to be taken."""

    def __init__(
        self,
        current: Callable[[], Directory | None],
        *,
        unmapped: UnmappedPolicy,
        binding: TenantBinding,
        attributes: Iterable[str],
        max_shapes: int,
        max_octets: int,
        on_loss: Callable[[int], None],
    ) -> None:
        """Take the live policies, the settings that judging reads, and the attributes to record always.

        `on_loss` is called with the number of requests each time some are not counted.
        """
        self._current = current
        self._unmapped = unmapped
        self._by_token = binding is TenantBinding.TOKEN
        self._always = frozenset(attributes)
        self._asked_for: Mapping[str, frozenset[str]] = {}
        self._max_shapes = max_shapes // 2
        self._max_octets = max_octets // 2
        self._on_loss = on_loss
        self._waiting: deque[tuple[Sequence[Frame], Sequence[_Identity]]] = deque()
        self._hour, self._hour_begins, self._hour_ends = 0, 0.0, 0.0
        self._cut_at = 0.0
        self._ending = False
        self._begin()

    def record_also(self, attributes: Mapping[str, frozenset[str]]) -> None:
        """Record these attributes too, by tenant, from the next table on; for any thread."""
        self._asked_for = attributes

    def count(self, verdict: Verdict | NamedVerdict, ts: float, entrance: str) -> None:
        """Count the shape of a verdict at `ts` (POSIX seconds).

        Left out is what no tenant's policies were asked: questions by name, malformed requests, targets
        without an owner, and checks that ended before policies were loaded.
        """
        tenant: str | None
        target: Target | None
        principal: Principal | None
        request: RequestFacts | Malformed | None
        rule: Rule | None
        used: Mapping[str, object]
        # Unpacked at once: each member by itself costs as much as five of them.
        if type(verdict) is Allowed:
            decision, rule, principal, _, target, policies, request, _, used = verdict
            tenant, effect, reason, kept = target.tenant, _ALLOW, _RULE_MATCHED, KEPT_ALLOWS
        elif type(verdict) is Denied:
            decision, reason, request, principal, _, target, tenant, policies, rule, _, used, _ = verdict
            effect, kept = _DENY, KEPT_DENIES
        elif type(verdict) is Preflight:
            decision, target, policies, request = verdict
            tenant, effect, reason, kept = target.tenant, _ALLOW, _PREFLIGHT, KEPT_ALLOWS
            rule, principal, used = None, None, {}
        else:
            return
        revision = policies[0]
        if tenant is None or revision is None or type(request) is not RequestFacts:
            return
        if not self._hour_begins <= ts < self._hour_ends:
            self._turn(ts)
        template = None if target is None else target.template
        frame = self._frames.get((tenant, template))
        if frame is None or frame.revision != revision or (not frame.is_complete and used):
            frame = self._renewed(frame, tenant, template, revision, used.keys())
        identity: int | CredentialState
        if principal is not None and principal.kind is not _ANONYMOUS:
            known = self._known.get(id(principal))
            identity = known[1] if known is not None and known[0] is principal else self._number(principal)
        else:
            identity = _without_identity(principal, target, reason, request)
            principal = None
        context = request.context
        fixed = (
            self._hour,
            identity,
            self._by_token and self._is_by_token(tenant, request),
            entrance,
            context.resource,
            context.action,
            effect,
            reason,
            rule,
        )
        pieces = frame.pieces(request, principal)
        for at, seen in frame.full:
            if pieces[at] not in seen:
                pieces[at] = FOLDED
        key = (*fixed, *pieces)
        table = frame.table
        count = table.get(key)
        if count is None:
            key = (*fixed, *frame.folded(pieces))
            count = table.get(key)
        if count is None:
            if self._shapes >= self._max_shapes or self._octets >= self._max_octets:
                self._full(verdict, ts, entrance)
                return
            self._shapes += 1
            self._octets += _SHAPE_OCTETS + len(request.path.text)
            count = table[key] = Count(revision)
        requests = count.requests
        if requests < kept:
            count.decisions.append((decision, revision))
            self._octets += _DECISION_OCTETS
        else:
            count.decisions[requests % kept] = (decision, revision)
        count.requests = requests + 1
        if revision > count.last:
            count.last = revision
        elif revision < count.first:
            count.first = revision

    def tick(self, now: float) -> None:
        """Hand the table over when its time has come; `now` is POSIX seconds."""
        if self._ending:
            self.close()
        elif now >= self._cut_at or self._cut_at - now > CUT_EVERY_S:
            self._cut(now)

    def end(self) -> None:
        """Have every tick from now on hand over what there is; for any thread."""
        self._ending = True

    def close(self) -> None:
        """Hand over what is left."""
        if self._shapes:
            self._waiting.append((self._all, tuple(self._numbers)))
            self._begin()

    def take(self) -> Iterator[Counted] | None:
        """Return what was handed over first, made as it is read; None: nothing was. For one other thread."""
        return _counted(*self._waiting.popleft(), self._unmapped) if self._waiting else None

    def _begin(self) -> None:
        self._frames: dict[tuple[str, str | None], Frame] = {}
        self._all: list[Frame] = []
        self._numbers: dict[_Identity, int] = {}
        self._known: dict[int, tuple[Principal, int]] = {}
        self._live: dict[str, tuple[Snapshot | None, frozenset[str]]] = {}
        self._shapes = 0
        self._octets = 0

    def _cut(self, now: float) -> None:
        self._cut_at = now + CUT_EVERY_S
        if not self._waiting:
            self.close()

    def _full(self, verdict: Verdict, ts: float, entrance: str) -> None:
        self._cut(ts)
        if self._shapes:
            self._on_loss(1)
        else:
            self.count(verdict, ts, entrance)

    def _turn(self, ts: float) -> None:
        self._hour = int(ts // 3600)
        self._hour_begins = self._hour * 3600.0
        self._hour_ends = self._hour_begins + 3600.0

    def _number(self, principal: Principal) -> int:
        """Return the number of an identity; it is remembered by the object that a cached token has."""
        identity = (
            principal.kind,
            principal.authentication,
            principal.confirmation is not None,
            principal.tenant,
            principal.domain,
            principal.roles,
        )
        number = self._numbers.setdefault(identity, len(self._numbers))
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[id(principal)] = (principal, number)
        return number

    def _renewed(
        self, frame: Frame | None, tenant: str, template: str | None, revision: int, used: Set[str]
    ) -> Frame:
        """Return a frame that records what rules of the revision read; this decision read `used`."""
        snapshot, names = self._read_by_rules(tenant)
        is_complete = snapshot is not None and snapshot.revision == revision
        names |= used
        if frame is not None:
            # What was recorded stays: rules of the revision before may still be deciding.
            names |= frame.names
            frame.revision, frame.is_complete = revision, is_complete
            if names == frame.names:
                return frame
        frame = self._frames[tenant, template] = Frame(
            tenant, template, names, revision, reading(names | {SUBJECT}, self._unmapped)
        )
        frame.is_complete = is_complete
        self._all.append(frame)
        return frame

    def _read_by_rules(self, tenant: str) -> tuple[Snapshot | None, frozenset[str]]:
        directory = self._current()
        snapshot = None if directory is None else directory.snapshots.get(tenant)
        known = self._live.get(tenant)
        if known is None or known[0] is not snapshot:
            live = _NO_ATTRIBUTES if snapshot is None else frozenset(snapshot.policies.names)
            if snapshot is not None and snapshot.routes.messages:
                live |= _MESSAGE
            asked_for = self._asked_for.get(tenant, _NO_ATTRIBUTES)
            known = self._live[tenant] = (snapshot, live | asked_for | self._always)
        return known

    def _is_by_token(self, tenant: str, request: RequestFacts) -> bool:
        directory = self._current()
        return (
            directory is not None
            and directory.mode is TenancyMode.SAAS
            and request.context.tenant is None
            and directory.hosts.get(request.host) != tenant
        )


def _without_identity(
    principal: Principal | None, target: Target | None, reason: Reason, request: RequestFacts
) -> CredentialState:
    """Return what is known of the credential of a request without a verified one.

    docs/reference/design.md#order-of-judgement has the order that this follows.
    """
    if request.preflight is not None:
        return _NO_CREDENTIAL
    if target is not None and target.authentication is _NONE:
        return _UNREAD
    if principal is None and reason not in _NOT_OF_CREDENTIALS:
        return _REFUSED
    return _NO_CREDENTIAL


def _counted(
    frames: Sequence[Frame], identities: Sequence[_Identity], unmapped: UnmappedPolicy
) -> Iterator[Counted]:
    for frame in frames:
        for key, count in frame.table.items():
            yield _one(frame, key, count, identities, unmapped)


def _one(
    frame: Frame, key: ShapeKey, count: Count, identities: Sequence[_Identity], unmapped: UnmappedPolicy
) -> Counted:
    hour, identity, by_token, entrance, resource, action, effect, reason, rule, *pieces = key
    is_verified = not isinstance(identity, CredentialState)
    kind, authentication, bound, token_tenant, domain, roles = (
        identities[identity] if is_verified else _WITHOUT_IDENTITY
    )
    slots = {name: slot_text(piece) for name, piece in zip(frame.slots, pieces, strict=True)}
    if slots[PREFLIGHT] == ABSENT:
        del slots[PREFLIGHT]
    if by_token:
        slots[OWNER] = literal("token")
    shape = Shape(
        tenant=frame.tenant,
        entrance=entrance,
        unmapped=unmapped,
        credential=_VERIFIED if is_verified else identity,
        kind=kind,
        authentication=authentication,
        bound=bound,
        token_tenant=token_tenant,
        domain=domain,
        own_roles=roles,
        resource=resource,
        action=action,
        template=frame.template,
        slots=tuple(sorted(slots.items())),
        effect=effect,
        reason=reason,
        rule=rule,
    )
    oldest = count.requests % len(count.decisions)
    decisions = (*count.decisions[oldest:], *count.decisions[:oldest])
    return Counted(shape, hour, count.requests, count.first, count.last, decisions)
