"""The cache of signed policies on disk (POLICY_CACHE_DIR): the last verified head and its bodies.

Input: verified heads and bodies. Output: the same at the next start, where they are verified again. Errors:
OSError, `HeadRejectedError`.

Files are private (0600) and each is complete under its name. The processes of a host share a folder: one of
them writes, the one that holds the lock, and its lock ends with it.
"""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from extauthz.signed.bodies import is_intact
from extauthz.signed.folder import PolicyFolder
from extauthz.signed.head import Body, Head, HeadRejectedError
from extauthz.telemetry.counts import HeadRejection

_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_LOCK: Final = ".lock"


class PolicyCache:
    """The cached policies of one tenant."""

    def __init__(self, root: Path, tenant: str) -> None:
        """Name the folder; it is made when it is first written to."""
        self._root = root
        self._folder = PolicyFolder(root, tenant, file_mode=_PRIVATE_FILE)
        self._lock: int | None = None
        self._good: set[str] = set()

    def head(self) -> bytes | None:
        """Return the cached head, not verified; None without one. Raises OSError."""
        return self._folder.head()

    def body(self, body: Body) -> bytes:
        """Return the octets of a cached body, not verified.

        Raises:
            HeadRejectedError: it is not there.
            OSError: it cannot be read.
        """
        octets = self._folder.body(body)
        if octets is None:
            raise HeadRejectedError(HeadRejection.DIGEST, f"the body {body.sha256} is not in the cache")
        return octets

    def missing(self, head: Head) -> list[Body]:
        """Return the bodies of a head that are not cached, or not as they are signed. Raises OSError."""
        self._good &= {body.sha256 for body in head.bodies}
        for body in head.bodies:
            if body.sha256 in self._good:
                continue
            octets = self._folder.body(body)
            if octets is not None and is_intact(body, octets):
                self._good.add(body.sha256)
        return [body for body in head.bodies if body.sha256 not in self._good]

    def may_write(self) -> bool:
        """Tell whether this process is the one that writes; the first to ask becomes it. Raises OSError."""
        if self._lock is not None:
            return True
        self._root.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._lock = lock
        return True

    def write(self, head: Head, envelope: bytes, bodies: Mapping[str, bytes]) -> None:
        """Write a verified head and those of its bodies that are missing. Raises OSError."""
        self._folder.write(head, envelope, bodies)
        self._good |= bodies.keys()

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class CachedBodies:
    """The bodies in a cache, for the publisher."""

    def __init__(self, cache: PolicyCache) -> None:
        """Take the cache."""
        self._cache = cache

    async def body(self, body: Body) -> bytes:
        """Return the octets of a body, not verified. Raises as `PolicyCache.body`."""
        return await asyncio.to_thread(self._cache.body, body)
