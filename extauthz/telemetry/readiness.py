"""Whether a process can take requests, as its health endpoint and its log say it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MAX_PROBLEMS: Final = 20
MAX_PROBLEM_LENGTH: Final = 400


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process can take requests, and the checks behind that.

    `checks` maps `database`, `casbin`, `policies` and `jwks`, those that apply, to whether they are
    available. Which failed checks make the process unready is decided by the code that builds this value.
    `problems` are texts about all that is wrong.
    """

    ready: bool
    checks: Mapping[str, bool]
    problems: Sequence[str] = ()

    @property
    def status(self) -> str:
        """`ok` when ready with every check available and no problem, else `degraded`."""
        return "ok" if self.ready and all(self.checks.values()) and not self.problems else "degraded"

    def document(self) -> dict[str, object]:
        """Return the body of `/healthz/ready`, with `problems` when there are any."""
        checks = {name: "ok" if available else "unavailable" for name, available in self.checks.items()}
        document: dict[str, object] = {"status": self.status, "checks": checks}
        if self.problems:
            document["problems"] = shown_problems(self.problems)
        return document


def shown_problems(problems: Iterable[str]) -> list[str]:
    """Return the problems that a health endpoint shows: each once, bounded in number and length."""
    found = list(dict.fromkeys(problems))
    shown = [problem[:MAX_PROBLEM_LENGTH] for problem in found[:MAX_PROBLEMS]]
    return [*shown, f"{len(found) - MAX_PROBLEMS} more"] if len(found) > MAX_PROBLEMS else shown
