"""Fuzzes the path canonicaliser: random paths and mutated attacks against every model of a lenient server.

Runs for a second on a workstation, two in CI, sixty with EXTAUTHZ_VERIFY=1, with new examples each time.
What it ever finds goes into corpus/path.json, which tests/unit/domain/test_path.py replays.
"""

import json
import os
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.domain.path import CanonicalPath, PathProblem, PathRejected, canonical_verdict, decode_segment
from tests.hostile_paths import FRAGMENTS, HOSTILE
from tests.lenient_upstreams import names_seen_after_folding, names_seen_by_each

CORPUS: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "corpus" / "path.json").read_text(encoding="utf-8")
)
SECONDS = 60 if os.environ.get("EXTAUTHZ_VERIFY") == "1" else 2 if os.environ.get("CI") else 1


def spliced(raw: str, at: int, cut: int, insert: str) -> str:
    at %= len(raw) + 1
    return raw[:at] + insert + raw[at + cut :]


MUTATED = st.builds(
    spliced,
    st.sampled_from([raw for family in CORPUS.values() for raw in family]),
    st.integers(0, 200),
    st.integers(0, 6),
    st.one_of(st.sampled_from(["", *FRAGMENTS]), st.text(max_size=3)),
)


def judge(raw: str) -> None:
    parsed = CanonicalPath.parse(raw)
    verdict = canonical_verdict(raw.encode("utf-8", "surrogatepass"))
    if isinstance(parsed, PathRejected):
        assert parsed.reason in PathProblem
        return
    assert verdict == {"path": parsed.text}
    assert CanonicalPath.parse(parsed.text) == parsed
    assert all(parsed.segments[:-1])
    ours = [decode_segment(segment) for segment in parsed.segments if segment]
    assert all(theirs == ours for theirs in names_seen_by_each(raw))
    assert len(names_seen_after_folding(raw)) == len(ours)


@settings(max_examples=1_000, derandomize=False, deadline=None, database=None)
@given(st.one_of(MUTATED, HOSTILE))
def round_of_examples(raw: str) -> None:
    judge(raw)


def test_no_path_is_read_differently_by_a_lenient_server() -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        round_of_examples()
