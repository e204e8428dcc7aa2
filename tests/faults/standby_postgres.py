"""A streaming standby of an embedded PostgreSQL, which can be promoted."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from extauthz.demo.postgres import SUPERUSER, EmbeddedPostgres
from extauthz.demo.processes import LOOPBACK
from tests.folder_postgres import postgres_in_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def standby_of(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """Run a standby that follows a running primary; its users are the primary's."""

    class Standby(EmbeddedPostgres):
        def _initialise(self, data: Path) -> None:
            self._superuser_password = primary._superuser_password
            self._owner_password = primary._owner_password
            source = (
                f"host={LOOPBACK} port={primary.port} user={SUPERUSER} password={self._superuser_password}"
            )
            self._run(
                "pg_basebackup",
                [
                    "--dbname", source, "--pgdata", data, "--write-recovery-conf", "--wal-method", "stream",
                    "--checkpoint", "fast", "--no-sync",
                ],
                user=self._user,
            )  # fmt: skip

        def _create_owner(self) -> None:
            """Create none: what the primary has comes with the copy."""

    with postgres_in_folder(Standby) as server:
        server.start()
        yield server
