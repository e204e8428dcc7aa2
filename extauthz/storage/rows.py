"""Policy documents in tables: one `Table` per kind, and the SQL statements that all kinds share.

Input: documents, whose members `columns` maps to columns. Output: `Stored`, `Page`, `Conflict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from uuid import UUID

from extauthz.domain.time_text import instant, parse_time, rfc3339
from extauthz.storage.columns import bounded_times
from extauthz.storage.conditions import conditions_of
from extauthz.storage.encoding import decode_json, decode_stored, encode_json
from extauthz.storage.outcome import Clash, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import asyncpg

    from extauthz.compile.documents.warnings import DocumentWarning
    from extauthz.storage.columns import Column
    from extauthz.storage.pool import Connection

Document = dict[str, object]
_T = TypeVar("_T")
_Item = TypeVar("_Item")
MAX_PAGE: Final = 1000
ROWS_A_STATEMENT: Final = 5_000
"""Most rows that one statement writes, so that it ends well within `session.ANSWER_WITHIN_S`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document with the metadata of its row.

    `revision` is the tenant's revision at the row's last write. `version` and `deleted_at` are set for
    attribute policies only, `last_used_at` and `revoked_at` for service keys only. `warnings` say what of a
    document is not in force as it is stored.
    """

    document: Document
    revision: int
    created_at: datetime
    updated_at: datetime
    by_domain_admin: bool = False
    version: int | None = None
    deleted_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    warnings: tuple[DocumentWarning, ...] = ()

    @property
    def id(self) -> str:
        """The id of the document."""
        return str(self.document["id"])

    @property
    def uuid(self) -> UUID:
        """The id of the document, where it is a UUID."""
        return UUID(self.id)


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """A page of a list; `next` names the row to continue after, None at the end."""

    items: tuple[_Item, ...]
    next: str | None


class Table:
    """A kind of document, its table, and the columns that must be unique together."""

    def __init__(
        self,
        kind: str,
        name: str,
        columns: Sequence[Column],
        *,
        unique: Sequence[str] = (),
        marks: Sequence[str] = (),
    ) -> None:
        """Describe a table. `marks` are its columns for optional members of `Stored`."""
        self.kind = kind
        self.name = name
        self.columns = tuple(columns)
        self.unique = tuple(unique)
        self.all_texts = all(column.type == "text" and not column.optional for column in columns)
        """Whether a row is read from texts alone, of which none is missing."""
        self.has_author = "by_domain_admin" in marks
        self.selected = ", ".join(('id::text AS "id"', *(column.selected for column in columns)))
        # The length in bytes of all members except ids and times, as text.
        self.octets = " + ".join(
            f"coalesce(octet_length({column.name}{'' if column.type == 'text' else '::text'}), 0)"
            for column in columns
            if column.type != "timestamptz"
        )
        self.members = ("id", *(column.member for column in columns))
        self._times = tuple(column.member for column in columns if column.type == "timestamptz")
        self._optional = tuple(column.member for column in columns if column.optional)
        self._json = tuple(column.member for column in columns if column.type == "jsonb")
        self.marks = ("revision", "created_at", "updated_at", *marks)
        selected = (bounded_times(mark) if mark.endswith("_at") else mark for mark in self.marks)
        self.selected_with_marks = ", ".join((self.selected, *selected))

    def document_of(self, entity: object) -> Document:
        """Return the document of an entity, whose attributes are named like the members."""
        document: Document = {"id": getattr(entity, "id")}  # noqa: B009  # every kind of entity has one
        for column in self.columns:
            value = getattr(entity, column.member)
            if value is not None or not column.optional:
                document[column.member] = value.value if isinstance(value, Enum) else value
        return document

    def documents(self, records: Sequence[asyncpg.Record]) -> list[Document]:
        """Return the documents of records that were selected with `selected`; fast for 100,000 records."""
        members = self.members
        documents = [dict(zip(members, record, strict=False)) for record in records]
        if self._json or self._times or self._optional:
            for document in documents:
                self._decode(document)
        return documents

    def stored(self, record: asyncpg.Record) -> Stored:
        """Return the row of a record that was selected with `selected_with_marks`."""
        document: Document = dict(zip(self.members, record, strict=False))
        self._decode(document)
        return Stored(document, **dict(zip(self.marks, record[len(self.members) :], strict=True)))

    def document_of_columns(self, columns: Mapping[str, object]) -> Document:
        """Return the document of a row whose columns PostgreSQL wrote as JSON (`to_jsonb`)."""
        document: Document = {"id": columns["id"]}
        for column in self.columns:
            value = columns.get(column.name)
            if column.type == "timestamptz" and isinstance(value, str):
                moment = parse_time(value)
                # A text that is not a time stays, so that the reader of documents names it.
                value = value if moment is None else rfc3339(moment)
            if value is not None or not (column.optional or column.type == "timestamptz"):
                document[column.member] = value
        return document

    def normalised(self, document: Mapping[str, object]) -> Document:
        """Return the document as a SELECT from the table would return it."""
        members: Document = {"id": document["id"]}
        for column in self.columns:
            value = document.get(column.member)
            match column.type:
                case "jsonb":
                    value = decode_json(encode_json(value))
                case "names":
                    assert isinstance(value, list | tuple)
                    value = list(value)
                case "timestamptz" if value is not None:
                    value = rfc3339(instant(str(value)))
                case _:
                    pass
            if value is not None or not (column.optional or column.type == "timestamptz"):
                members[column.member] = value
        return members

    def _decode(self, members: Document) -> None:
        for member in self._json:
            members[member] = decode_stored(str(members[member]))
        for member in self._times:
            value = members[member]
            if isinstance(value, datetime):
                members[member] = rfc3339(value)
            else:
                del members[member]
        for member in self._optional:
            if members[member] is None:
                del members[member]

    async def fetch(self, connection: Connection, tenant: str, row_id: UUID) -> Stored | None:
        """Return one row of the tenant; None if it does not exist."""
        record = await connection.fetchrow(
            f"SELECT {self.selected_with_marks} FROM {self.name} WHERE tenant_id = $1 AND id = $2",  # noqa: S608
            tenant,
            row_id,
        )
        return None if record is None else self.stored(record)

    async def page(
        self,
        connection: Connection,
        tenant: str,
        *,
        where: dict[str, object],
        after: UUID | None = None,
        limit: int = MAX_PAGE,
    ) -> Page[Stored]:
        """Return a page of rows in the order of ids, which is the order of creation.

        `where` maps SQL conditions with one `{}` to its value; the value of conditions without it is ignored.
        Writes between two pages cause no row to be repeated or skipped.
        """
        values: list[object] = [tenant]
        conditions = ["tenant_id = $1", *conditions_of(where | ({"id > {}": after} if after else {}), values)]
        limit = max(1, min(limit, MAX_PAGE))
        records = await connection.fetch(
            f"SELECT {self.selected_with_marks} FROM {self.name} AS t"  # noqa: S608
            # t.id, because a bare id would be the selected text, for which there is no index
            f" WHERE {' AND '.join(conditions)} ORDER BY t.id LIMIT {limit + 1}",
            *values,
        )
        items = tuple(self.stored(record) for record in records[:limit])
        return Page(items, items[-1].id if len(records) > limit else None)

    async def count(self, connection: Connection, tenant: str) -> int:
        """Return the number of rows of the tenant."""
        found = await connection.fetchval(f"SELECT count(*) FROM {self.name} WHERE tenant_id = $1", tenant)  # noqa: S608
        return int(found)

    async def insert(
        self,
        connection: Connection,
        tenant: str,
        documents: Sequence[Document],
        *,
        revision: int,
        by_domain_admin: bool = False,
    ) -> dict[str, Stored]:
        """Insert normalised documents and return the new rows by id; a document that is missing clashed."""
        author = (", by_domain_admin", f", {str(by_domain_admin).lower()}") if self.has_author else ("", "")
        names = [column.name for column in self.columns]
        arrays = ", ".join(f"${index}::{column.array}" for index, column in enumerate(self.columns, start=4))
        values = ", ".join(f"r.{column.name}{column.cast}" for column in self.columns)
        statement = (
            f"INSERT INTO {self.name} (tenant_id, id, revision, {', '.join(names)}{author[0]})"  # noqa: S608
            f" SELECT $1, r.id, $2, {values}{author[1]}"
            f" FROM unnest($3::text[]::uuid[], {arrays}) AS r (id, {', '.join(names)})"
            " ON CONFLICT DO NOTHING RETURNING id::text, created_at, updated_at"
        )
        version = 1 if "version" in self.marks else None
        stored: dict[str, Stored] = {}
        for part in parts(documents):
            records = await connection.fetch(
                statement,
                tenant,
                revision,
                [document["id"] for document in part],
                *(
                    [column.listed(document.get(column.member)) for document in part]
                    for column in self.columns
                ),
            )
            by_id = {str(document["id"]): document for document in part}
            for record in records:
                stored[record["id"]] = Stored(
                    by_id[record["id"]],
                    revision,
                    record["created_at"],
                    record["updated_at"],
                    by_domain_admin,
                    version,
                )
        return stored

    async def update(
        self,
        connection: Connection,
        tenant: str,
        document: Document,
        *,
        revision: int,
        by_domain_admin: bool = False,
        also: str = "",
    ) -> Stored:
        """Replace a row that was read under the tenant's lock; `also` is SQL for the SET clause."""
        author = f", by_domain_admin = {str(by_domain_admin).lower()}" if self.has_author else ""
        columns = ", ".join(
            f"{column.name} = ${index}::{column.parameter}{column.cast}"
            for index, column in enumerate(self.columns, start=4)
        )
        record = await connection.fetchrow(
            f"UPDATE {self.name} SET {columns}, revision = $2, updated_at = now(){author}{also}"  # noqa: S608
            f" WHERE tenant_id = $1 AND id = $3 RETURNING {self.selected_with_marks}",
            tenant,
            revision,
            document["id"],
            *(column.sent(document.get(column.member)) for column in self.columns),
        )
        assert record is not None, "the row was read under the tenant's lock"
        return self.stored(record)

    async def delete(self, connection: Connection, tenant: str, ids: Iterable[str]) -> None:
        """Delete rows by id."""
        for part in parts(list(ids)):
            await connection.execute(
                f"DELETE FROM {self.name} WHERE tenant_id = $1 AND id = ANY($2::text[]::uuid[])",  # noqa: S608
                tenant,
                list(part),
            )

    async def clashes(
        self, connection: Connection, tenant: str, documents: Sequence[Document]
    ) -> Conflict | None:
        """Return the stored rows with other ids that equal the documents in the `unique` columns."""
        if not self.unique:
            return None
        columns = [column for column in self.columns if column.name in self.unique]
        arrays = ", ".join(f"${index}::{column.array}" for index, column in enumerate(columns, start=3))
        equal = " AND ".join(f"t.{column.name} = r.{column.name}" for column in columns)
        records = await connection.fetch(
            "SELECT r.position, t.id::text AS id"  # noqa: S608
            f" FROM unnest($2::text[]::uuid[], {arrays})"
            f" WITH ORDINALITY AS r (id, {', '.join(column.name for column in columns)}, position)"
            f" JOIN {self.name} AS t ON t.tenant_id = $1 AND {equal}"
            " WHERE t.id <> r.id ORDER BY r.position, t.id",
            tenant,
            [document["id"] for document in documents],
            *([column.listed(document[column.member]) for document in documents] for column in columns),
        )
        if not records:
            return None
        same = ", ".join(column.member for column in columns)
        return Conflict(
            self.kind,
            tuple(Clash(record["position"] - 1, record["id"], f"has the same {same}") for record in records),
        )


def parts(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield rows in parts of at most `ROWS_A_STATEMENT`."""
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        yield rows[start : start + ROWS_A_STATEMENT]
