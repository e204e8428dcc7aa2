"""The JSON Schema (draft 2020-12) of a line of the decision log: docs/schema/decision-log.json.

It says what a reader of one line may rely on. Members may be added later, so that a schema of today refuses
none of tomorrow; `schema.line_problems` holds lines of this version to exactly their members.
"""

from typing import Any, Final

from extauthz.decide.record import PATH_RAW_LENGTH, UNTRUSTED_LENGTH
from extauthz.decisionlog.schema import ALLOWING, ENTRANCES, STATUSES
from extauthz.domain.principal import Authentication, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import RuleKind
from extauthz.settings.decision_log_values import MASKABLE

SCHEMA_ID: Final = "urn:extauthz:schema:decision-log"

Json = dict[str, Any]


def json_schema() -> Json:
    """Return the schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "A line of extauthz's decision log",
        "type": "object",
        "required": ["ts", "event", "instance", "worker", "seq"],
        "properties": _EVERY_LINE,
        "oneOf": [
            _event("decision", _DECISION, _ADDED_LATER, _CONTRADICTIONS),
            _event("log_started", {"sample_allows": _SHARE, "chain": _CHAIN}, {"sample_allows", "chain"}),
            _event("log_heartbeat", _TOTALS, {"sampled_out_since_last", "chain"}),
            _event("log_stopped", _TOTALS, {"decisions_lost", "sampled_out_since_last", "chain"}),
        ],
    }


def _event(
    name: str, members: Json, optional: frozenset[str] | set[str], rules: list[Json] | None = None
) -> Json:
    found: Json = {
        "title": name,
        "properties": {"event": {"const": name}} | members,
        "required": [member for member in members if member not in optional],
    }
    return found | ({"allOf": rules} if rules else {})


def _or_null(schema: Json) -> Json:
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]}


def _about(description: str, schema: Json) -> Json:
    return schema | {"description": description}


def _words(*words: str) -> Json:
    return {"enum": [str(word) for word in words]}


_TEXT: Final[Json] = {"type": "string"}
_UNTRUSTED: Final[Json] = {"type": "string", "maxLength": UNTRUSTED_LENGTH}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_SHARE: Final[Json] = {
    "type": "number", "minimum": 0, "maximum": 1, "description": "share of allows that get a line",
}  # fmt: skip
_TEXTS: Final[Json] = {"type": "array", "items": _TEXT}
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CHAIN: Final = _about(
    "the hash of this line and the one before it, of the same instance",
    {"type": "string", "pattern": "^(?:sha256|hmac-sha256):[0-9a-f]{64}$"},
)
_LEFT_OUT: Final = _about("allows without a line since the last line of the instance (sampling)", _COUNT)
_EVERY_LINE: Final[Json] = {
    "ts": _about(
        "RFC 3339, UTC, microseconds",
        {
            "type": "string",
            "format": "date-time",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}(?:Z|\+00:00)$",
        },
    ),
    "event": _words("decision", "log_started", "log_heartbeat", "log_stopped"),
    "instance": _about("the start of a process", {"type": "string", "pattern": f"^{_UUID}$"}),
    "worker": _COUNT,
    "seq": _about("counts all lines of an instance by one", {"type": "integer", "minimum": 1}),
}
_TOTALS: Final[Json] = {
    "decisions_lost": _about("decisions of the instance without a line, so far", _COUNT),
    "sampled_out_since_last": _LEFT_OUT,
    "chain": _CHAIN,
}
_DECISION: Final[Json] = {
    "sampled_out_since_last": _LEFT_OUT,
    "entrance": _words(*ENTRANCES),
    "decision_id": _about(
        "a UUIDv7",
        {
            "type": "string",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        },
    ),
    "decision": _words(*Effect),
    "reason": _words(*Reason),
    "detail": _or_null({"type": "string", "minLength": 1, "maxLength": UNTRUSTED_LENGTH}),
    "matched_rule_id": _or_null(_TEXT),
    "matched_rule_kind": _or_null(_words(*RuleKind)),
    "shadow": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"rule_id": _TEXT, "would": _words(*Effect)},
            "required": ["rule_id", "would"],
            "additionalProperties": False,
        },
    },
    "tenant": _or_null(_TEXT),
    "domain": _or_null(_TEXT),
    "subject": _or_null(_TEXT),
    "principal_kind": _or_null(_words(*PrincipalKind)),
    "authentication": _or_null(_words(*Authentication)),
    "roles": _about("the roles that counted", _TEXTS),
    "token_roles": _about("the credential's own roles", _TEXTS),
    "resource": _or_null(_TEXT),
    "action": _or_null(_TEXT),
    "method": _or_null(_TEXT),
    "host": _or_null(_TEXT),
    "path": _or_null({"type": "string", "pattern": "^/[^?]*$"}),
    "path_raw": _or_null({"type": "string", "pattern": "^[ -~]*$", "maxLength": PATH_RAW_LENGTH}),
    "source_principal": _or_null(_TEXT),
    "source_address": _or_null(_TEXT),
    "request_id": _or_null(_TEXT),
    "trace_id": _or_null(_TEXT),
    "span_id": _or_null({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
    "policy_revision": _or_null(_COUNT),
    "policy_epoch": _or_null(_TEXT),
    "policy_age_ms": _or_null(_COUNT),
    "policy_digest": _or_null({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    "status": {"enum": sorted(STATUSES)},
    "duration_us": _COUNT,
    "attributes_used": _about(
        "names that conditions read; values of `resource.*` and `action` only",
        {
            "type": "object",
            "patternProperties": {r"^(?:action$|resource\.)": True},
            "additionalProperties": {"type": "null"},
        },
    ),
    "masked": _about(
        "the fields in which a value was left out or replaced by its HMAC-SHA-256",
        {"type": "array", "uniqueItems": True, "items": _words(*MASKABLE)},
    ),
    "mcp_method": _about(
        "the method of a message of MCP, only where a route asked for it", _or_null(_UNTRUSTED)
    ),
    "mcp_name": _about(
        "the tool, prompt or resource of that message; a query is cut after its `?`", _or_null(_UNTRUSTED)
    ),
    "chain": _CHAIN,
}
_ADDED_LATER: Final = frozenset(
    {"mcp_method", "mcp_name", "policy_digest", "token_roles", "masked", "chain", "span_id"}
)
_CONTRADICTIONS: Final[list[Json]] = [
    {
        "if": {"properties": {"decision": {"const": "allow"}}},
        "then": {"properties": {"status": {"const": 200}, "reason": _words(*ALLOWING)}},
        "else": {"properties": {"status": {"not": {"const": 200}}}},
    },
    {
        "if": {"properties": {"matched_rule_id": {"type": "null"}}},
        "then": {"properties": {"matched_rule_kind": {"type": "null"}}},
        "else": {"properties": {"matched_rule_kind": {"type": "string"}}},
    },
    {
        "if": {"properties": {"path": {"type": "string"}}},
        "then": {"properties": {"path_raw": {"type": "null"}}},
    },
]
