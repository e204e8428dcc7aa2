"""What the decision log says of one judged request: every field of the contract, in its order.

INVARIANT: nothing here reads a query, a header, a credential or a claim. `path` is canonical; `path_raw`
appears on rejects only, without what follows `?` or `#`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from extauthz.domain.decision import Outcome
from extauthz.domain.reasons import DENIED_HTTP_STATUS
from extauthz.domain.request import Malformed, RequestFacts

PATH_RAW_LENGTH: Final = 256
"""At most so many characters of a rejected path, counted after escaping."""

UNTRUSTED_LENGTH: Final = 256
"""At most so many characters of what a client may have written without anybody checking it."""

_ALLOWED_STATUS: Final = 200
_QUERY_OR_FRAGMENT: Final = re.compile(r"[?#]")


def decision_fields(outcome: Outcome, *, ts: float, entrance: str, duration_us: int) -> dict[str, object]:
    """Return the fields of the decision's line; null is None.

    `ts` is in POSIX seconds. `instance`, `worker` and `seq` are None here: the log that writes the line
    knows them. `status` is the HTTP status of the answer; the HTTP entrance answers 403 where the others
    answer 503, because Envoy would read a 5xx there as a failed check.
    """
    decision = outcome.decision
    principal = outcome.principal
    target = outcome.target
    request = outcome.request
    status = _ALLOWED_STATUS if decision.allowed else DENIED_HTTP_STATUS[decision.reason]
    if status == 503 and entrance == "http":
        status = 403
    return {
        "ts": rfc3339(ts),
        "event": "decision",
        "instance": None,
        "worker": None,
        "seq": None,
        "sampled_out_since_last": 0,
        "entrance": entrance,
        "decision_id": outcome.decision_id,
        "decision": decision.effect,
        "reason": decision.reason,
        "matched_rule_id": decision.rule_id,
        "matched_rule_kind": decision.rule_kind,
        "shadow": [{"rule_id": one.rule_id, "would": one.would} for one in decision.shadow],
        "tenant": outcome.tenant,
        "domain": principal.domain if principal else None,
        "subject": principal.id if principal else None,
        "principal_kind": principal.kind if principal else None,
        "authentication": principal.authentication if principal else None,
        "roles": outcome.roles,
        "resource": target.resource if target else None,
        "action": target.action if target else None,
        "method": _cut(request.method) if request else None,
        "host": _cut(request.host) if request else None,
        "path": request.path.text if isinstance(request, RequestFacts) else None,
        "path_raw": _path_raw(request) if isinstance(request, Malformed) else None,
        "source_principal": request.source_principal if request else None,
        "source_address": request.source_address if request else None,
        "request_id": _cut(request.request_id) if request else None,
        "trace_id": _cut(request.trace_id) if request else None,
        "policy_revision": outcome.revision,
        "policy_epoch": outcome.epoch,
        "policy_age_ms": outcome.age_ms,
        "status": status,
        "duration_us": duration_us,
        "attributes_used": _shown(decision.attributes_used),
    }


def rfc3339(ts: float) -> str:
    """Return the instant `ts` (POSIX seconds) as RFC 3339 in UTC with microseconds."""
    seconds, microseconds = divmod(round(ts * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    # Neighbouring lines share their second; formatting it is the dearest part of a record.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _cut(text: str | None) -> str | None:
    return text[:UNTRUSTED_LENGTH] if text is not None else None


def _path_raw(request: Malformed) -> str | None:
    if request.path_raw is None:
        return None
    path = _QUERY_OR_FRAGMENT.split(request.path_raw[: PATH_RAW_LENGTH + 1], maxsplit=1)[0]
    return path.encode("unicode_escape").decode("ascii")[:PATH_RAW_LENGTH]


def _shown(attributes: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value if name == "action" or name.startswith("resource.") else None
        for name, value in attributes.items()
    }
