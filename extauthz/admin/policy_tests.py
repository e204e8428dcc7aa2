"""`/api/v1/policy-tests`: decision cases that policies have to pass before they are published.

The format is that of `extauthz policy test`. `GET .../results` runs them, on the live policies or on a draft.
"""

import asyncio
from typing import Annotated, Any, Final, Literal, Self

from fastapi import APIRouter, Query
from pydantic import ModelWrapValidatorHandler, PrivateAttr, ValidationInfo, model_validator
from starlette.responses import Response

from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import TenancyMode
from extauthz.publish.policy_tests import run_all, untested
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, members_of
from extauthz.rest.authorization import Permission
from extauthz.rest.collection import Collection
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer, created, deleted, found, listed, written
from extauthz.rest.operation import Operation, TenantCreates, TenantReads, TenantWrites, requires
from extauthz.rest.pagination import PageQuery
from extauthz.rest.problems import invalid, unavailable
from extauthz.storage import policy_tests
from extauthz.storage.rows import Document

PATH: Final = "/api/v1/policy-tests"
_ANYONE: Final = CaseRunner({}, Directory(TenancyMode.SELFHOST, {}))
_MEMBERS: Final = ("principal", "token", "request", "expect", "now")
_Json = dict[str, Any]


class Expectation(doc.Model):
    """The answer that a test expects; what is left out may be anything."""

    decision: Literal["allow", "deny"] = doc.example("allow")
    reason: doc.Omissible[str] = doc.optional("a reason of the decision log")
    rule: str | None = doc.optional("the id of the deciding rule; null: none")
    resource: str | None = doc.optional("the resource that the route leads to; null: none")
    action: str | None = doc.optional("the action; null: none")
    shadow: doc.Omissible[list[Any]] = doc.optional("what shadow rules would have done")


class PolicyTestDocument(doc.RowDocument):
    """A policy test: a caller, a request and the answer expected of it."""

    name: doc.Name = doc.about("unique in the tenant", "finance reads any invoice")
    principal: doc.Omissible[_Json | str] = doc.optional(
        "`{id, kind, roles, domain, claims}`, or `anonymous`", {"id": "alice", "roles": ["finance"]}
    )
    token: doc.Omissible[_Json] = doc.optional("claims, instead of a principal")
    request: _Json = doc.about(
        "`{method, host, path, headers}`, or by name `{resource, action}`", {"path": "/invoices/7"}
    )
    expect: Expectation
    now: doc.Omissible[str] = doc.optional("the time of the request (RFC 3339)")
    _written: Document = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _judged(cls, document: Any, handler: ModelWrapValidatorHandler[Self], _: ValidationInfo) -> Self:
        model = handler(document)
        try:
            _ANYONE.answer(document, where="case")
        except CaseInvalidError as error:
            raise doc.refused_at([_problem(str(error))]) from None
        model._written = {name: document[name] for name in ("name", *_MEMBERS) if name in document}
        return model

    def to_document(self, test_id: str) -> Document:
        """Return the document to store: the case as its author wrote it."""
        return self._written | {"id": test_id}


def _problem(text: str) -> Problem:
    """Return what is wrong with a case, at the member that the text names."""
    member = text.removeprefix("case, ").partition(":")[0].partition(",")[0].strip()
    return Problem(f"/{member}" if member in _MEMBERS else "", text.removeprefix("case, "))


class PolicyTestOut(PolicyTestDocument, doc.StoredRow):
    """A stored policy test."""


class PolicyTestFilter(PageQuery):
    """Which tests to list."""

    name: doc.Name | None = doc.optional("only the test of this name")


class PolicyTestResult(doc.Model):
    """What a test came to."""

    id: doc.RowId
    name: str = doc.example("finance reads any invoice")
    passed: bool = doc.example(True)
    differences: list[str] = doc.about("from what it expects", [])
    rules: list[str] = doc.about("the rule that decided, and shadow rules that would have", [doc.EXAMPLE_ID])


class UntestedRule(doc.Model):
    """A rule that decides in no test."""

    kind: str = doc.example("role_rule")
    id: doc.RowId


class PolicyTestResults(doc.Model):
    """All tests of a tenant, run."""

    tests: list[PolicyTestResult]
    untested: list[UntestedRule] = doc.about("rules in force that decide in no test, at most 1,000")


TESTS: Final[Collection[PolicyTestDocument]] = Collection(
    noun="policy test",
    path=PATH,
    rows=policy_tests,
    domain=None,
    unrevised=True,
)
router: Final = APIRouter(prefix=PATH, tags=["Policy tests"], route_class=Operation)


@router.get("", **listed(PolicyTestOut))
async def list_policy_tests(ctx: TenantReads, query: Annotated[PolicyTestFilter, Query()]) -> Response:
    """List policy tests."""
    return await TESTS.list(ctx, query)


@router.post("", **created(PolicyTestOut))
async def create_policy_test(ctx: TenantCreates, body: PolicyTestDocument) -> Response:
    """Create a policy test.

    The case is judged by the rules alone: with the defaults of a sidecar's settings, on the tenant's own
    policies. It raises no revision.
    """
    return await TESTS.create(ctx, body)


@router.get("/results", **answer(PolicyTestResults))
async def run_policy_tests(
    ctx: Annotated[RequestContext, requires(Permission.TENANT, in_drafts=True)],
) -> Response:
    """Run all policy tests.

    On the live policies, or on those of a draft. The answer names the rules that decide in none of them.
    """
    compiled = ctx.services.compiled
    if compiled is None:
        raise unavailable("this process compiles no policies")

    async def work(connection: Any) -> tuple[Snapshot | list[Problem], list[Document]]:
        state = await compiled(connection, ctx.tenant, ctx.draft)
        return state, await policy_tests.every(connection, ctx.tenant)

    snapshot, tests = await ctx.read(work)
    if isinstance(snapshot, list):
        raise invalid(snapshot)
    results = await asyncio.to_thread(run_all, snapshot, tests)
    body = {
        "tests": [members_of(PolicyTestResult, each) for each in results],
        "untested": [{"kind": kind, "id": rule_id} for kind, rule_id in untested(snapshot, results)],
    }
    return Reply(200, body).response()


@router.get("/{id}", **found(PolicyTestOut))
async def get_policy_test(ctx: TenantReads) -> Response:
    """Get a policy test."""
    return await TESTS.get(ctx)


@router.put("/{id}", **written(PolicyTestOut, 409))
async def replace_policy_test(ctx: TenantWrites, body: PolicyTestDocument) -> Response:
    """Replace a policy test. An object as it was read may be changed and sent back."""
    return await TESTS.replace(ctx, body)


@router.delete("/{id}", **deleted())
async def delete_policy_test(ctx: TenantWrites) -> Response:
    """Delete a policy test."""
    return await TESTS.delete(ctx)
