"""Where policies come from: what reads the current ones, and what keeps them current."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from extauthz.compile.directory import Directory


class PolicySource(Protocol):
    """Where the published policies are read, once a request."""

    def current(self) -> Directory | None:
        """Return the current policies, None before the first were loaded."""


class Publisher(Protocol):
    """Keeps `CurrentPolicies` current for as long as it runs, from files or from PostgreSQL."""

    on_busy: Callable[[bool], None]
    """Called, from any thread, before and after a load, which may block the process for seconds."""

    @property
    def available(self) -> bool | None:
        """Whether the database answered last time; None without a database."""

    @property
    def problems(self) -> Mapping[str, Sequence[object]]:
        """What is wrong with the newest policies, by tenant; each keeps its last good ones, if any."""

    def load_first(self) -> Sequence[object]:
        """Load the policies before serving; return what prevents the start."""

    async def run(self) -> None:
        """Keep the current policies up to date until cancelled."""
