"""Reads the file of `IDENTITY_PROVIDERS` when it changes; the last good providers stay while it is invalid.

Input: a path. Output: `Sources`, or problems.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from extauthz.domain.problem import Problem
from extauthz.keys.followed_file import FollowedFile
from extauthz.keys.provider_documents import MAX_FILE_BYTES, ProviderDefaults, read_providers
from extauthz.keys.source import IssuerSource

_SHOWN_PROBLEMS: Final = 20

_log = structlog.get_logger("extauthz.keys")

Sources = tuple[IssuerSource, ...]


class ProviderFile:
    """The providers of one file; `on_change` is called with each set that differs from the previous one."""

    def __init__(
        self, path: Path, defaults: ProviderDefaults, on_change: Callable[[Sources], None] = lambda _: None
    ) -> None:
        """Store the path; the file is not read yet."""
        self.problems: list[Problem] = []
        """The problems of the current content of the file; empty if its providers are in use."""
        self.on_change = on_change
        self._file = FollowedFile(path, MAX_FILE_BYTES, self._changed)
        self._defaults = defaults

    def load(self) -> Sources | list[Problem]:
        """Return the sources in the file, or the list of all its problems."""
        try:
            text = self._file.read()
        except OSError as error:
            found: Sources | list[Problem] = [Problem("", f"cannot be read: {error.strerror or error}")]
        else:
            found = read_providers(text, self._defaults, self._file.path.parent)
        self.problems = found if isinstance(found, list) else []
        return found

    async def run(self) -> None:
        """Load the file each time that it changes, until cancelled."""
        await self._file.follow()

    def look(self) -> None:
        """Load the file if it changed before the previous look and not since."""
        self._file.look()

    def _changed(self) -> None:
        before = self.problems
        found = self.load()
        if isinstance(found, list):
            if found == before:
                return
            _log.error(
                "identity_providers_refused",
                file=str(self._file.path),
                problems=[str(problem) for problem in found[:_SHOWN_PROBLEMS]],
                effect="the last good providers stay",
            )
            return
        issuers = [source.config.issuer for source in found]
        _log.info("identity_providers_loaded", file=str(self._file.path), issuers=issuers)
        self.on_change(found)
