"""The question that a line of the decision log answers, so that it can be asked again.

A line has no claims, no query and no headers. `LineQuestion.is_recorded` tells which attributes are known, so
that nothing is guessed about the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from extauthz.compile.snapshot import Snapshot
from extauthz.decide import routes
from extauthz.decide.by_name import AUTHZEN
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.path import CanonicalPath
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.request import ContextTarget, RequestFacts
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Target

BY_RULES: Final = frozenset({Reason.RULE_MATCHED, Reason.NO_MATCHING_RULE, Reason.CONDITION_UNKNOWN})
"""The reasons that rules give; every other one was found before rules were asked."""

NOT_JUDGED: Final = frozenset({"detail", "path_raw", "request_id", "trace_id", "roles"})
"""Fields of a line that no question is made of. Where another one is masked, the question is not known."""

LogMembers = Mapping[str, object]
"""A line that `decisionlog.schema.line_problems` found right."""

_OF_IDENTITY: Final = frozenset({"user.id", "user.kind", "user.roles", "user.domain", "user.tenant"})
_OF_RESOURCE: Final = frozenset({"resource.name", "resource.service", "action"})
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LineQuestion:
    """What was asked, as far as the line tells.

    `request` is None where no request stood behind the question (`POST /api/v1/check`). `not_kept` are
    families of attributes that the question may have had. `notes` say what was taken for granted.
    """

    principal: Principal
    target: Target
    request: RequestFacts | None
    method: str | None
    now: float
    has_claims: bool
    has_parameters: bool
    parameters: frozenset[str]
    not_kept: tuple[str, ...]
    notes: tuple[str, ...]

    def is_recorded(self, attribute: str) -> bool:
        """Tell of an attribute, by its plain name, whether its value in the request is known."""
        if attribute in _OF_IDENTITY or attribute in _OF_RESOURCE or attribute.startswith("env."):
            return True
        if attribute.startswith("user."):
            return self.has_claims
        if attribute.startswith("resource."):
            parameter = attribute.removeprefix("resource.").removeprefix("parameters.")
            return self.has_parameters or parameter in self.parameters
        if attribute.startswith(self.not_kept):
            return False
        if attribute.startswith(("request.query.", "request.headers.", "request.body.")):
            return self.request is None
        return True


def is_by_rules(line: LogMembers) -> bool:
    """Tell whether rules made the decision, about a target that the line names."""
    # A subject of a type that is not known here has no kind, and rules were not asked about it.
    if line["principal_kind"] is None:
        return False
    return line["reason"] in BY_RULES and isinstance(line["resource"], str) and line["action"] is not None


def question_of(
    line: LogMembers,
    snapshot: Snapshot,
    *,
    claims: Mapping[str, object] | None = None,
    parameters: Mapping[str, object] | None = None,
    action_properties: Mapping[str, object] | None = None,
    context: Mapping[str, object] | None = None,
) -> LineQuestion:
    """Return the question of a line that `is_by_rules`, at the routes of a snapshot.

    `claims`, `parameters`, `action_properties` and `context` are what the caller knows of the request; None:
    nothing.
    """
    notes: list[str] = []
    principal = _principal(line, claims, notes)
    request = _request(line)
    target, is_routed = _target(line, snapshot, request, parameters)
    if line["path"] is not None and not is_routed:
        notes.append("the target is taken from the line: no route of this revision leads to it")
    if principal.claims == {} and claims is None and principal.authentication is not Authentication.NONE:
        notes.append("the line has no claims: conditions on them are not_recorded; give attributes.user")
    if request is not None:
        notes.append("the line has no query, headers or body: conditions on them are not_recorded")
    not_kept: list[str] = []
    for family, member, given in (
        ("action.properties.", "attributes.action", action_properties),
        ("context.", "attributes.context", context),
    ):
        if line["entrance"] == AUTHZEN and given is None:
            not_kept.append(family)
            notes.append(f"the line has no {family}*: conditions on it are not_recorded; give {member}")
    if request is None:
        target = target._replace(
            action_properties=freeze_claims(action_properties or {}), context=freeze_claims(context or {})
        )
    moment = parse_time(str(line["ts"]))
    assert moment is not None, "line_problems"
    return LineQuestion(
        principal,
        target,
        request,
        None if request is None else routes.decided_method(request.method),
        moment.timestamp(),
        claims is not None,
        is_routed or parameters is not None or request is None,
        frozenset(target.parameters) | _logged_parameters(line).keys(),
        tuple(not_kept),
        tuple(notes),
    )


def _principal(line: LogMembers, claims: Mapping[str, object] | None, notes: list[str]) -> Principal:
    kind = PrincipalKind(str(line["principal_kind"] or PrincipalKind.ANONYMOUS.value))
    own = line.get("token_roles")
    if own is None:
        notes.append("the line has no token_roles: its effective roles are taken for those of the credential")
        own = line["roles"]
    assert isinstance(own, list), "line_problems"
    has_tenant = kind in {PrincipalKind.USER, PrincipalKind.SERVICE}
    return Principal(
        kind=kind,
        id=_text(line, "subject"),
        tenant=_text(line, "tenant") if has_tenant else None,
        domain=_text(line, "domain"),
        roles=tuple(sorted(set(own))),
        authentication=Authentication(str(line["authentication"] or Authentication.NONE.value)),
        claims=freeze_claims(claims or {}),
    )


def _request(line: LogMembers) -> RequestFacts | None:
    path = None if line["path"] is None else CanonicalPath.parse(str(line["path"]))
    method = _text(line, "method")
    if not isinstance(path, CanonicalPath) or method is None:
        return None
    return RequestFacts(
        method=method,
        host=_text(line, "host") or "",
        path=path,
        query=None,
        headers=_NO_HEADERS,
        unknown_headers=frozenset(),
        context=ContextTarget(),
        source_address=_text(line, "source_address"),
        source_principal=_text(line, "source_principal"),
        request_id=None,
        trace_id=None,
        is_grpc=False,
    )


def _target(
    line: LogMembers,
    snapshot: Snapshot,
    request: RequestFacts | None,
    parameters: Mapping[str, object] | None,
) -> tuple[Target, bool]:
    """Return the target of the line, and whether a route of the snapshot leads there."""
    resource, action = str(line["resource"]), str(line["action"])
    if request is not None:
        method = routes.decided_method(request.method)
        found = routes.resolve(snapshot, request, method, UnmappedPolicy.PATH)
        if isinstance(found, Target) and (found.resource, found.action) == (resource, action):
            return found, True
    logged = {name: value for name, value in _logged_parameters(line).items() if value is not None}
    known = logged if parameters is None else freeze_claims(parameters)
    return routes.target_by_name(snapshot, resource, action, parameters=known), False


def _logged_parameters(line: LogMembers) -> Mapping[str, object]:
    """Return the parameters of the route whose values the line has; None is one that was absent."""
    used = line["attributes_used"]
    assert isinstance(used, Mapping), "line_problems"
    return freeze_claims(
        {
            name.removeprefix("resource.").removeprefix("parameters."): value
            for name, value in used.items()
            if name.startswith("resource.") and name not in _OF_RESOURCE
        }
    )


def _text(line: LogMembers, member: str) -> str | None:
    value = line[member]
    return None if value is None else str(value)
