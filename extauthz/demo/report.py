"""The lines that the demo prints: an example call, the expected answer and the answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TAKES_EFFECT_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ReportLine:
    """The result of one example call."""

    name: str
    expected: str
    got: str

    @property
    def agrees(self) -> bool:
        """Whether the answer is the expected one."""
        return self.expected == self.got

    def __str__(self) -> str:
        verdict = "ok  " if self.agrees else "FAIL"
        return f"{verdict}  {self.name:<66}  expected {self.expected}, got {self.got}"


def awaited(
    name: str, expected: str, ask: Callable[[], str], *, within_s: float = TAKES_EFFECT_WITHIN_S
) -> ReportLine:
    """Call `ask` until it returns `expected`, at most for `within_s` seconds; return the last answer."""
    deadline = time.monotonic() + within_s
    got = ask()
    while got != expected and time.monotonic() < deadline:
        time.sleep(0.02)
        got = ask()
    within = f"within {within_s:g} s"
    return ReportLine(name, f"{expected} {within}", f"{got} {within}")
