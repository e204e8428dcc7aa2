"""Follows ASSERTION_KEY_FILE: the key that signs assertions now, and every key that is published.

A key that is new in the file is published at once and signs `SIGNS_AFTER_S` later, when every process of this
machine has published it. A key that is no longer in the file stays published for `RETAINED_S`: longer than an
assertion is valid. A file that cannot be used leaves the last good keys in use.
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from extauthz.keys.assertion_keys import MAX_FILE_BYTES, AssertionKey, read_assertion_keys
from extauthz.keys.followed_file import FollowedFile

SIGNS_AFTER_S: Final = 2.0
RETAINED_S: Final = 600.0

_log = structlog.get_logger("extauthz.keys")


class AssertionFile:
    """The keys of one file. `signer` and `key_set` are thread-safe."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Store the path; the file is not read yet. `clock` is monotonic, in seconds."""
        self._file = FollowedFile(path, MAX_FILE_BYTES, self._changed)
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[AssertionKey, ...] = ()
        self._signer: AssertionKey | None = None
        self._next: tuple[float, AssertionKey] | None = None
        self._retired: dict[str, tuple[float, AssertionKey]] = {}
        self.problem: str | None = None
        """Why the current content of the file is not in use; None where it is."""

    def load(self) -> str | None:
        """Read the file; return why it cannot be used, None where its keys are in use now."""
        try:
            found = read_assertion_keys(self._file.read())
        except OSError as error:
            found = f"cannot be read: {error.strerror or error}"
        if isinstance(found, str):
            self.problem = f"ASSERTION_KEY_FILE {str(self._file.path)!r} {found}"
            return self.problem
        self.problem = None
        self._take(found)
        return None

    async def follow(self) -> None:
        """Load the file each time that it changes, until cancelled."""
        await self._file.follow()

    def look(self) -> None:
        """Load the file if it changed before the previous look and not since."""
        self._file.look()

    def _changed(self) -> None:
        before = self.problem
        problem = self.load()
        if problem is not None and problem == before:
            return
        if problem is not None:
            _log.error("assertion_keys_refused", problem=problem, effect="the last good keys stay")
        else:
            _log.info(
                "assertion_keys_loaded", file=str(self._file.path), kids=[key.kid for key in self._keys]
            )

    def signer(self) -> AssertionKey | None:
        """Return the key that signs now; None before the file was read."""
        with self._lock:
            if self._next is not None and self._clock() >= self._next[0]:
                self._signer, self._next = self._next[1], None
            return self._signer

    def key_set(self) -> bytes:
        """Return the JWK Set (RFC 7517 5) of every key whose assertions may be valid."""
        with self._lock:
            now = self._clock()
            self._retired = {kid: entry for kid, entry in self._retired.items() if entry[0] > now}
            published = {key.kid: key for _, key in self._retired.values()}
            published |= {key.kid: key for key in self._keys}
        return json.dumps({"keys": [key.jwk for key in published.values()]}).encode("ascii")

    def _take(self, keys: tuple[AssertionKey, ...]) -> None:
        with self._lock:
            now = self._clock()
            kept = {key.kid for key in keys}
            signing = () if self._signer is None else (self._signer,)
            for key in (*self._keys, *signing):
                if key.kid not in kept:
                    self._retired[key.kid] = (now + SIGNS_AFTER_S + RETAINED_S, key)
            was_published = self._signer is None or any(key.kid == keys[0].kid for key in self._keys)
            self._keys = keys
            if was_published:
                self._signer, self._next = keys[0], None
            else:
                self._next = (now + SIGNS_AFTER_S, keys[0])
