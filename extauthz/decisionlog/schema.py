"""The schema of a decision log's line: presence, type, enumeration and format of each field."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from extauthz.decide.record import PATH_RAW_LENGTH, UNTRUSTED_LENGTH
from extauthz.domain.principal import Authentication, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import RuleKind
from extauthz.settings.decision_log_values import MASKABLE

ENTRANCES: Final = ("grpc", "http", "rest", "authzen")
MORE_MEMBERS: Final = "not a field of a decision"
"""What is said of a member that this version does not have; a later one may."""
STATUSES: Final = frozenset({200, 400, 401, 403, 503})

SchemaProblem = str
MemberCheck = Callable[[object], SchemaProblem | None]

_TS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(?:Z|\+00:00)", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CHAIN: Final = re.compile(r"(?:sha256|hmac-sha256):[0-9a-f]{64}")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def line_problems(line: Mapping[str, object]) -> list[SchemaProblem]:
    """Return everything that is wrong with one parsed line, each naming its field; empty when it is right.

    A decision has exactly the fields of docs/reference/contract.md#decision-log; the other events may
    carry more.
    """
    event = line.get("event")
    if not isinstance(event, str) or event not in _EVENTS:
        return [f"event: expected one of {', '.join(_EVENTS)}, found {_quoted(event)}"]
    checks = _EVENTS[event]
    problems = [f"{name}: missing" for name in checks if name not in line and (event, name) not in _OPTIONAL]
    problems += [
        f"{name}: {problem}"
        for name, check in checks.items()
        if name in line and (problem := check(line[name])) is not None
    ]
    if event == "decision":
        problems += [f"{name}: {MORE_MEMBERS}" for name in line if name not in checks]
        problems = problems or _contradictions(line)
    return problems


def _contradictions(line: Mapping[str, object]) -> list[SchemaProblem]:
    problems = []
    if (line["decision"] == Effect.ALLOW) != (line["status"] == 200):
        problems.append(f"status: {line['status']} contradicts decision {_quoted(line['decision'])}")
    if line["decision"] == Effect.ALLOW and line["reason"] not in ALLOWING:
        problems.append(f"reason: {_quoted(line['reason'])} cannot allow")
    if (line["matched_rule_id"] is None) != (line["matched_rule_kind"] is None):
        problems.append("matched_rule_kind: must be null exactly when matched_rule_id is")
    if line["path"] is not None and line["path_raw"] is not None:
        problems.append("path_raw: only where there is no canonical path")
    return problems


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _expected(what: str, value: object) -> SchemaProblem:
    return f"expected {what}, found {_quoted(value)}"


def _text(value: object) -> SchemaProblem | None:
    return None if isinstance(value, str) else _expected("a string", value)


def _count(value: object) -> SchemaProblem | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return None
    return _expected("a whole number, 0 or more", value)


def _seq(value: object) -> SchemaProblem | None:
    return _count(value) if value != 0 else _expected("a number from 1", value)


def _status(value: object) -> SchemaProblem | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in STATUSES:
        return None
    return _expected("an HTTP status that an answer can have", value)


def _timestamp(value: object) -> SchemaProblem | None:
    if isinstance(value, str) and _TS.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return _expected("an instant that exists", value)
        return None
    return _expected("an RFC 3339 instant in UTC with microseconds", value)


def _uuid(value: object) -> SchemaProblem | None:
    return None if isinstance(value, str) and _UUID.fullmatch(value) else _expected("a UUID", value)


def _uuid7(value: object) -> SchemaProblem | None:
    return None if isinstance(value, str) and _UUID7.fullmatch(value) else _expected("a UUIDv7", value)


def _digest(value: object) -> SchemaProblem | None:
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return None
    return _expected("64 hexadecimal digits", value)


def _span_id(value: object) -> SchemaProblem | None:
    if isinstance(value, str) and _SPAN_ID.fullmatch(value):
        return None
    return _expected("16 hexadecimal digits", value)


def _one_of(*values: str) -> MemberCheck:
    def check(value: object) -> SchemaProblem | None:
        if isinstance(value, str) and value in values:
            return None
        return _expected(f"one of {', '.join(values)}", value)

    return check


def _or_null(check: MemberCheck) -> MemberCheck:
    return lambda value: None if value is None else check(value)


def _roles(value: object) -> SchemaProblem | None:
    if isinstance(value, list) and all(isinstance(role, str) for role in value):
        return None
    return _expected("a list of strings", value)


def _shadow(value: object) -> SchemaProblem | None:
    if not isinstance(value, list):
        return _expected("a list", value)
    for one in value:
        fits = isinstance(one, dict) and one.keys() == {"rule_id", "would"}
        if not fits or not isinstance(one["rule_id"], str) or one["would"] not in list(Effect):
            return _expected("rule_id and would (allow, deny)", one)
    return None


def _path(value: object) -> SchemaProblem | None:
    if not isinstance(value, str) or not value.startswith("/"):
        return _expected("a path", value)
    return "contains a query" if "?" in value else None


def _path_raw(value: object) -> SchemaProblem | None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return _expected("printable ASCII", value)
    if "?" in value:
        return "contains a query"
    return None if len(value) <= PATH_RAW_LENGTH else f"longer than {PATH_RAW_LENGTH} characters"


def _detail(value: object) -> SchemaProblem | None:
    if not isinstance(value, str) or not value:
        return _expected("a text, or null", value)
    return None if len(value) <= UNTRUSTED_LENGTH else f"longer than {UNTRUSTED_LENGTH} characters"


def _attributes_used(value: object) -> SchemaProblem | None:
    if not isinstance(value, dict):
        return _expected("an object", value)
    for name, shown in value.items():
        if shown is not None and name != "action" and not name.startswith("resource."):
            return f"shows the value of {_quoted(name)}"
    return None


def _masked(value: object) -> SchemaProblem | None:
    if isinstance(value, list) and all(isinstance(name, str) and name in MASKABLE for name in value):
        return None if len(set(value)) == len(value) else "lists a field twice"
    return _expected("a list of fields that can be masked", value)


def _share(value: object) -> SchemaProblem | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return None
    return _expected("a share from 0 to 1", value)


def _chain(value: object) -> SchemaProblem | None:
    return None if isinstance(value, str) and _CHAIN.fullmatch(value) else _expected("a hash", value)


ALLOWING: Final = (Reason.PREFLIGHT, Reason.RULE_MATCHED)
"""The reasons of allows."""

_EVERY_LINE: Final[dict[str, MemberCheck]] = {
    "ts": _timestamp,
    "event": _text,
    "instance": _uuid,
    "worker": _count,
    "seq": _seq,
}

_DECISION: Final[dict[str, MemberCheck]] = _EVERY_LINE | {
    "sampled_out_since_last": _count,
    "entrance": _one_of(*ENTRANCES),
    "decision_id": _uuid7,
    "decision": _one_of(*Effect),
    "reason": _one_of(*Reason),
    "detail": _or_null(_detail),
    "matched_rule_id": _or_null(_text),
    "matched_rule_kind": _or_null(_one_of(*RuleKind)),
    "shadow": _shadow,
    "tenant": _or_null(_text),
    "domain": _or_null(_text),
    "subject": _or_null(_text),
    "principal_kind": _or_null(_one_of(*PrincipalKind)),
    "authentication": _or_null(_one_of(*Authentication)),
    "roles": _roles,
    "token_roles": _roles,
    "resource": _or_null(_text),
    "action": _or_null(_text),
    "method": _or_null(_text),
    "host": _or_null(_text),
    "path": _or_null(_path),
    "path_raw": _or_null(_path_raw),
    "source_principal": _or_null(_text),
    "source_address": _or_null(_text),
    "request_id": _or_null(_text),
    "trace_id": _or_null(_text),
    "span_id": _or_null(_span_id),
    "policy_revision": _or_null(_count),
    "policy_epoch": _or_null(_text),
    "policy_age_ms": _or_null(_count),
    "policy_digest": _or_null(_digest),
    "status": _status,
    "duration_us": _count,
    "attributes_used": _attributes_used,
    "masked": _masked,
    "mcp_method": _or_null(_text),
    "mcp_name": _or_null(_text),
    "chain": _chain,
}

_TOTALS: Final[dict[str, MemberCheck]] = {
    "decisions_lost": _count,
    "sampled_out_since_last": _count,
    "chain": _chain,
}

_EVENTS: Final[dict[str, dict[str, MemberCheck]]] = {
    "decision": _DECISION,
    "log_started": _EVERY_LINE | {"sample_allows": _share, "chain": _chain},
    "log_heartbeat": _EVERY_LINE | _TOTALS,
    "log_stopped": _EVERY_LINE | _TOTALS,
}

# A line of an earlier version lacks members that were added, and only a log that is chained has `chain`.
_OPTIONAL: Final = frozenset(
    {
        *(
            ("decision", name)
            for name in (
                "mcp_method",
                "mcp_name",
                "policy_digest",
                "token_roles",
                "masked",
                "span_id",
                "chain",
            )
        ),
        *(("log_started", name) for name in ("sample_allows", "chain")),
        *(("log_heartbeat", name) for name in ("sampled_out_since_last", "chain")),
        *(("log_stopped", name) for name in ("decisions_lost", "sampled_out_since_last", "chain")),
    }
)
