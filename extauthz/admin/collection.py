"""The collection of a noun: list, get, create, replace and delete, the same for every noun.

A noun's file describes its collection; its routes call it, and have what is their own. Pages, entity tags,
`If-Match`, quotas, domains of rows, audit trail and `Idempotency-Key` are not repeated there.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from starlette.responses import Response

from extauthz.admin.answers import no_content, row_reply, to_json, with_warnings
from extauthz.admin.context import RequestContext
from extauthz.admin.pagination import PageQuery
from extauthz.compile.documents.warnings import DocumentWarning
from extauthz.storage.outcome import NotFound, Refusal
from extauthz.storage.rows import Document, Page, Stored, Table
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.storage.pool import Connection

_Body = TypeVar("_Body")
Find = Callable[[Change], Awaitable[Stored | Refusal]]


class RowStore(Protocol):
    """The module of `storage` that has the rows of a noun."""

    @property
    def TABLE(self) -> Table:  # noqa: N802  # a constant of the module
        """The table of the rows."""

    @property
    def create(self) -> Callable[..., Awaitable[Any]]:
        """Insert rows."""

    @property
    def replace(self) -> Callable[..., Awaitable[Any]]:
        """Replace a row by id."""

    async def delete(self, change: Change, row_id: "UUID", /) -> Stored | NotFound:
        """Delete a row by id."""

    async def get(self, connection: "Connection", tenant: str, row_id: "UUID", /) -> Stored | None:
        """Return one row."""

    @property
    def page(self) -> Callable[..., Awaitable[Page[Stored]]]:
        """Return a page of rows."""


async def _writable(*_: object) -> None:
    """Let every caller with the permission write a row that it may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Generic[_Body]):
    """The rows of a noun. `_Body` is the model of a body that creates or replaces one.

    `domain` is the member with the domain of a row; None: rows belong to the tenant, or are not the caller's
    to see by domain. `require_writable` refuses a write of a row to a caller that may see it. `warnings_of`
    returns what may surprise the author of a body. `show` is the JSON form of a row.
    """

    noun: str
    path: str
    rows: RowStore
    to_document: Callable[[_Body, str], Document]
    domain: str | None = "dom"
    require_writable: Callable[[RequestContext, Change, Stored], Awaitable[None]] = _writable
    warnings_of: Callable[[_Body], Sequence[DocumentWarning]] = lambda _: ()
    show: Callable[[Stored], Document] = to_json

    async def list(self, ctx: RequestContext, query: PageQuery) -> Response:
        """Return a page of the rows that the caller may see."""
        table = self.rows.TABLE
        position = query.position(f"{ctx.tenant} {table.name}")
        where = query.filters() | position.bounds
        if self.domain is not None:
            where["domains"] = ctx.caller.domains
        page = await ctx.read(lambda connection: self.rows.page(connection, ctx.tenant, **where))
        return ctx.page(table, position, page, self.show)

    async def get(self, ctx: RequestContext) -> Response:
        """Return the row that the path names, with its entity tag."""
        return ctx.single(self.rows.TABLE, await self.found(ctx), self.show)

    async def create(self, ctx: RequestContext, body: _Body) -> Response:
        """Create a row."""
        ctx.check_precondition(None)

        async def work(change: Change) -> Stored | Refusal:
            await ctx.check_quota(change, self.rows.TABLE, 1)
            return await self.insert(ctx, change, body)

        location = self.path.replace("{id}", ctx.tenant)
        return await ctx.write(work, row_reply(201, self.shown_with(body), location))

    async def replace(self, ctx: RequestContext, body: _Body, find: Find | None = None) -> Response:
        """Replace the row that the path names, or that `find` finds under the tenant's lock."""

        async def work(change: Change) -> Stored | Refusal:
            stored = await self.writable(ctx, change, find)
            if not isinstance(stored, Stored):
                return stored
            ctx.check_precondition(stored)
            return await self.store(ctx, change, stored, body)

        return await ctx.write(work, row_reply(200, self.shown_with(body)))

    async def delete(self, ctx: RequestContext, find: Find | None = None) -> Response:
        """Delete the row that the path names, or that `find` finds under the tenant's lock."""

        async def work(change: Change) -> Stored | Refusal:
            stored = await self.writable(ctx, change, find)
            if not isinstance(stored, Stored):
                return stored
            ctx.check_precondition(stored)
            return await self.rows.delete(change, stored.uuid)

        return await ctx.write(work, no_content)

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

    async def writable(
        self, ctx: RequestContext, change: Change, find: Find | None = None
    ) -> Stored | Refusal:
        """Return the row that is about to be written, if the caller may write it."""
        stored = await self.found(ctx, change) if find is None else await find(change)
        if isinstance(stored, Stored):
            if stored.deleted_at is not None:
                raise ctx.missing(self.noun)
            await self.require_writable(ctx, change, stored)
        return stored

    async def insert(self, ctx: RequestContext, change: Change, body: _Body) -> Stored | Refusal:
        """Store a body as a new row."""
        document = self.to_document(body, change.new_id())
        created: tuple[Stored, ...] | Refusal = await self.rows.create(
            change, [document], by_domain_admin=self._by_domain_admin(ctx)
        )
        return created[0] if isinstance(created, tuple) else created

    async def store(
        self, ctx: RequestContext, change: Change, stored: Stored, body: _Body
    ) -> Stored | Refusal:
        """Store a body in the place of a row."""
        document = self.to_document(body, stored.id)
        replaced: Stored | Refusal = await self.rows.replace(
            change, document, by_domain_admin=self._by_domain_admin(ctx)
        )
        return replaced

    def shown_with(self, body: _Body) -> Callable[[Stored], Document]:
        """Return what shows a row that was written from a body, with the warnings about the body."""
        return lambda stored: with_warnings(self.show(stored), self.warnings_of(body))

    def _by_domain_admin(self, ctx: RequestContext) -> bool:
        return self.rows.TABLE.has_author and not ctx.caller.is_tenant_admin
