"""The duration of the fuzz targets, and the inputs that they mutate.

Each target runs for a second on a workstation, two in CI, sixty with EXTAUTHZ_VERIFY=1, with new examples
each time. What one ever finds goes into its file in corpus/, from which all mutations begin.
"""

import json
import os
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SECONDS = 60 if os.environ.get("EXTAUTHZ_VERIFY") == "1" else 2 if os.environ.get("CI") else 1

fuzzing = settings(
    max_examples=100,
    derandomize=False,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""For one round of examples."""


def corpus(name: str) -> Any:
    return json.loads((Path(__file__).parent / "corpus" / f"{name}.json").read_text(encoding="utf-8"))


def keep_fuzzing(*rounds: Callable[[], None]) -> None:
    """Run the rounds in turn until the time of one target is over; each at least once."""
    end = time.monotonic() + SECONDS
    for number, round_of_examples in enumerate(cycle(rounds)):
        if number >= len(rounds) and time.monotonic() >= end:
            return
        round_of_examples()


def spliced(original: bytes, at: int, cut: int, insert: bytes) -> bytes:
    at %= len(original) + 1
    return original[:at] + insert + original[at + cut :]


def mutated(originals: list[bytes], fragments: list[bytes]) -> st.SearchStrategy[bytes]:
    """Draw an original, cut into it in up to three places and put something else there."""
    insert = st.one_of(st.sampled_from([b"", *fragments]), st.binary(max_size=4))
    edit = st.tuples(st.integers(0, 10_000), st.integers(0, 8), insert)

    def edited(original: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for at, cut, put in edits:
            original = spliced(original, at, cut, put)
        return original

    return st.builds(edited, st.sampled_from(originals), st.lists(edit, min_size=1, max_size=3))
