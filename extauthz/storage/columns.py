"""Columns of tables of documents: the member of a document that each holds, and its SQL.

Input: members of documents. Output: select expressions, parameters and their casts, in the types of
PostgreSQL that asyncpg sends.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from extauthz.domain.time_text import instant
from extauthz.storage.encoding import array_literal, encode_json

ColumnType = Literal["text", "integer", "boolean", "timestamptz", "names", "jsonb"]


def bounded_time(column: str) -> str:
    """Return SQL for a time within Python's range; PostgreSQL's times range from 4713 BC to 294276."""
    return (
        f"CASE WHEN {column} > '9999-12-31 23:59:59+00' THEN '9999-12-31 23:59:59+00'"
        f" WHEN {column} < '0001-01-02 00:00:00+00' THEN '0001-01-02 00:00:00+00' ELSE {column} END"
    )


def bounded_times(*columns: str) -> str:
    """Return the select list of time columns, each under its own name; see `bounded_time`.

    INVARIANT: every time is read in this way. asyncpg raises for a time outside Python's range, so that one
    damaged row would fail every statement that reads it, including the one that deletes it.
    """
    return ", ".join(f"{bounded_time(column)} AS {column.rpartition('.')[2]}" for column in columns)


@dataclass(frozen=True, slots=True)
class Column:
    """A member of a document, and its column."""

    member: str
    name: str
    type: ColumnType = "text"
    optional: bool = False
    """Whether the member is absent from a document if the column is NULL; a time always is."""

    @property
    def selected(self) -> str:
        """The select expression, named like the member."""
        if self.type == "timestamptz":
            return f'{bounded_time(self.name)} AS "{self.member}"'
        cast = {"names": "::text[]", "jsonb": "::text"}.get(self.type, "")
        return f'{self.name}{cast} AS "{self.member}"'

    @property
    def parameter(self) -> str:
        """The SQL type of the parameter."""
        return "text" if self.type in {"names", "jsonb"} else self.type

    @property
    def cast(self) -> str:
        """The cast from the parameter to the column's type."""
        return {"names": "::canonical_name[]", "jsonb": "::jsonb"}.get(self.type, "")

    def sent(self, value: object) -> object:
        """Return a document's value as a parameter."""
        match self.type:
            case "names":
                assert isinstance(value, list | tuple)
                return array_literal(value)
            case "jsonb":
                return encode_json(value)
            case "timestamptz":
                return None if value is None else instant(str(value))
            case _:
                return value

    @property
    def array(self) -> str:
        """The SQL type of a parameter with many values.

        A cast from text[], because asyncpg queries other array types on every new connection.
        """
        return "text[]" if self.parameter == "text" else f"text[]::{self.parameter}[]"

    def listed(self, value: object) -> str | None:
        """Return a document's value as an element of such a parameter."""
        match self.sent(value):
            case None:
                return None
            case datetime() as moment:
                return moment.isoformat()
            case sent:
                return str(sent)
