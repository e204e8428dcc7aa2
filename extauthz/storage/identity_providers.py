"""The identity providers of a tenant: the issuers whose tokens are accepted, and how their claims are read.

A document is `{id, active, ...}` with the members that `decide.tokens.registered_provider` reads. One with
the members of `EARLIER` alone is stored in a column for each, any other one whole, in the column `form`.
This module sends no request to a provider.
"""

from __future__ import annotations

from dataclasses import replace as with_document
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from extauthz.decide.tokens.registered_provider import issuers_of, read_registered
from extauthz.storage import editing
from extauthz.storage.columns import Column
from extauthz.storage.encoding import decode_stored
from extauthz.storage.outcome import Clash, Conflict, Invalid
from extauthz.storage.rows import MAX_PAGE, Document, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from extauthz.storage.outcome import NotFound
    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Change

EARLIER: Final = ("issuer_url", "jwks_uri", "audience", "claim_config")
"""The members that a document could have before it could have those of the file of IDENTITY_PROVIDERS."""

TABLE: Final = Table(
    "identity_provider",
    "identity_providers",
    [
        Column("issuer_url", "issuer"),
        Column("jwks_uri", "jwks_uri"),
        Column("audience", "audience", "jsonb"),
        Column("claim_config", "claim_config", "jsonb"),
        Column("active", "active", "boolean"),
        Column("form", "form", "jsonb", optional=True),
    ],
)
ACTIVE: Final = (
    "SELECT tenant_id, id::text, issuer, jwks_uri, audience::text, claim_config::text, form::text"
    " FROM identity_providers AS t WHERE tenant_id = ANY($1::text[]) AND active ORDER BY t.id"
)
"""SQL for the active providers of tenants; `active_document` reads its records."""


def active_document(record: asyncpg.Record) -> Document:
    """Return the document of a record of `ACTIVE`, without `id` and `active`."""
    form = decode_stored(record["form"])
    if isinstance(form, dict):
        return form
    return {
        "issuer_url": record["issuer"],
        "jwks_uri": record["jwks_uri"],
        "audience": decode_stored(record["audience"]),
        "claim_config": decode_stored(record["claim_config"]),
    }


async def create(change: Change, document: Mapping[str, object]) -> Stored | Conflict | Invalid:
    """Insert a provider; a value of `iss` of its tokens that any tenant registered is a conflict."""
    issuers = _issuers(document)
    if isinstance(issuers, Invalid):
        return issuers
    row = _row(document, issuers)
    await editing.wait_for_other_tenants(change, TABLE.kind)
    inserted = await TABLE.insert(change.connection, change.tenant, [row], revision=change.revision)
    if not inserted:
        return conflict([str(row["issuer_url"])], "the issuer is already registered")
    (stored,) = inserted.values()
    if clash := await _own(change, stored.id, issuers):
        return clash
    stored = _shown(stored)
    change.note("create", TABLE.kind, stored.id, after=stored.document)
    return stored


async def replace(change: Change, document: Mapping[str, object]) -> Stored | NotFound | Conflict | Invalid:
    """Replace a provider by id, atomically. The same document again has no effect."""
    issuers = _issuers(document)
    if isinstance(issuers, Invalid):
        return issuers
    row = _row(document, issuers)
    before = await editing.current(change, TABLE, UUID(str(row["id"])))
    if not isinstance(before, Stored) or editing.same(before, row, by_domain_admin=False):
        return _shown(before) if isinstance(before, Stored) else before
    await editing.wait_for_other_tenants(change, TABLE.kind)
    if clash := await _own(change, before.id, issuers):
        return clash
    try:
        async with change.connection.transaction():
            updated = await TABLE.update(change.connection, change.tenant, row, revision=change.revision)
    except asyncpg.UniqueViolationError:
        # The row of another tenant, which row-level security hides; the unique index still applies.
        return conflict([str(row["issuer_url"])], "the issuer is already registered")
    after = _shown(updated)
    change.note("update", TABLE.kind, after.id, before=_shown(before).document, after=after.document)
    return after


async def delete(change: Change, provider_id: UUID) -> Stored | NotFound:
    """Delete a provider; its tokens are refused from then on."""
    before = await editing.current(change, TABLE, provider_id)
    if not isinstance(before, Stored):
        return before
    before = _shown(before)
    await editing.remove_all(change, TABLE, [before])
    return before


async def get(connection: Connection, tenant: str, provider_id: UUID) -> Stored | None:
    """Return one provider; None if it does not exist."""
    stored = await TABLE.fetch(connection, tenant, provider_id)
    return None if stored is None else _shown(stored)


async def page(
    connection: Connection, tenant: str, *, after: UUID | None = None, limit: int = MAX_PAGE
) -> Page[Stored]:
    """Return a page of a tenant's providers in the order of ids."""
    found = await TABLE.page(connection, tenant, where={}, after=after, limit=limit)
    return Page(tuple(map(_shown, found.items)), found.next)


def _issuers(document: Mapping[str, object]) -> tuple[str, ...] | Invalid:
    """Return every value of `iss` of the tokens, or the problems of the document."""
    members = {name: value for name, value in document.items() if name != "id"}
    reading = read_registered(members, "")
    return Invalid(tuple(reading)) if isinstance(reading, list) else issuers_of(reading.configs)


def _row(document: Mapping[str, object], issuers: Sequence[str]) -> Document:
    """Return the row of a document."""
    own = {"id": document["id"], "active": document["active"]}
    form = {name: value for name, value in document.items() if name not in own}
    if form.keys() <= set(EARLIER):
        return TABLE.normalised({**document, "claim_config": document.get("claim_config") or {}})
    # A reader of an earlier version refuses a row without audience; see the migration.
    return TABLE.normalised({**own, "issuer_url": issuers[0], "claim_config": {}, "form": form})


def _shown(stored: Stored) -> Stored:
    """Return the stored document as its author wrote it."""
    form = stored.document.get("form")
    if not isinstance(form, dict):
        return stored
    document = {"id": stored.document["id"], **form, "active": stored.document["active"]}
    return with_document(stored, document=document)


async def _own(change: Change, row_id: str, issuers: Sequence[str]) -> Conflict | None:
    """Make these the issuers of a provider; the conflict with those of others does not name their tenant."""
    await change.connection.execute(
        "DELETE FROM identity_provider_issuers WHERE tenant_id = $1 AND provider_id = $2::text::uuid",
        change.tenant,
        row_id,
    )
    records = await change.connection.fetch(
        "INSERT INTO identity_provider_issuers (tenant_id, provider_id, issuer)"
        " SELECT $1, $2::text::uuid, r.issuer FROM unnest($3::text[]) AS r (issuer)"
        " ON CONFLICT DO NOTHING RETURNING issuer",
        change.tenant,
        row_id,
        sorted(issuers),
    )
    taken = set(issuers).difference(record["issuer"] for record in records)
    return conflict(sorted(taken), "the issuer is already registered") if taken else None


def conflict(issuers: Iterable[str], message: str) -> Conflict:
    """Return the conflict of a document with the owners of these issuers."""
    return Conflict(TABLE.kind, tuple(Clash(0, issuer, message) for issuer in issuers))
