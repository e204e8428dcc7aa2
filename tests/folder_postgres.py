"""A PostgreSQL server in a folder that is removed at its end."""

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from extauthz.demo.postgres import EmbeddedPostgres


class CopiedPostgres(EmbeddedPostgres):
    """The same launcher; `initdb` runs once a process for each kind, and later servers get a copy.

    `initdb` takes half a second of CPU time. The copies have the superuser's password of the first.
    """

    _initialised: ClassVar[dict[type[EmbeddedPostgres], tuple[Path, str]]] = {}

    def _initialise(self, data: Path) -> None:
        known = self._initialised.get(type(self))
        if known is None:
            super()._initialise(data)
            folder = Path(tempfile.mkdtemp(prefix="extauthz-initdb-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            known = self._initialised[type(self)] = folder / "data", self._superuser_password
            _copy(data, known[0])
        else:
            source, self._superuser_password = known
            _copy(source, data)


@contextmanager
def postgres_in_folder(
    kind: type[EmbeddedPostgres] = CopiedPostgres, *, durable: bool = False
) -> Iterator[EmbeddedPostgres]:
    """Describe a server; it runs when it is started, and at the end no more."""
    # Outside of pytest's folders: as root the server runs as another user, to whom those are closed.
    folder = Path(tempfile.mkdtemp(prefix="extauthz-test-"))
    folder.chmod(0o711)
    server = kind(folder / "server", durable=durable)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners and modes."""
    subprocess.run(["cp", "-a", source, target], check=True)
