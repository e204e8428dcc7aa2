"""The questions of AuthZEN Authorization API 1.0, and what they mean in the terms of policies.

docs/authzen.md has the mapping. Readers take JSON values of the strict reader and return a value or every
problem with its pointer; members that the specification does not name are ignored. No I/O, and nothing raises
for any input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from extauthz.compile.snapshot import Snapshot
from extauthz.decide.by_name import NamedQuestion
from extauthz.decide.tokens.claims import ClaimRejected, freeze_claims, token_domain, token_roles
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.workload import peer_problem

MAX_RESOURCE_ID: Final = 1024
"""The most code points of `resource.id`, which decision lines have where rules read it."""
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_KINDS: Final = {
    kind.value: kind for kind in (PrincipalKind.USER, PrincipalKind.SERVICE, PrincipalKind.WORKLOAD)
}


@dataclass(frozen=True, slots=True)
class QuestionRejected:
    """Why a request, or an entry of a batch, is not a question: every problem, with its place."""

    problems: tuple[Problem, ...]


class Semantic(StrEnum):
    """When a batch ends (`options.evaluations_semantic`)."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"

    def ends_at(self, *, decision: bool) -> bool:
        """Tell whether a batch ends with a decision."""
        if self is Semantic.DENY_ON_FIRST_DENY:
            return not decision
        return self is Semantic.PERMIT_ON_FIRST_PERMIT and decision


class AskedSubject(NamedTuple):
    """The subject that is asked about.

    `kind` is None for a type that no policy can name; `id` is None in a search.
    """

    type: str
    id: str | None
    kind: PrincipalKind | None
    domain: str | None
    claims: Mapping[str, object]

    def principal(self, tenant: str, excluded_roles: frozenset[str]) -> Principal | QuestionRejected | None:
        """Return the principal that a caller describes; None for a subject of a type that is not known."""
        if self.kind is None:
            return None
        roles = token_roles(self.claims, "roles", excluded=excluded_roles)
        if isinstance(roles, ClaimRejected):
            return _rejected(Problem("/subject/properties/roles", roles.problem))
        return Principal(
            kind=self.kind,
            id=self.id,
            tenant=tenant,
            domain=self.domain,
            roles=roles,
            authentication=Authentication.API_KEY,
            claims=self.claims,
        )


class AskedResource(NamedTuple):
    """What is asked about; `parameters` are its properties and its id."""

    type: str
    parameters: Mapping[str, object]


class AskedAction(NamedTuple):
    """What is to be done."""

    name: str
    properties: Mapping[str, object]


_ANY_ACTION: Final = AskedAction("", _NOTHING)


class Evaluation(NamedTuple):
    """One question: may the subject do the action on the resource, in this context?"""

    subject: AskedSubject
    action: AskedAction
    resource: AskedResource
    context: Mapping[str, object]

    def question(self, snapshot: Snapshot | None) -> NamedQuestion:
        """Return the question by name; without policies no resource has the name of the type."""
        return question_of(self.action, self.resource, self.context, snapshot)


class SubjectSearch(NamedTuple):
    """Which subjects like this one may do the action on the resource?"""

    subject: AskedSubject
    action: AskedAction
    resource: AskedResource
    context: Mapping[str, object]


class ActionSearch(NamedTuple):
    """Which actions may the subject do on the resource?"""

    subject: AskedSubject
    resource: AskedResource
    context: Mapping[str, object]


class Defaults(NamedTuple):
    """The members at the top of a batch, as they are written; None where one is missing."""

    members: Mapping[str, object]
    subject: AskedSubject | QuestionRejected | None
    action: AskedAction | QuestionRejected | None
    resource: AskedResource | QuestionRejected | None
    context: Mapping[str, object]


class Batch(NamedTuple):
    """Several questions; `items` are as they are written, each may be wrong by itself."""

    items: Sequence[object]
    semantic: Semantic
    defaults: Defaults


def question_of(
    action: AskedAction, resource: AskedResource, context: Mapping[str, object], snapshot: Snapshot | None
) -> NamedQuestion:
    """Return the question by name: the resource is called as its type, else `type:action`."""
    named = snapshot is not None and resource.type in snapshot.resources_by_name
    return NamedQuestion(
        resource.type if named else f"{resource.type}:{action.name}",
        action.name,
        resource.parameters,
        action_properties=action.properties,
        context=context,
    )


def read_evaluation(document: object) -> Evaluation | QuestionRejected:
    """Return the question of an Access Evaluation request."""
    if not isinstance(document, Mapping):
        return _rejected(Problem("", "an object is needed"))
    return _evaluation(
        read_subject(document), read_action(document), read_resource(document), read_context(document)
    )


def read_subject_search(document: object) -> SubjectSearch | QuestionRejected:
    """Return the question of a Subject Search request; the id of its subject is ignored."""
    if not isinstance(document, Mapping):
        return _rejected(Problem("", "an object is needed"))
    found = _evaluation(
        read_subject(document, searched=True),
        read_action(document),
        read_resource(document),
        read_context(document),
    )
    return found if isinstance(found, QuestionRejected) else SubjectSearch(*found)


def read_action_search(document: object) -> ActionSearch | QuestionRejected:
    """Return the question of an Action Search request; an action in it is ignored."""
    if not isinstance(document, Mapping):
        return _rejected(Problem("", "an object is needed"))
    found = _evaluation(read_subject(document), _ANY_ACTION, read_resource(document), read_context(document))
    if isinstance(found, QuestionRejected):
        return found
    return ActionSearch(found.subject, found.resource, found.context)


def read_item(item: object, defaults: Defaults) -> Evaluation | QuestionRejected:
    """Return the question of an entry of `evaluations`.

    A member of the entry replaces that of the top as a whole, but for `type`, `id` and `name`: where the
    entry leaves one of them out, it is that of the top. Properties are never merged.
    """
    if not isinstance(item, Mapping):
        return _rejected(Problem("", "an object is needed"))
    return _evaluation(
        read_subject(_completed(item, "subject", defaults))
        if "subject" in item or defaults.subject is None
        else defaults.subject,
        read_action(_completed(item, "action", defaults))
        if "action" in item or defaults.action is None
        else defaults.action,
        read_resource(_completed(item, "resource", defaults))
        if "resource" in item or defaults.resource is None
        else defaults.resource,
        read_context(item) if "context" in item else defaults.context,
    )


def _evaluation(
    subject: AskedSubject | QuestionRejected,
    action: AskedAction | QuestionRejected,
    resource: AskedResource | QuestionRejected,
    context: Mapping[str, object] | QuestionRejected,
) -> Evaluation | QuestionRejected:
    if (
        isinstance(subject, AskedSubject)
        and isinstance(action, AskedAction)
        and isinstance(resource, AskedResource)
        and isinstance(context, Mapping)
    ):
        return Evaluation(subject, action, resource, context)
    parts = (subject, action, resource, context)
    return _rejected(
        *(each for part in parts if isinstance(part, QuestionRejected) for each in part.problems)
    )


def _rejected(*problems: Problem) -> QuestionRejected:
    return QuestionRejected(problems)


def _completed(item: Mapping[str, object], member: str, defaults: Defaults) -> Mapping[str, object]:
    own, other = item.get(member), defaults.members.get(member)
    if member not in item or not isinstance(own, Mapping) or not isinstance(other, Mapping):
        return item
    missing = {name: other[name] for name in ("type", "id", "name") if name in other and name not in own}
    return {member: {**own, **missing}} if missing else item


def read_batch(document: object) -> Batch | QuestionRejected | None:
    """Return the questions of an Access Evaluations request; None where it is a single one."""
    if not isinstance(document, Mapping):
        return _rejected(Problem("", "an object is needed"))
    problems = list(_members_that_are_not_objects(document))
    semantic = _semantic(document.get("options"), problems)
    items = document.get("evaluations", [])
    if not isinstance(items, list):
        problems.append(Problem("/evaluations", "a list is needed"))
    if problems:
        return _rejected(*problems)
    if not items:
        return None
    context = read_context(document)
    assert isinstance(context, Mapping), "_members_that_are_not_objects"
    defaults = Defaults(
        document,
        read_subject(document) if "subject" in document else None,
        read_action(document) if "action" in document else None,
        read_resource(document) if "resource" in document else None,
        context,
    )
    return Batch(items, semantic, defaults)


def _members_that_are_not_objects(document: Mapping[str, object]) -> tuple[Problem, ...]:
    """Return which members of a whole request are of another type; that is wrong whatever its entries say."""
    return tuple(
        Problem(f"/{member}", "an object is needed")
        for member in ("subject", "action", "resource", "context", "options")
        if member in document and not isinstance(document[member], Mapping)
    )


def _semantic(options: object, problems: list[Problem]) -> Semantic:
    given = options.get("evaluations_semantic") if isinstance(options, Mapping) else None
    if given is None and not (isinstance(options, Mapping) and "evaluations_semantic" in options):
        return Semantic.EXECUTE_ALL
    for known in Semantic:
        if given == known.value:
            return known
    pointer = "/options/evaluations_semantic"
    problems.append(Problem(pointer, f"must be one of {', '.join(each.value for each in Semantic)}"))
    return Semantic.EXECUTE_ALL


def read_subject(
    document: Mapping[str, object], *, searched: bool = False
) -> AskedSubject | QuestionRejected:
    """Return the subject; in a search for subjects its id is ignored."""
    found = document.get("subject")
    if not isinstance(found, Mapping):
        return _rejected(_not_an_object(document, "subject"))
    problems: list[Problem] = []
    kind_name = _text(found, "/subject", "type", problems)
    subject_id = None if searched else _name(found, "/subject", "id", problems)
    properties = _properties(found, "/subject", problems)
    kind = _KINDS.get(kind_name)
    if (
        kind is PrincipalKind.WORKLOAD
        and subject_id
        and not problems
        and (problem := peer_problem(subject_id))
    ):
        problems.append(Problem("/subject/id", problem))
    domain = token_domain({"domain": properties.get("domain")}, "domain")
    if isinstance(domain, ClaimRejected):
        problems.append(Problem("/subject/properties/domain", domain.problem))
        domain = None
    if problems:
        return _rejected(*problems)
    return AskedSubject(kind_name, subject_id, kind, domain, properties)


def read_resource(document: Mapping[str, object]) -> AskedResource | QuestionRejected:
    """Return the resource; `resource.id` is its id, whatever its properties say."""
    found = document.get("resource")
    if not isinstance(found, Mapping):
        return _rejected(_not_an_object(document, "resource"))
    problems: list[Problem] = []
    kind = _name(found, "/resource", "type", problems)
    resource_id = _text(found, "/resource", "id", problems)
    if len(resource_id) > MAX_RESOURCE_ID:
        problems.append(Problem("/resource/id", f"is longer than {MAX_RESOURCE_ID} characters"))
    properties = _properties(found, "/resource", problems)
    if problems:
        return _rejected(*problems)
    return AskedResource(kind, MappingProxyType({**properties, "id": resource_id}))


def read_action(document: Mapping[str, object]) -> AskedAction | QuestionRejected:
    """Return the action."""
    found = document.get("action")
    if not isinstance(found, Mapping):
        return _rejected(_not_an_object(document, "action"))
    problems: list[Problem] = []
    name = _name(found, "/action", "name", problems)
    properties = _properties(found, "/action", problems)
    return _rejected(*problems) if problems else AskedAction(name, properties)


def read_context(document: Mapping[str, object]) -> Mapping[str, object] | QuestionRejected:
    """Return the context, which may be left out."""
    if "context" not in document:
        return _NOTHING
    found = document["context"]
    return (
        freeze_claims(found) if isinstance(found, Mapping) else _rejected(_not_an_object(document, "context"))
    )


def _not_an_object(document: Mapping[str, object], member: str) -> Problem:
    return Problem(f"/{member}", "an object is needed" if member in document else "is missing")


def _properties(entity: Mapping[str, object], place: str, problems: list[Problem]) -> Mapping[str, object]:
    if "properties" not in entity:
        return _NOTHING
    found = entity["properties"]
    if isinstance(found, Mapping):
        return freeze_claims(found)
    problems.append(Problem(f"{place}/properties", "an object is needed"))
    return _NOTHING


def _text(entity: Mapping[str, object], place: str, member: str, problems: list[Problem]) -> str:
    found = entity.get(member)
    if isinstance(found, str) and found:
        return found
    wrong = "is empty" if found == "" else "a string is needed"
    if member not in entity:
        wrong = "is missing"
    problems.append(Problem(f"{place}/{member}", wrong))
    return ""


def _name(entity: Mapping[str, object], place: str, member: str, problems: list[Problem]) -> str:
    """Read a name that policies could have, and that is not the wildcard."""
    found = _text(entity, place, member, problems)
    problem = "is '*', one name is needed" if found == WILDCARD else name_problem(found) if found else None
    if problem is not None:
        problems.append(Problem(f"{place}/{member}", problem))
    return found
