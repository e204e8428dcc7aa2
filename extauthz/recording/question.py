"""The question that a shape or a line of the decision log stands for, ready to be judged on any policies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from extauthz.compile.conditions.values import Missing
from extauthz.compile.routes.route_index import Template
from extauthz.decide.by_name import ENTRANCES_BY_NAME, NamedQuestion
from extauthz.decide.identity import Rejected
from extauthz.decide.judge import CheckPolicy
from extauthz.domain.path import CanonicalPath
from extauthz.domain.principal import Authentication, Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import ContextTarget
from extauthz.domain.tenancy import TenantBinding, UnmappedPolicy
from extauthz.domain.verdict import Rule
from extauthz.recording import shape as recorded
from extauthz.recording.not_known import CannotSayError, NotKnown, State
from extauthz.recording.recorded_path import FoldedPath, FoldedRest, FoldedSegment
from extauthz.recording.recorded_principal import PartlyKnown, RecordedClaims
from extauthz.recording.recorded_request import RecordedFacts
from extauthz.recording.shape import OWNER, CredentialState, Shape
from extauthz.recording.slots import Slots, value_in

NOT_BY_POLICIES: Final = frozenset(
    {
        Reason.REQUEST_MALFORMED,
        Reason.TENANT_SUSPENDED,
        Reason.POLICY_STALE,
        Reason.NOT_READY,
        Reason.OVERLOADED,
        Reason.DEADLINE,
        Reason.INTERNAL_ERROR,
    }
)
"""Reasons of denials that the state of the service made, whatever its policies say."""

WITHOUT_CREDENTIAL: Final = frozenset({Reason.TOKEN_MISSING, Reason.TENANT_SUSPENDED, Reason.POLICY_STALE})
"""The reasons of denials without a principal that are not about a credential."""
POLICIES: Final[Mapping[UnmappedPolicy, CheckPolicy]] = {
    each: CheckPolicy(unmapped=each, max_staleness=None) for each in UnmappedPolicy
}
_BY_TOKEN: Final[Mapping[UnmappedPolicy, CheckPolicy]] = {
    each: CheckPolicy(unmapped=each, binding=TenantBinding.TOKEN, max_staleness=None)
    for each in UnmappedPolicy
}
# A name that no rule and no binding has: names are printable.
NO_NAME: Final = "\0"
_BOUND: Final = "recorded"
_WITHOUT_CLAIMS: Final = frozenset((Authentication.MTLS, Authentication.API_KEY))


@dataclass(frozen=True, slots=True)
class Question:
    """What one recorded request asked, and what the answer was.

    Either `facts` or `named` is there; neither where the answer did not come from policies (`is_fixed`).
    `identity` is what its credential proved, None without one; `unread` says that it is not known whether
    there was one, `maybe_preflight` that it is not known whether it is a CORS preflight.
    `maybe_by_roles` says that it is not known whether a question by name was about roles alone. `template` is
    that of its route at the time. `lacks` is a masked value without which nothing can be judged.
    """

    tenant: str
    facts: RecordedFacts | None
    named: NamedQuestion | None
    identity: Principal | Rejected | None
    unread: NotKnown | None
    maybe_preflight: NotKnown | None
    policy: CheckPolicy
    template: str | None
    effect: Effect
    reason: Reason
    rule: Rule | None
    maybe_by_roles: NotKnown | None = None
    lacks: NotKnown | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the answer is the same whatever policies say."""
        return self.facts is None and self.named is None and self.lacks is None

    @property
    def is_preflight(self) -> bool:
        """Whether it is, or may be, a CORS preflight."""
        return self.maybe_preflight is not None or (
            self.facts is not None and self.facts.preflight is not None
        )

    @property
    def domain(self) -> str | None:
        """The domain of the principal."""
        return self.identity.domain if isinstance(self.identity, Principal) else None


def question_of(shape: Shape, *, routes_since: bool = True) -> Question:
    """Return the question of a shape; `routes_since` is whether live routes may be newer than it."""
    texts = dict(shape.slots)
    slots = Slots(texts)
    facts = named = None
    by_token = OWNER in texts
    if shape.reason not in NOT_BY_POLICIES:
        path = _path(shape, texts, routes_since=routes_since)
        if shape.entrance in ENTRANCES_BY_NAME:
            if shape.resource is not None and shape.action is not None:
                named = NamedQuestion(shape.resource, shape.action, NamedParameters(slots))
        elif path is not None:
            context = ContextTarget(None if by_token else shape.tenant, shape.resource, shape.action)
            preflight = slots.text(recorded.PREFLIGHT) if recorded.PREFLIGHT in texts else None
            facts = RecordedFacts.of(slots, path, context, preflight)
    unread = NotKnown("credential") if shape.credential is CredentialState.UNREAD else None
    return Question(
        shape.tenant,
        facts,
        named,
        _identity(shape, slots),
        unread,
        None,
        (_BY_TOKEN if by_token else POLICIES)[shape.unmapped],
        shape.template,
        shape.effect,
        shape.reason,
        shape.rule,
    )


class NamedParameters(dict[str, object]):
    """The parameters of a question by name, which the caller of the REST API gave as attributes."""

    def __init__(self, slots: Slots) -> None:
        """Take the slots."""
        super().__init__()
        self._slots = slots

    def get(self, name: str, default: object = None, /) -> object:
        """Return the value of a parameter."""
        found = self._slots.read(f"resource.{name}")
        return default if isinstance(found, Missing) else found


def _identity(shape: Shape, slots: Slots) -> Principal | Rejected | None:
    if shape.credential is CredentialState.REFUSED:
        return Rejected(shape.reason, "")
    if shape.credential is not CredentialState.VERIFIED:
        return None
    assert shape.kind is not None, "a verified credential has a kind"
    not_known = None
    try:
        subject = slots.text(recorded.SUBJECT)
    except CannotSayError as error:
        subject, not_known = NO_NAME, error.not_known
    # Only tokens, and subjects that a caller of the REST API describes, have claims.
    complete = shape.authentication in _WITHOUT_CLAIMS and shape.entrance not in ENTRANCES_BY_NAME
    principal = Principal(
        shape.kind,
        subject,
        shape.token_tenant,
        shape.domain,
        shape.own_roles,
        shape.authentication or Authentication.NONE,
        RecordedClaims(slots, complete=complete),
        _BOUND if shape.bound else None,
    )
    return principal if not_known is None else PartlyKnown.of(principal, {"id": not_known})


def _path(shape: Shape, texts: Mapping[str, str], *, routes_since: bool) -> CanonicalPath | None:
    """Return the path of a shape, a `FoldedPath` where a part is folded; None where there is none."""
    template = None if shape.template is None else recorded.template_of(shape.template)
    if template is None:
        whole = texts.get(recorded.PATH, recorded.FOLDED)
        if whole == recorded.ABSENT:
            return None
        if whole == recorded.FOLDED:
            return folded_path([FoldedRest.of(recorded.PATH)], NotKnown(recorded.PATH, State.FOLDED), None)
        path = str(value_in(whole))
        return CanonicalPath(path, tuple(path[1:].split("/")))
    names = iter(template.names)
    segments: list[str] = []
    folded: FoldedSegment | None = None
    for literal in template.segments:
        if literal is not None:
            segments.append(literal)
            continue
        slot = recorded.parameter_slot(next(names))
        text = texts.get(slot, recorded.FOLDED)
        if text == recorded.FOLDED:
            folded = FoldedSegment.of(slot)
            segments.append(folded)
        else:
            segments.append(str(value_in(text)))
    if template.covers_below:
        rest = texts.get(recorded.REMAINDER, recorded.FOLDED)
        if rest == recorded.FOLDED:
            folded = FoldedRest.of(recorded.REMAINDER)
            segments.append(folded)
        else:
            segments.extend(str(value_in(rest)).split("/")[1:])
    if folded is not None:
        return folded_path(segments, folded.not_known, None if routes_since else template)
    return CanonicalPath("/" + "/".join(segments), tuple(segments))


def folded_path(segments: Sequence[str], not_known: NotKnown, template: Template | None) -> FoldedPath:
    """Return a path of which some segments are `FoldedSegment`; `not_known` names one of them."""
    path = FoldedPath("", tuple(segments))
    path.not_known = not_known
    path.template = template
    return path
