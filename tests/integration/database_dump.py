"""What lies in the tables of a database, byte for byte."""

import io
from typing import TYPE_CHECKING

from extauthz.storage.pool import connect

if TYPE_CHECKING:
    from tests.integration.conftest import Database


async def dump(database: "Database", *, catalogs: bool = True) -> bytes:
    """Return every row of every table, as COPY writes them; bytes are in hex there."""
    connection = await connect(database.superuser)
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
