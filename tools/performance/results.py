"""The committed results of the benchmarks, and what a page needs to know of each run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

BUILDS: Final = ("optimised", "unoptimised")
"""How the interpreter was built: with profile-guided optimisation or without; part of a result's name."""

SHOWN: Final = (
    *(f"{name}-{build}" for name in ("requests", "check", "start", "bodies") for build in BUILDS),
    "client",
    "hostile",
    "policies",
    "publish",
    "reload",
    "apply",
    "explain",
    "authzen",
    "soak",
)
"""The results that the page shows; other benchmarks keep theirs in the same folder."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Results:
    """All results by name."""

    documents: Mapping[str, Document]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the results of a folder that the page shows."""
        files = {name: folder / f"{name}.json" for name in SHOWN}
        return cls(
            {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()}
        )

    def builds(self, name: str) -> Sequence[tuple[str, Document]]:
        """Return the results of a benchmark that was run on interpreters of several builds."""
        named = ((build, self.documents.get(f"{name}-{build}")) for build in BUILDS)
        return [(build, document) for build, document in named if document is not None]

    def number(self, name: str, *path: str) -> float | None:
        """Return one number of a result; None where it was not measured."""
        found: Any = self.documents.get(name, {}).get("numbers")
        for step in path:
            if not isinstance(found, Mapping) or step not in found:
                return None
            found = found[step]
        return float(found) if isinstance(found, int | float) else None

    def ratio(self, name: str, above: Sequence[str], below: Sequence[str]) -> float | None:
        """Return one number of a result divided by another; None where one was not measured."""
        first, second = self.number(name, *above), self.number(name, *below)
        return None if first is None or not second else first / second


def interpreter(document: Document) -> str:
    """Return the interpreter of a run in words."""
    about = document.get("interpreter")
    if about is None:
        return f"CPython {document['machine']['python']}"
    if about["build"] == "of Debian":
        return f"{about['implementation']} {about['version']} of Debian (PGO and LTO)"
    how = "with PGO" if about["optimised"] else "without PGO and LTO"
    return f"{about['implementation']} {about['version']}, built {how}"


def load(document: Document) -> str:
    """Return what else ran on the machine during a run."""
    during = document.get("load")
    if during is None:
        return "not recorded"
    return (
        f"load average {during['load_average_before']} before, {during['load_average_after']} after;"
        f" other processes took {during['cores_that_others_took']} cores"
    )


def figure(value: float) -> str:
    """Return a number with three or four digits that mean something."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
