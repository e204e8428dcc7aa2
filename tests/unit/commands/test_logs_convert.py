"""`extauthz logs convert`: each line is one event of its schema; malformed lines are named and counted."""

import gzip
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.lines import LineForm, Lines
from extauthz.decisionlog.masks import Masks
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.verdict import AllowedByName, Denied
from extauthz.settings import Mask
from extauthz.settings.decision_log_values import MASKABLE
from tests.builders import DECISION_ID, allowed, denied
from tests.command_line import run_extauthz

INSTANCE = uuid.UUID("019ab1a8-7afb-7cd9-9139-63808e15452c")
Event = Mapping[str, Any]


def some_lines(form: LineForm | None = None) -> list[bytes]:
    """Return lines of every event and of every kind of decision."""
    base = allowed()
    named = AllowedByName(
        DECISION_ID, base.rule, base.principal, base.roles, base.target, base.policies,
        attributes_used={"resource.owner": "bob", "user.level": None},
    )  # fmt: skip
    malformed = Denied(
        DECISION_ID,
        Reason.PATH_AMBIGUOUS,
        Malformed(Reason.PATH_AMBIGUOUS, "dot_segment", method="GET", path_raw="/a/.."),
    )
    lines = Lines(INSTANCE, 3, form)
    verdicts = (
        base,
        named,
        denied(),
        denied(Reason.POLICY_STALE, principal=None, target=None),
        malformed,
        Denied(DECISION_ID, Reason.OVERLOADED),
        base._replace(request=base.request._replace(method="PURGE", host="[2001:db8::1]:80")),
    )
    found = [lines.started(1.5)]
    found += [lines.decision((verdict, 1_763_917_200.123456, "grpc", 33)) for verdict in verdicts]
    return [*found, lines.heartbeat(2.0, 1), lines.stopped(3.0, 1)]


FORMS = {
    "plain": LineForm(),
    "masked": LineForm(Masks(dict.fromkeys(MASKABLE, Mask.HASH), "k" * 32), 0.5, Chain("k" * 32)),
    "dropped": LineForm(Masks(dict.fromkeys(MASKABLE, Mask.DROP), None)),
}


def converted(to: str, lines: list[bytes]) -> list[Event]:
    ended = run_extauthz("logs", "convert", "--to", to, stdin=b"".join(lines))
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


# OCSF 1.3.0: dictionary, classes 6002 and 6003, profile security_control.
OCSF_REQUIRED = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
OCSF_CLASSES: dict[int, tuple[set[str], set[int]]] = {
    6002: ({"app"}, {0, 1, 2, 3, 4, 99}),
    6003: ({"actor", "api", "src_endpoint"}, {0, 1, 2, 3, 4, 99}),
}
OCSF_ATTRIBUTES = OCSF_REQUIRED | {
    "action", "action_id", "activity_name", "actor", "api", "app", "category_name", "class_name",
    "disposition", "disposition_id", "dst_endpoint", "http_request", "message", "policy", "resources",
    "severity", "src_endpoint", "status", "status_code", "status_detail", "status_id", "unmapped",
}  # fmt: skip
ENDPOINT = {"ip", "uid", "name", "hostname", "svc_name"}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_event_is_an_event_of_its_ocsf_class(form: LineForm) -> None:
    lines = some_lines(form)
    events = converted("ocsf", lines)
    assert len(events) == len(lines)
    for line, event in zip(map(json.loads, lines), events, strict=True):
        required, activities = OCSF_CLASSES[event["class_uid"]]
        assert event.keys() >= OCSF_REQUIRED | required
        assert event.keys() <= OCSF_ATTRIBUTES
        assert event["activity_id"] in activities
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["category_uid"] == event["class_uid"] // 1000
        assert event["severity_id"] == 1
        assert event["metadata"]["version"] == "1.3.0"
        assert event["metadata"]["product"].keys() >= {"name", "vendor_name"}
        assert isinstance(event["time"], int)
        if line["event"] != "decision":
            continue
        assert (event["action_id"], event["disposition_id"]) in {(1, 1), (2, 2)}
        assert (event["action_id"] == 1) == (line["decision"] == "allow") == (event["status_id"] == 1)
        user = event["actor"]["user"]
        assert user.keys() & {"account", "name", "uid"}
        assert user["type_id"] in {0, 1, 2, 3, 99}
        assert event["api"]["operation"]
        assert event["src_endpoint"].keys() & ENDPOINT
        assert event.get("dst_endpoint", {"ip": 1}).keys() & ENDPOINT
        assert event["metadata"]["uid"] == line["decision_id"]


def test_an_ocsf_event_has_the_values_of_the_line() -> None:
    lines = some_lines()
    line, event = json.loads(lines[1]), converted("ocsf", lines)[1]
    assert event["time"] == 1_763_917_200_123
    assert (event["activity_name"], event["api"]["operation"]) == ("Read", "read")
    assert event["actor"]["user"]["uid"] == line["subject"]
    assert [each["name"] for each in event["actor"]["user"]["groups"]] == line["roles"]
    assert event["src_endpoint"] == {"ip": "10.1.2.3"}
    assert event["http_request"]["url"] == {"hostname": line["host"], "path": line["path"]}
    assert event["policy"] == {"uid": line["matched_rule_id"], "group": {"name": "role"}}
    assert event["unmapped"]["tenant"] == line["tenant"]
    by_id = {each["metadata"].get("sequence"): each for each in converted("ocsf", lines)}
    assert by_id[8]["activity_id"] == 99
    assert by_id[8]["activity_name"] == "PURGE"


# ECS 8.17: field -> type of the fields that are used; event.* have lists of allowed values.
ECS_FIELDS = {
    "@timestamp": str, "message": str, "ecs.version": str, "event.kind": str, "event.category": list,
    "event.type": list, "event.outcome": str, "event.module": str, "event.provider": str,
    "event.dataset": str, "event.action": str, "event.code": str, "event.reason": str, "event.id": str,
    "event.sequence": int, "event.duration": int, "user.id": str, "user.domain": str, "user.roles": list,
    "http.request.method": str, "http.request.id": str, "http.response.status_code": int,
    "url.domain": str, "url.path": str, "source.address": str, "source.ip": str, "rule.id": str,
    "rule.category": str, "organization.id": str, "trace.id": str, "span.id": str, "service.name": str,
    "service.type": str, "service.version": str, "service.node.name": str,
}  # fmt: skip
ECS_TYPES_OF = {
    "api": {"access", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start"},
    "process": {"access", "change", "end", "info", "start"},
}


def flat(document: Event, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_event_has_fields_and_values_of_ecs(form: LineForm) -> None:
    lines = some_lines(form)
    events = converted("ecs", lines)
    assert len(events) == len(lines)
    for line, event in zip(map(json.loads, lines), events, strict=True):
        own = event["extauthz"]
        fields = flat({name: value for name, value in event.items() if name != "extauthz"})
        assert {name: type(value) for name, value in fields.items()}.items() <= ECS_FIELDS.items()
        assert fields.keys() >= {"@timestamp", "ecs.version", "event.kind", "event.category", "event.type"}
        assert fields["event.kind"] in {"event", "metric"}
        [category] = fields["event.category"]
        assert set(fields["event.type"]) <= ECS_TYPES_OF[category]
        assert own["event"] == line["event"]
        assert not any(isinstance(value, dict) for value in own.values())
        if line["event"] == "decision":
            assert fields["event.outcome"] == ("success" if line["decision"] == "allow" else "failure")
            assert fields["event.duration"] == line["duration_us"] * 1000


def test_an_ecs_event_has_the_values_of_the_line() -> None:
    lines = some_lines()
    events = converted("ecs", lines)
    line, event = json.loads(lines[1]), events[1]
    assert event["user"] == {"id": line["subject"], "domain": line["domain"], "roles": line["roles"]}
    assert event["url"] == {"domain": line["host"], "path": line["path"]}
    assert event["rule"] == {"id": line["matched_rule_id"], "category": "role"}
    assert event["source"] == {"address": "10.1.2.3", "ip": "10.1.2.3"}
    assert json.loads(events[2]["extauthz"]["attributes_used"]) == {
        "resource.owner": "bob",
        "user.level": None,
    }


@pytest.mark.parametrize("to", ["ecs", "ocsf"])
def test_a_masked_log_stays_masked(to: str) -> None:
    text = json.dumps(converted(to, some_lines(FORMS["masked"])))
    for value in ("alice", "10.1.2.3", "/invoices", "bob", "finance"):
        assert value not in text


@pytest.mark.parametrize("to", ["ecs", "ocsf"])
def test_malformed_lines_are_named_and_counted_and_the_others_converted(to: str) -> None:
    lines = some_lines()
    missing = json.loads(lines[1])
    del missing["subject"]
    wrong = [b"\n", b"\xff\n", b"[]\n", b'{"event":"decision"}\n', lines[2][:100] + b"\n"]
    wrong += [json.dumps(missing).encode() + b"\n", b'"' + b"x" * (1 << 21) + b'"\n']
    mixed = [lines[0], *wrong, lines[1]]
    ended = run_extauthz("logs", "convert", "--to", to, "-", stdin=b"".join(mixed))
    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == 2
    told = ended.stderr.splitlines()
    assert [line.split(":")[2] for line in told[:-1]] == [str(number) for number in range(2, 9)]
    assert told[-1] == "extauthz: malformed lines, which have no event: 7"
    assert "subject: missing" in ended.stderr


def test_members_of_a_later_version_are_kept() -> None:
    line = json.loads(some_lines()[1]) | {"mood": "good"}
    assert converted("ecs", [json.dumps(line).encode()])[0]["extauthz"]["mood"] == "good"
    assert converted("ocsf", [json.dumps(line).encode()])[0]["unmapped"]["mood"] == "good"


def test_files_and_gzip_are_read_in_order(tmp_path: Path) -> None:
    lines = some_lines()
    first, second = tmp_path / "a.gz", tmp_path / "b"
    first.write_bytes(gzip.compress(b"".join(lines[:3])) + gzip.compress(lines[3]))
    second.write_bytes(b"".join(lines[4:]))
    ended = run_extauthz("logs", "convert", "--to", "ecs", first, second)
    assert [json.loads(line) for line in ended.stdout.splitlines()] == converted("ecs", lines)
    zipped = run_extauthz("logs", "convert", "--to", "ecs", stdin=gzip.compress(b"".join(lines)))
    assert zipped.stdout == ended.stdout
    first.write_bytes(gzip.compress(b"".join(lines))[:-9])
    cut = run_extauthz("logs", "convert", "--to", "ecs", first)
    assert cut.returncode == 2
    assert f"'{first}' cannot be read" in cut.stderr
    assert run_extauthz("logs", "convert", "--to", "ecs", tmp_path / "none").returncode == 2
    assert run_extauthz("logs", "convert", "--to", "cef").returncode == 2
