"""What a draft changes: each row as it is live and as the draft has it, with its authors and its conflict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from extauthz.storage import draft_rows
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.rows import Document, Page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from extauthz.storage.draft_view import DraftView
    from extauthz.storage.pool import Connection

_OF: Final = "tenant_id = $1 AND draft_id = $2"


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that a draft changes. `conflict` is None, or why it does not fit the live rows."""

    action: str
    kind: str
    id: str
    before: Document | None
    after: Document | None
    authors: list[Mapping[str, Any]]
    conflict: str | None


async def page(
    view: Any, tenant: str, draft_id: UUID, *, after: UUID | None = None, limit: int
) -> Page[RowDifference]:
    """Return a page of the rows that a draft changes, in the order of ids; `view` is the draft's."""
    live = cast("DraftView", view).live
    records = await live.fetch(
        f"SELECT kind, row_id::text AS id FROM draft_rows WHERE {_OF}"  # noqa: S608
        " AND ($3::uuid IS NULL OR row_id > $3) ORDER BY row_id, kind LIMIT $4",
        tenant,
        draft_id,
        after,
        limit + 1,
    )
    keys = [(record["kind"], record["id"]) for record in records[:limit]]
    old = await draft_rows.stored(live, tenant, keys)
    new = await draft_rows.stored(view, tenant, keys)
    found = {(each.kind, each.id): each.why for each in await draft_rows.conflicts(live, tenant, draft_id)}
    authors = await _authors(live, tenant, draft_id, keys)
    items: list[RowDifference] = []
    for key in keys:
        kind, row_id = key
        before = old[key].document if key in old else None
        now = new[key].document if key in new else None
        if before == now and (before is None or encode_json(before) == encode_json(now)):
            continue
        action = "create" if before is None else "delete" if now is None else "update"
        items.append(
            RowDifference(action, kind, row_id, before, now, authors.get(row_id, []), found.get(key))
        )
    return Page(tuple(items), keys[-1][1] if len(records) > limit else None)


async def _authors(
    live: Connection, tenant: str, draft_id: UUID, keys: list[tuple[str, str]]
) -> dict[str, list[Mapping[str, Any]]]:
    records = await live.fetch(
        "SELECT row_id::text AS id, (author -> 'actor')::text AS actor FROM draft_changes"  # noqa: S608
        f" WHERE {_OF} AND row_id = ANY($3::text[]::uuid[]) GROUP BY row_id, author -> 'actor'"
        " ORDER BY min(number)",
        tenant,
        draft_id,
        [row_id for _, row_id in keys],
    )
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        actor = decode_stored(record["actor"])
        if isinstance(actor, dict):
            found.setdefault(record["id"], []).append(actor)
    return found
