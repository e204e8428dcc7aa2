"""What the two sources of policies, files and PostgreSQL, have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Publisher(Protocol):
    """Feeds `CurrentPolicies` for as long as it runs."""

    on_busy: Callable[[bool], None]
    """Told, from any thread, before and after a load, in which the process may stand still for seconds."""

    @property
    def available(self) -> bool | None:
        """Whether the database behind it answered last time; None where there is none."""

    @property
    def problems(self) -> Mapping[str, Sequence[object]]:
        """What is wrong with the newest policies, by tenant; each keeps its last good ones, if any."""

    def load_first(self) -> Sequence[object]:
        """Load what can be had before serving; the answer is what stands against starting."""

    async def run(self) -> None:
        """Keep the current policies up to date until cancelled."""
