"""The shape of a request, made from what was judged, apart from the recorder of the product."""

from collections.abc import Iterable

from extauthz.compile.conditions.attribute_names import presence, resolver
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.conditions.values import UNKNOWN
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.identity import Rejected
from extauthz.decide.routes import decided_method
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import ANONYMOUS, Principal
from extauthz.domain.reasons import Effect
from extauthz.domain.request import RequestFacts
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.domain.verdict import Target, Verdict
from extauthz.recording import shape as recorded
from extauthz.recording.shape import CredentialState, Shape, literal

_ADDRESS_TARGET = Target("", "", "", None, {}, AuthenticationRequirement.REQUIRED)


def shape_of(
    facts: RequestFacts,
    identity: Principal | Rejected | None,
    verdict: Verdict,
    snapshot: Snapshot | None,
    unmapped: UnmappedPolicy,
    attributes: Iterable[str],
    *,
    by_token: bool = False,
) -> Shape:
    """Return the shape of a request, with a slot for each of the attributes.

    `by_token`: its tenant was found by the token alone.
    """
    template, slots = _path_slots(facts, snapshot)
    principal = identity if isinstance(identity, Principal) else None
    slots[recorded.SUBJECT] = literal(None if principal is None else principal.id)
    slots[recorded.HOST] = literal(facts.host)
    slots[recorded.METHOD] = literal(decided_method(facts.method))
    slots[recorded.PEER] = literal(facts.source_principal)
    slots |= _attribute_slots(facts, principal, attributes)
    if facts.preflight is not None:
        slots[recorded.PREFLIGHT] = literal(facts.preflight)
    if by_token:
        slots[recorded.OWNER] = literal("token")
    tenant = verdict.tenant
    assert tenant is not None
    return Shape(
        tenant=tenant,
        entrance="grpc",
        unmapped=unmapped,
        credential=_state(identity, verdict, by_token=by_token),
        kind=None if principal is None else principal.kind,
        authentication=None if principal is None else principal.authentication,
        bound=principal is not None and principal.confirmation is not None,
        token_tenant=None if principal is None else principal.tenant,
        domain=None if principal is None else principal.domain,
        own_roles=() if principal is None else principal.roles,
        resource=facts.context.resource,
        action=facts.context.action,
        template=template,
        slots=tuple(sorted(slots.items())),
        effect=verdict.effect,
        reason=verdict.reason,
        rule=verdict.rule,
    )


def _state(identity: Principal | Rejected | None, verdict: Verdict, *, by_token: bool) -> CredentialState:
    target = verdict.target
    if target is not None and target.authentication is AuthenticationRequirement.NONE and not by_token:
        return CredentialState.UNREAD
    if identity is None:
        return CredentialState.NONE
    return CredentialState.REFUSED if isinstance(identity, Rejected) else CredentialState.VERIFIED


def _path_slots(facts: RequestFacts, snapshot: Snapshot | None) -> tuple[str | None, dict[str, str]]:
    routes = None
    if snapshot is not None:
        resource = snapshot.resources_by_name.get(facts.context.resource or "")
        routes = snapshot.routes if resource is None else snapshot.routes_of(resource)
    found = None if routes is None else routes.best(facts.host, facts.path)
    if found is None or found.respelt:
        return None, {recorded.PATH: literal(facts.path.text)}
    template = recorded.template_of(found.leaf.entries[0].route.path)
    assert template is not None
    slots = {
        recorded.parameter_slot(name): literal(value)
        for name, value in zip(template.names, found.values, strict=True)
    }
    if template.covers_below:
        rest = facts.path.segments[len(template.segments) :]
        slots[recorded.REMAINDER] = literal("".join(f"/{each}" for each in rest))
    return template.text, slots


def _attribute_slots(
    facts: RequestFacts, principal: Principal | None, attributes: Iterable[str]
) -> dict[str, str]:
    known = ANONYMOUS if principal is None else principal
    given = ConditionInput(known, (), _ADDRESS_TARGET, facts, None, 0.0)
    slots: dict[str, str] = {}
    for name in attributes:
        if name == recorded.ADDRESS:
            slots[name] = literal(facts.source_address)
        elif name.startswith((recorded.QUERY, recorded.HEADERS)) or _is_claim(name):
            value = resolver(name, Effect.DENY)(given)
            if not presence(name)(given):
                slots[name] = recorded.ABSENT
            else:
                slots[name] = recorded.UNKNOWN if value is UNKNOWN else literal(value)
    return slots


def _is_claim(name: str) -> bool:
    own = {"user.id", "user.kind", "user.roles", "user.domain", "user.tenant"}
    return name.startswith(recorded.CLAIMS) and name not in own
