"""The line of the decision log for one verdict: every field of docs/reference/contract.md#decision-log.

INVARIANT: nothing here reads a query, a header, a credential or a claim. `path` is canonical; `path_raw`
appears on rejects only, without what follows `?` or `#`. `detail` names a claim or a bound, never a value.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, assert_never

from extauthz.domain.mcp import McpMessage
from extauthz.domain.principal import Principal
from extauthz.domain.request import Malformed, RequestFacts
from extauthz.domain.verdict import Allowed, AllowedByName, Denied, NamedVerdict, Preflight, Target, Verdict

PATH_RAW_LENGTH: Final = 256
"""The most characters of a rejected path that are logged, counted after escaping."""

UNTRUSTED_LENGTH: Final = 256
"""The most characters that are logged of text that a client may have written."""

_ALLOWED_STATUS: Final = 200
# Every field, in its order. Copied and filled in, it costs half of writing it out each time.
_NOTHING_KNOWN: Final[dict[str, object]] = {
    "ts": None,
    "event": "decision",
    "instance": None,
    "worker": None,
    "seq": None,
    "sampled_out_since_last": 0,
    "entrance": None,
    "decision_id": None,
    "decision": None,
    "reason": None,
    "detail": None,
    "matched_rule_id": None,
    "matched_rule_kind": None,
    "shadow": (),
    "tenant": None,
    "domain": None,
    "subject": None,
    "principal_kind": None,
    "authentication": None,
    "roles": (),
    "token_roles": (),
    "resource": None,
    "action": None,
    "method": None,
    "host": None,
    "path": None,
    "path_raw": None,
    "source_principal": None,
    "source_address": None,
    "request_id": None,
    "trace_id": None,
    "span_id": None,
    "policy_revision": None,
    "policy_epoch": None,
    "policy_age_ms": None,
    "policy_digest": None,
    "status": None,
    "duration_us": None,
    "attributes_used": None,
    "masked": (),
}
_QUERY_OR_FRAGMENT: Final = re.compile(r"[?#]")


def decision_fields(
    verdict: Verdict | NamedVerdict, *, ts: float, entrance: str, duration_us: int
) -> dict[str, object]:
    """Return the fields of the decision's line; null is None.

    `ts` is in POSIX seconds. `instance`, `worker` and `seq` are None here: the log that writes the line
    knows them. `status` is the HTTP status of the answer; the HTTP entrance answers 403 where the others
    answer 503, because Envoy would read a 5xx there as a failed check.
    """
    fields = _NOTHING_KNOWN.copy()
    fields["ts"] = rfc3339(ts)
    fields["entrance"] = entrance
    fields["duration_us"] = duration_us
    fields["decision_id"] = verdict.decision_id
    fields["decision"] = verdict.effect
    fields["reason"] = verdict.reason
    fields["tenant"] = verdict.tenant
    fields["roles"] = verdict.roles
    policies = verdict.policies
    fields["policy_revision"] = policies.revision
    fields["policy_epoch"] = policies.epoch
    fields["policy_age_ms"] = policies.age_ms
    fields["policy_digest"] = None if policies.digest is None else policies.digest.text
    fields["attributes_used"] = _shown(verdict.attributes_used)
    if verdict.rule is not None:
        fields["matched_rule_id"] = verdict.rule.id
        fields["matched_rule_kind"] = verdict.rule.kind
    if verdict.shadow:
        fields["shadow"] = [{"rule_id": one.rule_id, "would": one.would} for one in verdict.shadow]
    if verdict.principal is not None:
        _add_principal(fields, verdict.principal)
    if verdict.target is not None:
        _add_target(fields, verdict.target)
    match verdict:
        case Allowed() | Preflight():
            fields["status"] = _ALLOWED_STATUS
            _add_request(fields, verdict.request)
        case AllowedByName():
            fields["status"] = _ALLOWED_STATUS
        case Denied():
            status = verdict.reason.http_status
            fields["status"] = 403 if status == 503 and entrance == "http" else status
            if verdict.detail:
                fields["detail"] = verdict.detail[:UNTRUSTED_LENGTH]
            if verdict.request is not None:
                _add_request(fields, verdict.request)
        case _:
            assert_never(verdict)
    return fields


def _add_principal(fields: dict[str, object], principal: Principal) -> None:
    fields["domain"] = principal.domain
    fields["subject"] = principal.id
    fields["principal_kind"] = principal.kind
    fields["authentication"] = principal.authentication
    fields["token_roles"] = principal.roles


def _add_target(fields: dict[str, object], target: Target) -> None:
    fields["resource"] = target.resource
    fields["action"] = target.action


def _add_request(fields: dict[str, object], request: RequestFacts | Malformed) -> None:
    method, host = request.method, request.host
    request_id, trace_id = request.request_id, request.trace_id
    fields["method"] = method and method[:UNTRUSTED_LENGTH]
    fields["host"] = host and host[:UNTRUSTED_LENGTH]
    fields["source_principal"] = request.source_principal
    fields["source_address"] = request.source_address
    fields["request_id"] = request_id and request_id[:UNTRUSTED_LENGTH]
    fields["trace_id"] = trace_id and trace_id[:UNTRUSTED_LENGTH]
    fields["span_id"] = request.span_id
    if isinstance(request, RequestFacts):
        fields["path"] = request.path.text
        if request.body is not None and (message := request.body.message()) is not None:
            _add_message(fields, message)
    else:
        fields["path_raw"] = _path_raw(request)


def _add_message(fields: dict[str, object], message: McpMessage) -> None:
    """Add the message of the Model Context Protocol that a route asked for; no other line has these fields.

    A name may be a URI: what follows its `?` or `#` is left out, and a `?` stands for that.
    """
    name = message.name
    if name is not None:
        if "?" in name or "#" in name:
            name = f"{_QUERY_OR_FRAGMENT.split(name, maxsplit=1)[0]}?"
        name = name[:UNTRUSTED_LENGTH]
    fields["mcp_method"] = message.method[:UNTRUSTED_LENGTH]
    fields["mcp_name"] = name


def rfc3339(ts: float) -> str:
    """Return the instant `ts` (POSIX seconds) as RFC 3339 in UTC with microseconds."""
    instant = round(ts * 1_000_000)
    seconds = instant // 1_000_000
    return f"{_second(seconds)}.{instant - seconds * 1_000_000:06d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    # Neighbouring lines share their second; formatting it is the most expensive part of a record.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _path_raw(request: Malformed) -> str | None:
    if request.path_raw is None:
        return None
    path = _QUERY_OR_FRAGMENT.split(request.path_raw[: PATH_RAW_LENGTH + 1], maxsplit=1)[0]
    return path.encode("unicode_escape").decode("ascii")[:PATH_RAW_LENGTH]


def _shown(attributes: Mapping[str, object]) -> dict[str, object]:
    shown = dict(attributes)
    for name, value in attributes.items():
        if value is not None and name != "action" and not name.startswith("resource."):
            shown[name] = None
    return shown
