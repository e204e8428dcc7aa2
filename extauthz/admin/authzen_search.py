"""`POST /access/v1/search/subject` and `/access/v1/search/action`: AuthZEN's searches.

Each known subject, or action, is evaluated as `POST /access/v1/evaluation` would, and what is permitted is
returned. Nothing is logged or counted as a decision.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.authzen import wrong
from extauthz.admin.authzen_models import (
    ActionSearchOut,
    ActionSearchRequest,
    SubjectSearchOut,
    SubjectSearchRequest,
)
from extauthz.admin.named_decisions import NOT_NOW, excluded_roles
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.authzen import (
    AskedAction,
    AskedSubject,
    QuestionRejected,
    question_of,
    read_action_search,
    read_subject_search,
)
from extauthz.decide.by_name import NamedQuestion, judge_by_name
from extauthz.domain.policy import default_action
from extauthz.domain.principal import Principal
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import AllowedByName
from extauthz.rest.answers import Reply
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer
from extauthz.rest.operation import requires
from extauthz.rest.problems import unavailable
from extauthz.rest.protocol_operation import ProtocolOperation, described_by
from extauthz.rest.search_pages import SearchPosition, search_position
from extauthz.rest.turns import Turns
from extauthz.storage import known_subjects
from extauthz.storage.known_subjects import KnownSubject
from extauthz.storage.rows import Document

MAX_EVALUATED: Final = 1000
"""The most subjects or actions that one page evaluates; a page may have fewer results than its limit."""

Subjects = Annotated[RequestContext, requires(Permission.SEARCH_SUBJECTS, bearer_keys=True)]
Actions = Annotated[RequestContext, requires(Permission.SEARCH_ACTIONS, bearer_keys=True)]
SubjectBody = Annotated[object, described_by(SubjectSearchRequest)]
ActionBody = Annotated[object, described_by(ActionSearchRequest)]

router: Final = APIRouter(tags=["AuthZEN"], route_class=ProtocolOperation)
tenant_router: Final = APIRouter(tags=["AuthZEN"], route_class=ProtocolOperation)


@tenant_router.post("/{tenant}/access/v1/search/subject", **answer(SubjectSearchOut))
@router.post("/access/v1/search/subject", **answer(SubjectSearchOut))
async def search_subjects(ctx: Subjects, body: SubjectBody) -> Response:
    """Search subjects (AuthZEN).

    The members of role bindings, and the principals of recorded requests, that may do the action on the
    resource. A key sees the subjects of its domain, one without a domain all of them.
    """
    asked = read_subject_search(body)
    if isinstance(asked, QuestionRejected):
        raise wrong(asked)
    position = _position(body, search="subject", tenant=ctx.tenant, parts=2)
    search = _Search(ctx)
    kind, domain = asked.subject.kind, asked.subject.domain
    if kind is None or not (domain is None or ctx.caller.administers_domain(domain)):
        return _page([], "")
    after = position.after
    found = await ctx.read(
        lambda connection: known_subjects.subjects(
            connection,
            ctx.tenant,
            kind.value,
            domains=_domains(ctx, domain),
            after=(after[0], after[1]) if after else ("", ""),
            limit=MAX_EVALUATED,
        )
    )
    results: list[Document] = []
    question = question_of(asked.action, asked.resource, asked.context, ctx.services.snapshot(ctx.tenant))
    turns, excluded = Turns(), excluded_roles(ctx)
    for known in found:
        if len(results) >= position.limit:
            return _page(results, position.token(after))
        if any(
            search.allows(each, question) for each in _principals(ctx.tenant, asked.subject, known, excluded)
        ):
            results.append(_shown(asked.subject.type, known, domain))
        after = known.place
        await turns.next()
    return _page(results, position.token(after) if len(found) == MAX_EVALUATED else "")


@tenant_router.post("/{tenant}/access/v1/search/action", **answer(ActionSearchOut))
@router.post("/access/v1/search/action", **answer(ActionSearchOut))
async def search_actions(ctx: Actions, body: ActionBody) -> Response:
    """Search actions (AuthZEN).

    The actions of the resource's routes, and those that rules on it name, which the subject may do.
    """
    asked = read_action_search(body)
    if isinstance(asked, QuestionRejected):
        raise wrong(asked)
    position = _position(body, search="action", tenant=ctx.tenant, parts=1)
    search = _Search(ctx)
    principal = asked.subject.principal(ctx.tenant, excluded_roles(ctx))
    if isinstance(principal, QuestionRejected):
        raise wrong(principal)
    if principal is None:
        return _page([], "")
    snapshot = ctx.services.snapshot(ctx.tenant)
    names = sorted(await _action_names(ctx, asked.resource.type, snapshot))
    after = position.after
    left = [name for name in names if not after or name > after[0]]
    results: list[Document] = []
    turns = Turns()
    for number, name in enumerate(left):
        if len(results) >= position.limit or number >= MAX_EVALUATED:
            return _page(results, position.token(after))
        question = question_of(AskedAction(name, {}), asked.resource, asked.context, snapshot)
        if search.allows(principal, question):
            results.append({"name": name})
        after = (name,)
        await turns.next()
    return _page(results, "")


class _Search:
    """Evaluates what a search looks through; nothing of it is logged or counted."""

    def __init__(self, ctx: RequestContext) -> None:
        """Take the context; a page is decided by the policies of one moment. Raises ProblemError 503."""
        directory = ctx.services.policies.current()
        if directory is None or ctx.tenant not in directory.snapshots:
            raise unavailable(Reason.NOT_READY.text, reason=Reason.NOT_READY.value)
        self._directory = directory
        self._ctx = ctx
        self._now = ctx.services.clock()
        oldest = ctx.services.max_staleness
        if oldest is not None and self._now - directory.confirmed(ctx.tenant) > oldest:
            raise unavailable(Reason.POLICY_STALE.text, reason=Reason.POLICY_STALE.value)

    def allows(self, principal: Principal, question: NamedQuestion) -> bool:
        """Tell whether an evaluation would be `decision: true`. Raises ProblemError 503."""
        verdict = judge_by_name(
            self._directory,
            self._ctx.tenant,
            principal,
            question,
            max_staleness=self._ctx.services.max_staleness,
            decision_id="",
            now=self._now,
        )
        if verdict.reason in NOT_NOW:
            raise unavailable(verdict.reason.text, reason=verdict.reason.value)
        return isinstance(verdict, AllowedByName)


def _position(document: object, *, search: str, tenant: str, parts: int) -> SearchPosition:
    assert isinstance(document, Mapping), "the readers"
    found = search_position(document, search=search, tenant=tenant, parts=parts)
    if isinstance(found, Problem):
        raise wrong(QuestionRejected((found,)))
    return found


def _page(results: list[Document], next_token: str) -> Response:
    return Reply(
        200, {"page": {"next_token": next_token, "count": len(results)}, "results": results}
    ).response()


def _domains(ctx: RequestContext, domain: str | None) -> list[str] | None:
    """Return the domains whose subjects are looked through; None: all. The empty one is of no domain."""
    own = ctx.caller.domains
    bounded = isinstance(own, frozenset)
    if domain is not None:
        # Bindings for `*` hold in this domain, too.
        return [domain] if bounded else [domain, ""]
    return sorted(own) if isinstance(own, frozenset) else None


def _principals(
    tenant: str, subject: AskedSubject, known: KnownSubject, excluded: frozenset[str]
) -> Iterator[Principal]:
    """Yield what a known subject is taken for: with the roles that the question gives, or that it had."""
    given = subject._replace(id=known.id, domain=subject.domain or known.domain)
    found = given.principal(tenant, excluded)
    if isinstance(found, QuestionRejected):
        raise wrong(found)
    assert found is not None, "subject.kind"
    if "roles" in subject.claims:
        yield found
        return
    if known.is_bound:
        yield found
    # A credential that was of no domain is not taken for one of the domain that the question gives.
    if subject.domain is None or known.domain is not None:
        for roles in known.role_sets:
            yield replace(found, roles=tuple(sorted(set(roles) - excluded)))


def _shown(kind: str, known: KnownSubject, domain: str | None) -> Document:
    within = domain or known.domain
    shown: Document = {"type": kind, "id": known.id}
    return shown if within is None else shown | {"properties": {"domain": within}}


async def _action_names(ctx: RequestContext, kind: str, snapshot: Snapshot | None) -> set[str]:
    """Return the actions that may be permitted on resources of a type."""
    resource = None if snapshot is None else snapshot.resources_by_name.get(kind)
    if resource is None:
        return await ctx.read(
            lambda connection: known_subjects.names_below(connection, ctx.tenant, f"{kind}:")
        )
    found = await ctx.read(lambda connection: known_subjects.actions_of(connection, ctx.tenant, kind))
    return found | {route.action for route in resource.routes} | {default_action(kind)}
