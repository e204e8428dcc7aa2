"""The collection of a noun: list, get, create, replace and delete, the same for every noun.

A noun's file describes its collection; its routes call it, and have what is their own. Pages, entity tags,
`If-Match`, quotas, domains of rows, audit trail and `Idempotency-Key` are not repeated there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Generic, TypeVar

from starlette.responses import Response

from extauthz.rest.answers import Reply, no_content, row_reply, to_json
from extauthz.rest.context import RequestContext
from extauthz.rest.documents import RowDocument
from extauthz.rest.pagination import PageQuery
from extauthz.rest.problems import accepted
from extauthz.storage.outcome import Refusal
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Change

_Body = TypeVar("_Body", bound=RowDocument)
RowAnswer = Callable[[tuple[Stored, RowDocument], int], Reply]
Find = Callable[[Change], Awaitable[Stored | Refusal]]


async def _writable(*_: object) -> None:
    """Let every caller with the permission write a row that it may see."""


def written_from(ctx: RequestContext, show: Callable[[Stored], Document]) -> RowAnswer:
    """Return what makes the answer of a row and of the body that it was written from."""

    def reply(written: tuple[Stored, RowDocument], revision: int) -> Reply:
        stored, body = written
        return row_reply(200, lambda row: ctx.shown(show(row), body))(stored, revision)

    return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Generic[_Body]):
    """The rows of a noun. `_Body` is the model of a body that creates or replaces one.

    `rows` is the module of `storage` that has them: `TABLE`, `create`, `replace`, `delete`, `get` and `page`.

    `domain` is the member with the domain of a row; None: rows belong to the tenant, or are not the caller's
    to see by domain. `require_writable` refuses a write of a row to a caller that may see it. `show` is the
    JSON form of a row. `unrevised` rows are not policies: writing them raises no revision of the tenant.
    """

    noun: str
    path: str
    rows: ModuleType
    domain: str | None = "dom"
    require_writable: Callable[[RequestContext, Change, Stored], Awaitable[None]] = _writable
    show: Callable[[Stored], Document] = to_json
    unrevised: bool = False

    async def list(self, ctx: RequestContext, query: PageQuery) -> Response:
        """Return a page of the rows that the caller may see."""
        table = self.rows.TABLE
        if self.unrevised:
            return await ctx.page_of(query, table.name, self.rows.page, self.show)
        position = query.position(f"{ctx.scope} {table.name}")
        where = query.filters() | position.bounds
        if self.domain is not None:
            where["domains"] = ctx.caller.domains
        page, revision = await ctx.read_page(
            lambda connection: self.rows.page(connection, ctx.tenant, **where)
        )
        return ctx.page(table, position, page, self.show, revision=revision)

    async def get(self, ctx: RequestContext) -> Response:
        """Return the row that the path names, with its entity tag."""
        return ctx.single(self.rows.TABLE, await self.found(ctx), self.show)

    async def create(self, ctx: RequestContext, body: _Body) -> Response:
        """Create a row."""
        ctx.check_precondition(None)

        async def work(change: Change) -> Stored:
            await ctx.check_quota(change, self.rows.TABLE, 1)
            return await self.insert(ctx, change, body)

        location = self.path.replace("{id}", ctx.tenant)
        return await ctx.write(work, row_reply(201, self.shown_with(ctx, body), location), apart=self._apart)

    async def replace(self, ctx: RequestContext, body: _Body, find: Find | None = None) -> Response:
        """Replace the row that the path names, or that `find` finds under the tenant's lock."""

        async def work(change: Change) -> Stored:
            stored = await self.writable(ctx, change, find)
            ctx.check_precondition(stored)
            return await self.store(ctx, change, stored, body)

        return await ctx.write(work, row_reply(200, self.shown_with(ctx, body)), apart=self._apart)

    async def delete(self, ctx: RequestContext, find: Find | None = None) -> Response:
        """Delete the row that the path names, or that `find` finds under the tenant's lock."""

        async def work(change: Change) -> Stored:
            stored = await self.writable(ctx, change, find)
            ctx.check_precondition(stored)
            deleted: Stored = accepted(await self.rows.delete(change, stored.uuid))
            return deleted

        return await ctx.write(work, no_content, apart=self._apart)

    async def found(self, ctx: RequestContext, change: Change | None = None) -> Stored:
        """Return the row that the path names; 404 for one that the caller may not see."""
        row_id = ctx.row_id(self.noun)
        if change is not None:
            stored = await self.rows.get(change.connection, change.tenant, row_id)
        else:
            stored = await ctx.read(lambda connection: self.rows.get(connection, ctx.tenant, row_id))
        return self.visible(ctx, stored)

    def visible(self, ctx: RequestContext, stored: Stored | None) -> Stored:
        """Return a row if the caller may see it; 404 for any other."""
        if stored is None or not (
            self.domain is None or ctx.caller.administers_domain(stored.document[self.domain])
        ):
            raise ctx.missing(self.noun)
        return stored

    async def writable(self, ctx: RequestContext, change: Change, find: Find | None = None) -> Stored:
        """Return the row that is about to be written, if the caller may write it."""
        stored = await self.found(ctx, change) if find is None else accepted(await find(change))
        if stored.deleted_at is not None:
            raise ctx.missing(self.noun)
        await self.require_writable(ctx, change, stored)
        return stored

    async def insert(self, ctx: RequestContext, change: Change, body: _Body) -> Stored:
        """Store a body as a new row."""
        await ctx.ask_about_bodies(change, body)
        documents = [body.to_document(change.new_id())]
        created: Stored
        (created,) = accepted(await self.rows.create(change, documents, **self._author(ctx)))
        return created

    async def store(self, ctx: RequestContext, change: Change, stored: Stored, body: _Body) -> Stored:
        """Store a body in the place of a row."""
        await ctx.ask_about_bodies(change, body)
        document = body.to_document(stored.id)
        replaced: Stored = accepted(await self.rows.replace(change, document, **self._author(ctx)))
        return replaced

    @property
    def _apart(self) -> str | None:
        return self.rows.TABLE.name if self.unrevised else None

    def shown_with(self, ctx: RequestContext, body: _Body) -> Callable[[Stored], Document]:
        """Return what shows a row that was written from a body, with what may surprise its author."""
        return lambda stored: ctx.shown(self.show(stored), body)

    def _author(self, ctx: RequestContext) -> dict[str, bool]:
        return {"by_domain_admin": not ctx.caller.is_tenant_admin} if self.rows.TABLE.has_author else {}
