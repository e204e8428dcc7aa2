"""`extauthz logs verify`: complete logs, findings that are only reported, and errors."""

import json
from collections.abc import Callable

import pytest

from extauthz.decide.record import decision_fields
from extauthz.decisionlog.reading import LogLine
from extauthz.decisionlog.report import LogReport
from extauthz.decisionlog.schema import line_problems
from extauthz.decisionlog.verify import MAX_LISTED, verify
from extauthz.domain.ids import uuid7
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import Denied, Preflight
from tests.builders import allowed
from tests.log_schema import problems_of

ONE = "019ab1a8-7afb-7cd9-9139-63808e15452c"
TWO = "019ab1a8-7afb-7cd9-9139-63808e15452d"
Line = dict[str, object]


def decision(seq: int, instance: str = ONE, **changes: object) -> Line:
    fields = decision_fields(
        allowed()._replace(decision_id=uuid7(1, bytes(10))),
        ts=1_763_917_200.0,
        entrance="grpc",
        duration_us=33,
    )
    fields |= {"instance": instance, "worker": 0, "seq": seq}
    line: Line = json.loads(json.dumps(fields))
    return line | changes


def event(name: str, seq: int, instance: str = ONE, **more: object) -> Line:
    head = {"ts": "2025-11-23T17:00:00.000000Z", "event": name, "instance": instance, "worker": 0, "seq": seq}
    return head | more


def started(instance: str = ONE) -> Line:
    return event("log_started", 1, instance)


def heartbeat(seq: int, lost: int, instance: str = ONE) -> Line:
    return event("log_heartbeat", seq, instance, decisions_lost=lost)


def stopped(seq: int, lost: int = 0, instance: str = ONE) -> Line:
    return event("log_stopped", seq, instance, decisions_lost=lost)


def judged(*lines: Line | bytes) -> LogReport:
    raw = (line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    return verify(LogLine("log", number, line) for number, line in enumerate(raw, 1))


def cut(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode()[:150]


def test_a_complete_log_is_counted_and_passes() -> None:
    report = judged(started(), decision(2), heartbeat(3, 0), decision(4), stopped(5))
    assert report.ok
    assert (report.lines, report.decisions, report.without_stop_line) == (5, 2, ())
    [instance] = report.instances
    assert (instance.instance, instance.lines, instance.last_seq, instance.stopped) == (ONE, 5, 5, True)


def test_an_empty_file_passes() -> None:
    assert judged().ok


def test_several_instances_are_judged_each_for_itself() -> None:
    report = judged(
        started(), started(TWO), decision(2), stopped(3), heartbeat(2, 0, TWO), stopped(3, 0, TWO)
    )
    assert report.ok
    assert [one.instance for one in report.instances] == [ONE, TWO]


def test_a_missing_line_is_a_gap() -> None:
    report = judged(started(), decision(2), decision(5), stopped(6))
    assert not report.ok
    [gap] = report.gaps
    assert (gap.instance, gap.first, gap.last, gap.line, gap.explained) == (ONE, 3, 4, 3, False)


def test_a_missing_beginning_is_a_gap() -> None:
    report = judged(decision(4), stopped(5))
    assert report.unexplained_gaps == 1
    assert report.gaps[0].first == 1


@pytest.mark.parametrize(
    ("lines", "ok"),
    [
        ([started(), decision(2), heartbeat(6, 3), stopped(7, 3)], True),
        ([started(), decision(2), decision(6), heartbeat(7, 3)], True),
        ([started(), decision(2), stopped(6, 3)], True),
        ([started(), decision(2), heartbeat(7, 3), stopped(8, 3)], False),
        ([started(), heartbeat(5, 3), decision(7), heartbeat(8, 3)], False),
        ([started(), decision(3), heartbeat(7, 3), stopped(8, 3)], False),
        ([started(), heartbeat(3, 0), heartbeat(4, 1), stopped(5, 1)], False),
        ([started(), heartbeat(5, 3), heartbeat(8, 5), stopped(9, 5)], True),
        ([started(), decision(5)], False),
        ([started(), heartbeat(2, 9), stopped(3, 9)], True),
    ],
)
def test_only_as_many_numbers_may_be_missing_as_decisions_were_reported_lost(
    lines: list[Line], ok: bool
) -> None:
    assert judged(*lines).ok is ok


def test_one_instance_cannot_explain_the_gap_of_another() -> None:
    assert not judged(started(), started(TWO), decision(4), heartbeat(4, 2, TWO), stopped(5)).ok


def test_a_missing_stop_line_is_only_reported() -> None:
    report = judged(started(), decision(2))
    assert report.ok
    assert report.without_stop_line == (ONE,)


def test_an_unfinished_last_line_is_only_reported() -> None:
    report = judged(started(), decision(2), cut(decision(3)))
    assert report.ok
    assert report.unfinished_lines == (3,)


def test_an_unfinished_line_of_a_killed_process_may_stand_in_the_middle() -> None:
    report = judged(started(), cut(decision(2)) + b"\n", started(TWO), stopped(2, 0, TWO))
    assert report.ok
    assert report.unfinished_lines == (2,)


def test_an_unfinished_line_whose_writer_went_on_is_a_gap() -> None:
    assert not judged(started(), cut(decision(2)) + b"\n", decision(3)).ok


def test_a_complete_last_line_needs_no_line_feed() -> None:
    report = judged(started(), json.dumps(stopped(2)).encode())
    assert report.ok
    assert not report.without_stop_line


@pytest.mark.parametrize(
    "line",
    [b"hello\n", b"\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b'{"ts":"x"}{"ts":"y"}\n', b"null\n", b'"text"\n'],
)
def test_a_line_that_violates_the_schema_is_a_schema_error(line: bytes) -> None:
    report = judged(started(), line, stopped(2))
    assert not report.ok
    assert report.schema_errors[0].line == 2


@pytest.mark.parametrize(
    "lines",
    [
        [started(), decision(2), decision(2)],
        [started(), decision(3), decision(2), heartbeat(4, 9)],
        [started(), started()],
        [started(), stopped(2), decision(3)],
        [started(), event("log_started", 2)],
        [started(), decision(2, worker=1)],
    ],
)
def test_lines_that_cannot_follow_each_other_are_errors(lines: list[Line]) -> None:
    assert judged(*lines).schema_error_count == 1


def without(name: str) -> Callable[[Line], Line]:
    return lambda line: {key: value for key, value in line.items() if key != name}


def having(**changes: object) -> Callable[[Line], Line]:
    return lambda line: line | changes


ADDED = ("policy_digest", "token_roles", "masked", "span_id")
"""Fields that a line of an earlier version does not have."""

WRONG: list[tuple[str, Callable[[Line], Line]]] = [
    *((name, without(name)) for name in decision(2) if name not in ADDED),
    ("token", having(token="x")),
    ("event", having(event="decided")),
    ("event", having(event=["decision"])),
    ("ts", having(ts="2025-11-23 17:00:00")),
    ("ts", having(ts="2025-11-23T17:00:00Z")),
    ("ts", having(ts="2025-13-23T17:00:00.000000Z")),
    ("ts", having(ts="2025-11-23T17:00:00.000000+01:00")),
    ("ts", having(ts=1.5)),
    ("instance", having(instance="one")),
    ("instance", having(instance=ONE.upper())),
    ("worker", having(worker=-1)),
    ("worker", having(worker=True)),
    ("seq", having(seq=0)),
    ("seq", having(seq="2")),
    ("masked", having(masked=["ts"])),
    ("masked", having(masked="subject")),
    ("masked", having(masked=["subject", "subject"])),
    ("chain", having(chain="0" * 64)),
    ("chain", having(chain="sha256:" + "F" * 64)),
    ("sampled_out_since_last", having(sampled_out_since_last=None)),
    ("entrance", having(entrance="smtp")),
    ("decision_id", having(decision_id="9a4ef2c0-0f0a-4c3e-8a3f-0d2f6a1b7c11")),
    ("decision", having(decision="maybe")),
    ("reason", having(reason="because")),
    ("matched_rule_id", having(matched_rule_id=7)),
    ("matched_rule_kind", having(matched_rule_kind="abac")),
    ("matched_rule_kind", having(matched_rule_id=None)),
    ("shadow", having(shadow=None)),
    ("shadow", having(shadow=[{"rule_id": "r"}])),
    ("shadow", having(shadow=[{"rule_id": "r", "would": "maybe"}])),
    ("principal_kind", having(principal_kind="robot")),
    ("authentication", having(authentication="password")),
    ("roles", having(roles="finance")),
    ("roles", having(roles=[1])),
    ("token_roles", having(token_roles=None)),
    ("token_roles", having(token_roles=[1])),
    ("path", having(path="demo")),
    ("path", having(path="/demo?token=1")),
    ("path_raw", having(path_raw="é")),
    ("path_raw", having(path_raw="/\n")),
    ("path_raw", having(path_raw="/a;?b")),
    ("path_raw", having(path_raw="a" * 257)),
    ("path_raw", having(path_raw="/a", path="/a")),
    ("policy_revision", having(policy_revision="17")),
    ("policy_age_ms", having(policy_age_ms=1.5)),
    ("policy_digest", having(policy_digest="0" * 63)),
    ("policy_digest", having(policy_digest="G" * 64)),
    ("policy_digest", having(policy_digest=0)),
    ("span_id", having(span_id="00f067aa0ba902b")),
    ("span_id", having(span_id="00F067AA0BA902B7")),
    ("span_id", having(span_id=7)),
    ("status", having(status=403)),
    ("status", having(status=418)),
    ("status", having(decision="deny")),
    ("reason", having(reason="no_matching_rule")),
    ("duration_us", having(duration_us=-1)),
    ("attributes_used", having(attributes_used=["action"])),
    ("attributes_used", having(attributes_used={"user.email": "a@example.org"})),
]


@pytest.mark.parametrize("name", ADDED)
def test_a_line_of_a_version_without_the_field_is_right(name: str) -> None:
    assert line_problems(without(name)(decision(2))) == []


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_each_field_is_held_to_its_type_and_format(name: str, change: Callable[[Line], Line]) -> None:
    changed = change(decision(2))
    assert [problem.split(":")[0] for problem in line_problems(changed)] == [name]
    # A member more is what a later version may add.
    assert problems_of(changed) or name in {"token", *ADDED}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (event("log_heartbeat", 2), "decisions_lost"),
        (heartbeat(2, -1), "decisions_lost"),
        (event("log_started", 0), "seq"),
        (without("worker")(started()), "worker"),
    ],
)
def test_the_events_of_the_log_itself_have_a_schema_too(line: Line, name: str) -> None:
    assert [problem.split(":")[0] for problem in line_problems(line)] == [name]


def test_the_events_of_the_log_itself_may_have_more_members() -> None:
    assert line_problems(started() | {"version": "1.0"}) == []
    assert line_problems(event("log_stopped", 9)) == []


@pytest.mark.parametrize("reason", list(Reason))
def test_every_denial_fits_the_schema(reason: Reason) -> None:
    denied = Denied(uuid7(1, bytes(10)), reason)
    for entrance in ("grpc", "http", "rest"):
        fields = decision_fields(denied, ts=1.0, entrance=entrance, duration_us=0)
        fields |= {"instance": ONE, "worker": 0, "seq": 2}
        assert line_problems(json.loads(json.dumps(fields))) == []


def test_a_preflight_that_passes_fits_the_schema() -> None:
    one = allowed()
    passed = Preflight(uuid7(1, bytes(10)), one.target, one.policies, one.request)
    fields = decision_fields(passed, ts=1.0, entrance="grpc", duration_us=0)
    fields |= {"instance": ONE, "worker": 0, "seq": 2}
    assert line_problems(json.loads(json.dumps(fields))) == []


def test_all_errors_are_counted_and_the_first_ones_listed() -> None:
    report = judged(*[b"x\n"] * 1000)
    assert report.schema_error_count == 1000
    assert len(report.schema_errors) == MAX_LISTED


def test_the_report_is_json_with_the_result_first() -> None:
    as_json = json.loads(judged(started(), decision(4), b"x\n").as_json())
    assert next(iter(as_json)) == "ok"
    assert as_json["ok"] is False
    assert as_json["gaps"] == [
        {"instance": ONE, "first": 2, "last": 3, "line": 2, "explained": False, "file": "log"}
    ]
    assert as_json["schema_errors"][0]["line"] == 3
    assert as_json["instances"][0]["decisions"] == 1
