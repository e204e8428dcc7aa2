"""Hash chains: edited, removed, moved and added lines are found; with a key also if hashes were made anew."""

import hashlib
import io
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.heads import LogHead, read_heads
from extauthz.decisionlog.lines import LineForm
from extauthz.decisionlog.reading import LogLine, read_lines
from extauthz.decisionlog.report import LogReport
from extauthz.decisionlog.verify import verify
from extauthz.telemetry.logs import configure
from tests.command_line import logging_as_before
from tests.decision_logs import INSTANCE, an_allow, put, report_of, running

KEY = "k" * 32
OTHER = "o" * 32
Lines = list[bytes]


def chained(path: Path, count: int = 5, key: str | None = KEY, **options: Any) -> Lines:
    with running(path, form=LineForm(chain=Chain(key)), **options) as log:
        for number in range(count):
            put(log, an_allow(number))
    return path.read_bytes().splitlines(keepends=True)


def judged(lines: Lines, **options: Any) -> LogReport:
    options.setdefault("keys", [KEY])
    return verify((LogLine("log", number, raw) for number, raw in enumerate(lines, 1)), **options)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_chained_log_is_whole(tmp_path: Path, key: str | None) -> None:
    lines = chained(tmp_path / "log", 300, key)
    report = judged(lines, keys=[key] if key else [], chained=True)
    assert report.ok, report
    algorithm = "hmac-sha256" if key else "sha256"
    assert report.instances[0].head == json.loads(lines[-1])["chain"]
    assert all(re.search(rb',"chain":"%b:[0-9a-f]{64}"}\n$' % algorithm.encode(), line) for line in lines)


def test_the_hash_can_be_computed_with_other_means(tmp_path: Path) -> None:
    before = "0" * 64
    for line in chained(tmp_path / "log", 3, None):
        body, _, rest = line.rpartition(b',"chain":"sha256:')
        before = hashlib.sha256(before.encode() + body).hexdigest()
        assert rest == before.encode() + b'"}\n'


def test_every_byte_of_a_chained_log_is_protected(tmp_path: Path) -> None:
    whole = b"".join(chained(tmp_path / "log", 1))
    for place in range(len(whole)):
        for changed in {whole[place] ^ 1, 0x20, 0x7D} - {whole[place]}:
            edited = whole[:place] + bytes([changed]) + whole[place + 1 :]
            report = judged(edited.splitlines(keepends=True))
            assert not report.ok, (place, chr(changed), edited)


def test_an_edit_that_adds_or_removes_bytes_is_found(tmp_path: Path) -> None:
    whole = b"".join(chained(tmp_path / "log", 1))
    for place in range(0, len(whole), 7):
        for edited in (whole[:place] + whole[place + 1 :], whole[:place] + b" " + whole[place:]):
            if not edited.startswith(whole.removesuffix(b"\n")):
                assert not judged(edited.splitlines(keepends=True)).ok, edited


def swap(lines: Lines) -> Lines:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "removed": lambda lines: lines[:2] + lines[3:],
    "first removed": lambda lines: lines[1:],
    "two removed": lambda lines: lines[:2] + lines[4:],
    "moved": swap,
    "repeated": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "joined": lambda lines: [lines[0], lines[1].strip() + lines[2], *lines[3:]],
    "carriage return": lambda lines: [lines[0], lines[1].replace(b"\n", b"\r\n"), *lines[2:]],
    "spaces": lambda lines: [lines[0], lines[1].replace(b",", b", "), *lines[2:]],
    "chain stripped": lambda lines: [lines[0], re.sub(rb',"chain":"[^"]*"', b"", lines[1]), *lines[2:]],
    "all chains stripped": lambda lines: [re.sub(rb',"chain":"[^"]*"', b"", line) for line in lines],
    "a line added": lambda lines: [*lines[:3], lines[2].replace(b'"seq":3', b'"seq":4'), *lines[3:]],
    "beginning of a line": lambda lines: [*lines[:3], lines[3][:200] + b"\n", *lines[4:]],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_lines_are_found(tmp_path: Path, change: Callable[[Lines], Lines]) -> None:
    assert not judged(change(chained(tmp_path / "log"))).ok


def recomputed(lines: Lines, chain: Chain) -> Lines:
    return [chain.add(re.sub(rb',"chain":"[^"]*"', b"", line)) for line in lines]


def renumbered(lines: Lines) -> Lines:
    return [re.sub(rb'"seq":\d+', b'"seq":%d' % number, line) for number, line in enumerate(lines, 1)]


def test_only_a_key_protects_from_hashes_that_are_computed_again(tmp_path: Path) -> None:
    without = renumbered(CHANGES["removed"](chained(tmp_path / "a", key=None)))
    assert judged(recomputed(without, Chain(None)), keys=[], chained=True).ok
    keyed = renumbered(CHANGES["removed"](chained(tmp_path / "b")))
    assert not judged(recomputed(keyed, Chain(None))).ok
    assert not judged(recomputed(keyed, Chain(OTHER))).ok


def test_without_its_key_a_keyed_chain_is_not_taken_for_verified(tmp_path: Path) -> None:
    lines = chained(tmp_path / "log")
    report = judged(lines, keys=[])
    assert [error.problem for error in report.chain_errors] == [
        "hmac-sha256 cannot be verified without DECISION_LOG_CHAIN_KEY"
    ]
    assert not judged(lines, keys=[OTHER]).ok


def test_one_edit_is_reported_once_with_its_place(tmp_path: Path) -> None:
    lines = chained(tmp_path / "log")
    lines[3] = lines[3].replace(b'"duration_us":33', b'"duration_us":34')
    report = judged(lines)
    assert report.chain_error_count == 1
    [error] = report.chain_errors
    assert (error.instance, error.line, error.file) == (str(INSTANCE), 4, "log")


def test_lines_of_several_workers_are_chained_apart(tmp_path: Path) -> None:
    first = chained(tmp_path / "a")
    second = chained(tmp_path / "b", instance=uuid.uuid4(), worker=1)
    mixed = [line for pair in zip(first, second, strict=True) for line in pair]
    assert judged(mixed).ok
    assert not judged(mixed[:6] + mixed[7:]).ok


def test_a_restart_with_another_key_is_verified_with_both_keys(tmp_path: Path) -> None:
    lines = chained(tmp_path / "a") + chained(tmp_path / "b", key=OTHER, instance=uuid.uuid4())
    assert judged(lines, keys=[KEY, OTHER]).ok
    assert not judged(lines, keys=[KEY]).ok


def test_a_log_that_is_not_chained_passes_unless_chains_are_demanded(tmp_path: Path) -> None:
    with running(tmp_path / "log") as log:
        put(log, an_allow())
    assert report_of(tmp_path / "log").ok
    assert report_of(tmp_path / "log", chained=True).chain_error_count == 1
    assert report_of(tmp_path / "log", keys=[KEY]).chain_error_count == 1


def test_losses_do_not_break_the_chain_and_explain_no_line_that_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, form=LineForm(chain=Chain(KEY))) as log:
        for number in range(6):
            put(log, an_allow(number))
        assert log.flush(10)
        log.lost(3)
    lines = path.read_bytes().splitlines(keepends=True)
    assert judged(lines).ok
    removed = lines[:3] + lines[4:]
    assert judged(removed).unexplained_gaps + judged(removed).chain_error_count > 0


def test_a_head_shows_that_the_end_was_removed(tmp_path: Path) -> None:
    lines = chained(tmp_path / "log")
    heads = read_heads(judged(lines).as_json())
    assert judged(lines, heads=heads).ok
    assert judged(lines[:-2]).ok
    report = judged(lines[:-2], heads=heads)
    assert [error.problem for error in report.chain_errors] == [
        "the line with seq 7, which was there, is missing"
    ]
    assert not judged([], heads=heads).ok


def test_a_head_shows_that_a_log_was_made_anew(tmp_path: Path) -> None:
    heads = read_heads(judged(chained(tmp_path / "a", key=None), keys=[]).as_json())
    other = chained(tmp_path / "b", 6, key=None)
    assert judged(other, keys=[]).ok
    assert not judged(other, keys=[], heads=heads).ok


def test_a_part_of_a_log_is_verified_after_the_report_on_what_precedes_it(tmp_path: Path) -> None:
    lines = chained(tmp_path / "log")
    after = read_heads(judged(lines[:3]).as_json())
    assert not judged(lines[3:]).ok
    assert judged(lines[3:], after=after).ok
    assert not judged(lines[4:], after=after).ok
    edited = [lines[3].replace(b'"allow"', b'"deny"', 1), *lines[4:]]
    assert not judged(edited, after=after).ok
    assert not judged(lines[3:], after=[after[0]._replace(chain="hmac-sha256:" + "0" * 64)]).ok


def test_heads_are_read_from_an_application_log() -> None:
    log = (
        b'{"event":"ready"}\nnot JSON decision_log_head\n{"event":"decision_log_head"}\n'
        b'{"event":"decision_log_head","instance":"i","seq":3,"chain":"sha256:00","decisions_lost":1}\n'
    )
    assert read_heads(log) == [LogHead("i", 3, "sha256:00", 1)]
    for wrong in (b"", b"{}", b"x", b'{"instances":[{}]}', b'{"instances":[3]}', b"[]"):
        with pytest.raises(ValueError, match=r"report|log"):
            read_heads(wrong)


def test_heads_are_in_the_application_log_at_every_level(tmp_path: Path) -> None:
    out = io.StringIO()
    with logging_as_before():
        configure("CRITICAL", "json", stream=out)
        with running(tmp_path / "log", form=LineForm(chain=Chain(None))) as log:
            put(log, an_allow())
    (head,) = read_heads(out.getvalue().encode())
    assert head.seq == 3
    assert verify(read_lines([tmp_path / "log"]), heads=[head]).ok
