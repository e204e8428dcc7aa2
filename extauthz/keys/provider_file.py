"""Reads the file of `IDENTITY_PROVIDERS` when it changes; the last good providers stay while it is invalid.

Input: a path. Output: `Sources`, or problems.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from extauthz.domain.problem import Problem
from extauthz.keys.provider_documents import MAX_FILE_BYTES, ProviderDefaults, read_providers
from extauthz.keys.source import IssuerSource

LOOK_EVERY_S: Final = 0.5
_SHOWN_PROBLEMS: Final = 20

_log = structlog.get_logger("extauthz.keys")

Sources = tuple[IssuerSource, ...]
_Signature = tuple[int, int, int] | str


class ProviderFile:
    """The providers of one file; `on_change` is called with each set that differs from the previous one."""

    def __init__(
        self, path: Path, defaults: ProviderDefaults, on_change: Callable[[Sources], None] = lambda _: None
    ) -> None:
        """Store the path; the file is not read yet."""
        self.problems: list[Problem] = []
        """The problems of the current content of the file; empty if its providers are in use."""
        self.on_change = on_change
        self._path = path
        self._defaults = defaults
        self._loaded: _Signature | None = None
        self._seen: _Signature | None = None

    def load(self) -> Sources | list[Problem]:
        """Return the sources in the file, or the list of all its problems."""
        self._loaded = self._seen = self._signature()
        try:
            text = self._text()
        except OSError as error:
            found: Sources | list[Problem] = [Problem("", f"cannot be read: {error.strerror or error}")]
        else:
            found = read_providers(text, self._defaults, self._path.parent)
        self.problems = found if isinstance(found, list) else []
        return found

    async def run(self) -> None:
        """Poll the file until cancelled; a change is read when two consecutive polls see the same state."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Load the file if it changed before the previous poll and not since."""
        seen, self._seen = self._seen, self._signature()
        if self._seen == self._loaded or self._seen != seen:
            return
        found = self.load()
        if isinstance(found, list):
            _log.error(
                "identity_providers_refused",
                file=str(self._path),
                problems=[str(problem) for problem in found[:_SHOWN_PROBLEMS]],
                effect="the last good providers stay",
            )
            return
        issuers = [source.config.issuer for source in found]
        _log.info("identity_providers_loaded", file=str(self._path), issuers=issuers)
        self.on_change(found)

    def _text(self) -> bytes:
        # Reading a FIFO or a device may block.
        if self._path.exists() and not self._path.is_file():
            raise OSError(0, "is not a regular file")
        with self._path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)

    def _signature(self) -> _Signature:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - follows the links of a Kubernetes volume
        except OSError as error:
            return error.strerror or "unreadable"
        return status.st_mtime_ns, status.st_size, status.st_ino
