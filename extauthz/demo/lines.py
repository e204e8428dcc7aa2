"""One line of the demo's table, and how it is come by when something has to take effect first."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TAKES_EFFECT_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    name: str
    expected: str
    got: str

    @property
    def agrees(self) -> bool:
        """Whether the call came out as it should."""
        return self.expected == self.got

    def __str__(self) -> str:
        verdict = "ok  " if self.agrees else "FAIL"
        return f"{verdict}  {self.name:<66}  expected {self.expected}, got {self.got}"


def awaited(
    name: str, expected: str, ask: Callable[[], str], *, within_s: float = TAKES_EFFECT_WITHIN_S
) -> Line:
    """Ask until the answer is the expected one, or the time is over."""
    deadline = time.monotonic() + within_s
    got = ask()
    while got != expected and time.monotonic() < deadline:
        time.sleep(0.02)
        got = ask()
    within = f"within {within_s:g} s"
    return Line(name, f"{expected} {within}", f"{got} {within}")
