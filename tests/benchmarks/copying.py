"""The cost of a write for the database, compared with COPY of the same rows.

COPY refuses tables with row-level security, so it goes into copies of the tables written, in one transaction
too. There are two kinds. A `like` copy is `LIKE ... INCLUDING ALL`: the same columns, constraints and
indexes, but no row-level security, no foreign keys and no triggers. A `bare` copy has neither constraints nor
indexes, and plain types where the table has domains with checks: rows and nothing else. COPY reads from a
file on the server; what a client sends has travelled.

PostgreSQL itself says what both took: the durations that it logs for every statement of the session, COMMIT
included. They have the disk in them and whatever else runs on the machine; so they stand with the CPU that
the session's own process spent, by the kernel's account.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.process_tree import descendants, is_alive
from tests.benchmarks.workers import running_ns

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

KINDS: Final = ("like", "bare")
_DURATION: Final = re.compile(r"\[(\d+)\] LOG:  duration: ([0-9.]+) ms(.*)")
_PLAIN_COLUMNS: Final = """
SELECT string_agg(format('%I %s', a.attname, CASE
    WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
    WHEN e.typtype = 'd' THEN format_type(e.typbasetype, e.typtypmod) || '[]'
    ELSE format_type(a.atttypid, a.atttypmod) END), ', ' ORDER BY a.attnum)
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typlen = -1
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True)
class Cost:
    """What one session spent on some statements."""

    ms: float
    cpu_ms: float


class Sessions:
    """The statements and CPU time of every session, as reported by the server and the kernel."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._log = server.log
        self.begin()

    @staticmethod
    async def log_statements(superuser: "Connection") -> None:
        """Let the server log how long every statement takes."""
        for setting in ("log_min_duration_statement = 0", "log_parameter_max_length = 0"):
            await superuser.execute(f"ALTER SYSTEM SET {setting}")
        await superuser.execute("SELECT pg_reload_conf()")

    def begin(self) -> None:
        """Leave out what happened until now."""
        self._read = self._log.stat().st_size
        self._cpu_ns = {one.pid: running_ns(one.pid) for one in descendants(os.getpid()) if is_alive(one)}

    def cost_of(self, statement: str) -> Cost:
        """Return what the one session that made this statement spent since `begin`, on all that it did."""
        with self._log.open(encoding="utf-8", errors="replace") as stream:
            stream.seek(self._read)
            text = stream.read()
        entries = [match.groups() for match in map(_DURATION.search, text.splitlines()) if match]
        (session,) = {pid for pid, _, said in entries if statement in said}
        cpu_ns = running_ns(int(session)) - self._cpu_ns.get(int(session), 0)
        ms = sum(float(milliseconds) for pid, milliseconds, _ in entries if pid == session)
        return Cost(ms, cpu_ns / 1e6)


class Copies:
    """Unprotected copies of some tables, and the rows that go into them."""

    def __init__(self, superuser: "Connection", tables: Sequence[str], folder: Path) -> None:
        self._superuser = superuser
        self._tables = tables
        self._folder = folder

    async def create(self) -> None:
        """Make the tables; once."""
        for table in self._tables:
            await self._superuser.execute(f"CREATE TABLE like_{table} (LIKE {table} INCLUDING ALL)")
            columns = await self._superuser.fetchval(_PLAIN_COLUMNS, table)
            await self._superuser.execute(f"CREATE TABLE bare_{table} ({columns})")

    async def take(self, conditions: Mapping[str, str]) -> dict[str, int]:
        """Write the rows that meet each table's condition to a file; return how many there are."""
        rows: dict[str, int] = {}
        for table, condition in conditions.items():
            done = await self._superuser.execute(
                f"COPY (SELECT * FROM {table} WHERE {condition}) TO '{self._folder / table}'"
            )
            rows[table] = int(done.split()[-1])
        return rows

    async def copied(self, kind: str, sessions: Sessions) -> Cost:
        """COPY those rows into empty copies of a kind; return what it cost."""
        for table in self._tables:
            await self._superuser.execute(f"TRUNCATE {kind}_{table}")
        await self._superuser.execute("CHECKPOINT")
        sessions.begin()
        async with self._superuser.transaction():
            for table in self._tables:
                await self._superuser.execute(f"COPY {kind}_{table} FROM '{self._folder / table}'")
        return sessions.cost_of(f"COPY {kind}_{self._tables[0]} FROM")
