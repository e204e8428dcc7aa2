"""Holds the current policies: one reference that requests read and publishers replace."""

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from extauthz.compile.directory import Directory
from extauthz.domain.policy_digest import PolicyDigest
from extauthz.publish.loading import housekeeping
from extauthz.publish.loading_threads import lower_priority

if TYPE_CHECKING:
    from collections.abc import Callable

_PUT_BACK_S: Final = 1.0
"""Clocks that drift apart by less were not put back."""


class CurrentPolicies:
    """Holds the current directory. Reading is one attribute load; writers swap a whole new one in."""

    def __init__(self) -> None:
        """Start with nothing: until the first load there is no policy, and no allow."""
        self._directory: Directory | None = None
        self.on_swap: Callable[[], None] = lambda: None
        """Called after each swap, in the thread of the publisher."""

    def current(self) -> Directory | None:
        """Return the current policies, None before the first load."""
        return self._directory

    def swap(self, directory: Directory) -> None:
        """Publish a directory; readers see the old one or the new one, nothing between."""
        self._directory = directory
        for snapshot in directory.snapshots.values():
            if snapshot.policy_digest.begin_count():
                # What is large is counted after it is in force, so that no request waits for that.
                count = threading.Thread(target=_count, args=(snapshot.policy_digest,), daemon=True)
                count.start()
        self.on_swap()

    def confirm(self, now: float) -> None:
        """Note that the current revisions were just seen to be the newest (POSIX seconds)."""
        directory = self._directory
        if directory is not None:
            self._directory = replace(directory, confirmed_at=now)

    def grow_old(self, unconfirmed_s: float, now: float) -> None:
        """Make the policies as old as a steady clock says: the wall clock (`now`, POSIX) may be put back."""
        directory = self._directory
        if directory is None:
            return
        rejuvenated = unconfirmed_s - (now - directory.confirmed_at)
        if rejuvenated > _PUT_BACK_S:
            lagging = {tenant: since - rejuvenated for tenant, since in directory.lagging.items()}
            confirmed_at = directory.confirmed_at - rejuvenated
            self.swap(replace(directory, confirmed_at=confirmed_at, lagging=lagging))


def _count(digest: PolicyDigest) -> None:
    lower_priority()
    with housekeeping():
        digest.counted()
