"""A PostgreSQL server in a folder that is removed at its end."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extauthz.demo.postgres import EmbeddedPostgres


@contextmanager
def postgres_in_folder(
    kind: type[EmbeddedPostgres] = EmbeddedPostgres, *, durable: bool = False
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
