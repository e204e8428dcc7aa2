"""The content of all tables of a database, octet for octet."""

import io
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from tests.integration.conftest import Database


async def dump(database: "Database", *, catalogs: bool = True) -> bytes:
    """Return every row of every table, as COPY writes them; bytes are in hex there."""
    at = database.superuser
    return await dump_of(
        f"postgresql://{at.user}:{at.password}@{at.host}:{at.port}/{at.database}", catalogs=catalogs
    )


async def dump_of(dsn: str, *, catalogs: bool = True) -> bytes:
    """Return the same of the database that a superuser's connection string names."""
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        tables = await connection.fetch(
            "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r'"
            " AND ($1 OR relnamespace = 'public'::regnamespace) ORDER BY 1",
            catalogs,
        )
        out = io.BytesIO()
        for table in tables:
            await connection.copy_from_query(f"SELECT * FROM {table['name']}", output=out)
        return out.getvalue()
    finally:
        await connection.close()
