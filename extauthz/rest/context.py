"""The context of a request: its caller, its preconditions, and the transactions that it runs.

A handler reads and writes through it, so that audit trail, revision, warnings and `Idempotency-Key` are the
same for every operation. Errors are `ProblemError`; one that is raised in a change stores nothing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import Response

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.documents.warnings import body_not_sent
from extauthz.compile.row_reader import KINDS, StoredReader
from extauthz.domain.policy import MAX_ALLOW_PRIORITY
from extauthz.domain.problem import Problem
from extauthz.domain.sidecar_report import ReportedBodies
from extauthz.rest import quotas
from extauthz.rest.answers import (
    MAX_NAMED_ROWS,
    POLICY_REVISION,
    POLICY_WARNINGS,
    Reply,
    list_of,
    tagged,
    to_json,
    unreadable_row,
    warnings_header,
    with_warnings,
)
from extauthz.rest.authentication import Caller
from extauthz.rest.documents import RowDocument
from extauthz.rest.pagination import BY_ID, Order, PageQuery, Position
from extauthz.rest.preconditions import IfMatch, KeptAnswer, claim_of, entity_tag
from extauthz.rest.problems import ProblemError, accepted, conflict, not_found, precondition_failed
from extauthz.rest.request_body import row_id_of
from extauthz.rest.services import AdminServices
from extauthz.storage import draft_writes, drafts, sidecars, unrevised
from extauthz.storage import write as storage_write
from extauthz.storage.draft_writes import DraftWritten
from extauthz.storage.drafts import Draft
from extauthz.storage.rows import Document, Page, Stored, Table
from extauthz.storage.write import Change, Work, Written

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.storage.outcome import Refusal
    from extauthz.storage.pool import Connection

_Value = TypeVar("_Value")
Show = Callable[[Stored], Document]


@dataclass(slots=True)
class RequestContext:
    """An authenticated and permitted request; `content` is its body, a JSON value or a text.

    `permission` is the one that the operation needed. `draft` is the draft that is read or written instead of
    the live policies, `draft_version` its version once it was read; `reported_bodies` is what sidecars say of
    bodies, where the change needs them.
    """

    services: AdminServices
    caller: Caller
    path: str
    path_params: Mapping[str, str]
    permission: str = ""
    draft: "UUID | None" = None
    draft_version: int = 0
    if_match: IfMatch | None = None
    idempotency_key: str | None = None
    content: object = None
    reported_bodies: ReportedBodies | None = None

    @property
    def tenant(self) -> str:
        """The tenant whose rows the request is about."""
        return self.caller.tenant

    @property
    def reading(self) -> Reading:
        """What documents are read under: the caller's rights bound domains and priorities."""
        is_tenant_admin = self.caller.is_tenant_admin
        return Reading(
            condition_headers=self.services.condition_headers,
            default_domain=self.caller.only_domain,
            assigned_id="-",
            highest_allow=MAX_ALLOW_PRIORITY if is_tenant_admin else 0,
            guardrails=is_tenant_admin,
            claim_headers=self.services.claim_headers,
        )

    @property
    def path_id(self) -> str:
        """The last id in the path."""
        return list(self.path_params.values())[-1]

    def row_id(self, noun: str) -> "UUID":
        """Return the last id in the path; 404 for a text that is not the canonical form of an id."""
        found = row_id_of(self.path_id)
        if found is None:
            raise self.missing(noun)
        return found

    def missing(self, noun: str) -> ProblemError:
        """Return 404 for the last id in the path."""
        return not_found(f"there is no {noun} {self.path_id[:80]!r}")

    def check_precondition(self, stored: Stored | None) -> None:
        """Compare `If-Match` with the row that is about to be written (None: a new one).

        In a draft it is compared with the draft's version, by `check_draft`.
        """
        if self.draft is not None:
            return
        if stored is None:
            self.require_match(None, "there is no such object yet")
        else:
            self.require_match(stored.revision, "the object was written since it was read")

    def check_tenant_precondition(self, change: Change) -> None:
        """Compare `If-Match` of a write that is not about a single row with the tenant's revision."""
        if self.draft is None:
            # The change itself has counted the revision up already.
            self.require_match(change.previous, "the tenant was written since it was read")

    def check_draft(self, draft: Draft) -> None:
        """Refuse a draft that is not open, or that has another version than `If-Match` says."""
        self.require_match(draft.version, f"the draft has version {draft.version}")
        if not draft.is_open:
            raise conflict(f"the draft was published as revision {draft.published_revision}", ())

    def require_match(self, revision: int | None, state: str) -> None:
        """Refuse a write with 412 where `If-Match` does not name the revision (None: there is no row)."""
        if self.if_match is not None and not self.if_match.allows(revision):
            raise precondition_failed(f"If-Match names another state: {state}")

    def version(self, revision: int) -> int:
        """Return the number of an entity tag: the revision of a row or the tenant, or the draft's version."""
        return revision if self.draft is None else self.draft_version

    @property
    def scope(self) -> str:
        """The rows that a cursor of a list belongs to."""
        return self.tenant if self.draft is None else f"{self.tenant} {self.draft}"

    async def check_quota(self, change: Change, table: Table, added: int) -> None:
        """Refuse a change that would give the tenant more rows of a table than its quota."""
        services = self.services
        await quotas.check_quota(services.quotas, change, services.snapshot(self.tenant), table, added)

    async def read(self, work: "Callable[[Connection], Awaitable[_Value]]") -> _Value:
        """Run `work` on one moment of the tenant, or of a draft."""
        if self.draft is None:
            return accepted(await storage_write.read(self.services.pool, self.tenant, work))
        found = await draft_writes.read(self.services.pool, self.tenant, self.draft, self.check_draft, work)
        value, draft = accepted(found)
        self.draft_version = draft.version
        return value

    async def read_page(
        self, work: "Callable[[Connection], Awaitable[Page[Stored]]]"
    ) -> "tuple[Page[Stored], int]":
        """Return a page of policies, and the live revision at the moment that it is of."""

        async def revised(connection: "Connection") -> "tuple[Page[Stored], int]":
            return await work(connection), await drafts.live_revision(connection, self.tenant)

        return await self.read(revised)

    async def page_of(
        self,
        query: PageQuery,
        name: str,
        rows: "Callable[..., Awaitable[Page[_Value]]]",
        show: Callable[[_Value], Document],
        *,
        order: Order = BY_ID,
        **where: object,
    ) -> Response:
        """Return a page of rows that are not policies, as `show` makes them JSON.

        `rows` is a function of `storage`; `where` and the filters of the query are its further arguments.
        `name` is that of the list, to which cursors belong.
        """
        position = query.position(f"{self.scope} {name}", order=order)
        bounds = where | query.filters() | position.bounds
        page = await self.read(lambda connection: rows(connection, self.tenant, **bounds))
        return list_of([show(each) for each in page.items], position.cursor(page.next))

    async def write(
        self,
        work: Work[_Value],
        answer: "Callable[[_Value, int], Reply]",
        *,
        entries: str | None = None,
        secret: bool = False,
        apart: str | None = None,
    ) -> Response:
        """Run `work` as one change of the tenant, with audit trail and revision, and return its answer.

        An error that `work` raises stores nothing. `answer` makes the answer of the value and the revision.
        `entries` is the pointer of the list whose entries are written; `secret` says that the answer holds
        one, and is not kept for an `Idempotency-Key`. `apart` names a table that is written without a
        revision of the tenant.
        """

        services = self.services

        def finished(written: Written[_Value]) -> Response:
            return self._with_unreadable_rows(answer(written.value, written.revision), written).response()

        run: Callable[..., Awaitable[Written[_Value] | Refusal]]
        if self.draft is not None:
            run = partial(
                draft_writes.write,
                draft_id=self.draft,
                author=self.caller.standing(self.permission),
                check=self.check_draft,
                validate=services.validate,
            )
        elif apart is not None:
            run = partial(unrevised.write, table=apart)
        else:
            run = partial(storage_write.write, validate=services.validate)
        written = await run(
            services.pool,
            self.tenant,
            self.caller.actor,
            work,
            new_id=services.new_id,
            once=self.once(None if secret else finished),
        )
        return finished(accepted(written, entries=entries))

    def _with_unreadable_rows(self, reply: Reply, written: Written[Any]) -> Reply:
        """Return the answer of a write: it names rows that are not in force; that of a draft has its tag."""
        headers = dict(reply.headers)
        if isinstance(written, DraftWritten):
            headers["ETag"] = entity_tag(written.version)
        unreadable = written.unreadable if written.changed else self.services.unreadable(self.tenant)
        named = unreadable[:MAX_NAMED_ROWS]
        if named:
            headers[POLICY_WARNINGS] = warnings_header(named)
        body = self._warned(reply.body, named) if isinstance(reply.body, dict) else reply.body
        return replace(reply, body=body, headers=headers)

    def shown(self, row: Document, body: RowDocument) -> Document:
        """Return the JSON of a row that was written from a body, with what may surprise its author."""
        warnings = list(body.document_warnings())
        if body.reads_body and self.reported_bodies is not None:
            longest = self.services.condition_body_max
            warnings += body_not_sent(body.conditions_at, self.reported_bodies, longest=longest)
        return with_warnings(row, warnings)

    async def ask_about_bodies(self, change: Change, *bodies: RowDocument) -> None:
        """Read what the sidecars of the tenant say of bodies, once for a change that needs them."""
        if self.reported_bodies is None and any(body.reads_body for body in bodies):
            self.reported_bodies = await sidecars.bodies(change.connection, self.tenant)

    def once(
        self, answer: Callable[[Written[Any]], Response] | None, *, tenant: str | None = None
    ) -> "KeptAnswer[Any] | None":
        """Return what keeps the answer under the `Idempotency-Key` of the request; None without one.

        `answer` None: it holds a secret. `tenant` is that of the transaction, if not the caller's.
        """
        if self.idempotency_key is None:
            return None
        path = self.path if self.draft is None else f"{self.path}?draft={self.draft}"
        claim = claim_of(self.tenant, self.caller.actor, self.idempotency_key, path, self.content)
        return KeptAnswer(claim, self.tenant if tenant is None else tenant, answer)

    def page(
        self,
        table: Table,
        position: Position,
        page: Page[Stored],
        show: Show = to_json,
        *,
        revision: int,
    ) -> Response:
        """Return a page; rows that are known not to be in force as they are stored have a warning.

        `revision` is the live one at the moment of the page, of which clients make one list of several pages.
        """
        prefix = f"/{table.kind}/"
        known: dict[str, list[Problem]] = {}
        for problem in self.services.unreadable(self.tenant):
            if problem.pointer.startswith(prefix):
                known.setdefault(problem.pointer.split("/")[2], []).append(problem)
        items = [self._warned(show(stored), known.get(stored.id, ())) for stored in page.items]
        return list_of(items, position.cursor(page.next), {POLICY_REVISION: str(revision)})

    def single(self, table: Table, stored: Stored, show: Show = to_json) -> Response:
        """Return one row with its entity tag, and with a warning where it cannot be read."""
        problems: list[Problem] = []
        if stored.deleted_at is None and table.kind in KINDS:
            reading = Reading(
                condition_headers=self.services.condition_headers, claim_headers=self.services.claim_headers
            )
            StoredReader(reading).read(table.kind, stored.document, problems)
        document = self._warned(show(stored), problems[:1])
        return tagged(document, self.version(stored.revision))

    def _warned(self, document: Document, problems: Sequence[Problem]) -> Document:
        return with_warnings(document, [self._warning(problem) for problem in problems])

    def _warning(self, problem: Problem) -> Document:
        return unreadable_row(problem, in_detail=self.caller.is_tenant_admin)
