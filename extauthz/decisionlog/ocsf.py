"""Lines of the decision log as events of the Open Cybersecurity Schema Framework (OCSF 1.3).

A decision is an API Activity (class 6003) with the profile `security_control`; the events of the log itself
are Application Lifecycle (class 6002). What OCSF has no attribute for is in `unmapped`, with the names of the
line.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from extauthz import __version__
from extauthz.decisionlog.pipeline_values import has_value, host_name_or_none, ip_or_none, said
from extauthz.domain.principal import PrincipalKind
from extauthz.domain.reasons import Effect

VERSION: Final = "1.3.0"
_APPLICATION: Final = 6
_API_ACTIVITY: Final = 6003
_LIFECYCLE: Final = 6002
_OTHER: Final = 99
_UNKNOWN: Final = "unknown"
_PRODUCT: Final = {"name": "extauthz", "vendor_name": "extauthz", "version": __version__}
_ACTIVITIES: Final[Mapping[str, tuple[int, str]]] = {
    "POST": (1, "Create"),
    "GET": (2, "Read"),
    "HEAD": (2, "Read"),
    "PUT": (3, "Update"),
    "PATCH": (3, "Update"),
    "DELETE": (4, "Delete"),
}
_LIFECYCLE_ACTIVITIES: Final[Mapping[str, tuple[int, str]]] = {
    "log_started": (3, "Start"),
    "log_heartbeat": (_OTHER, "Heartbeat"),
    "log_stopped": (4, "Stop"),
}
_MAPPED: Final = frozenset({
    "ts", "event", "seq", "decision_id", "decision", "reason", "matched_rule_id", "subject", "domain",
    "roles", "resource", "action", "method", "host", "path", "source_address", "source_principal",
    "request_id", "trace_id", "status",
})  # fmt: skip

Json = dict[str, Any]


def event_of(line: Mapping[str, Any]) -> Json:
    """Return the event of a line that fits the schema."""
    return _decision(line) if line["event"] == "decision" else _of_the_log(line)


def _decision(line: Mapping[str, Any]) -> Json:
    allowed = line["decision"] == Effect.ALLOW
    activity = _ACTIVITIES.get(line["method"], (_OTHER, line["method"] or line["action"] or _UNKNOWN))
    policy = None
    if line["matched_rule_id"] is not None:
        policy = {"uid": line["matched_rule_id"], "group": {"name": line["matched_rule_kind"]}}
    event = _classified(line, _API_ACTIVITY, *activity) | {
        "class_name": "API Activity",
        "message": said(line),
        "status_id": 1 if allowed else 2,
        "status": "Success" if allowed else "Failure",
        "status_code": str(line["status"]),
        "status_detail": line["reason"],
        "action_id": 1 if allowed else 2,
        "action": "Allowed" if allowed else "Denied",
        "disposition_id": 1 if allowed else 2,
        "disposition": "Allowed" if allowed else "Blocked",
        "policy": policy,
        "actor": {
            "user": _user(line),
            "authorizations": [_known({"decision": line["decision"], "policy": policy})],
        },
        "api": _known(
            {
                "operation": line["action"] or line["method"] or _UNKNOWN,
                "service": line["resource"] and {"name": line["resource"]},
                "request": line["request_id"] and {"uid": line["request_id"]},
                "response": {"code": line["status"]},
            }
        ),
        "resources": line["resource"] and [{"name": line["resource"]}],
        "src_endpoint": _source(line),
        "dst_endpoint": _host(line),
        "http_request": _http_request(line),
        "unmapped": _rest(line, _MAPPED),
    }
    event["metadata"] |= _known(
        {"uid": line["decision_id"], "correlation_uid": line["trace_id"], "profiles": ["security_control"]}
    )
    return _known(event)


def _of_the_log(line: Mapping[str, Any]) -> Json:
    event = _classified(line, _LIFECYCLE, *_LIFECYCLE_ACTIVITIES[line["event"]])
    mapped = frozenset({"ts", "seq"})
    return event | {
        "class_name": "Application Lifecycle",
        "app": _PRODUCT,
        "message": line["event"],
        "unmapped": _rest(line, mapped),
    }


def _classified(line: Mapping[str, Any], class_uid: int, activity_id: int, activity: str) -> Json:
    return {
        "category_uid": _APPLICATION,
        "category_name": "Application Activity",
        "class_uid": class_uid,
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": class_uid * 100 + activity_id,
        "severity_id": 1,
        "severity": "Informational",
        "time": round(datetime.fromisoformat(line["ts"]).timestamp() * 1000),
        "metadata": {
            "version": VERSION,
            "product": _PRODUCT,
            "log_name": "decision",
            "original_time": line["ts"],
            "sequence": line["seq"],
        },
    }


def _user(line: Mapping[str, Any]) -> Json:
    kind = line["principal_kind"]
    is_user = kind == PrincipalKind.USER
    return _known(
        {
            "uid": line["subject"],
            "name": line["subject"] or kind or _UNKNOWN,
            "type_id": 1 if is_user else (0 if kind is None else _OTHER),
            "type": "User" if is_user else (kind or "Unknown"),
            "domain": line["domain"],
            "groups": [{"name": role} for role in line["roles"]] or None,
        }
    )


def _source(line: Mapping[str, Any]) -> Json:
    address, principal = line["source_address"], line["source_principal"]
    found = _known({"ip": ip_or_none(address), "svc_name": principal})
    return found or {"name": address or _UNKNOWN}


def _host(line: Mapping[str, Any]) -> Json | None:
    host = line["host"]
    if host is None:
        return None
    name = host_name_or_none(host)
    return {"name": host} if name is None else {"hostname": name}


def _http_request(line: Mapping[str, Any]) -> Json | None:
    if line["method"] is None and line["path"] is None:
        return None
    url = _known({"hostname": host_name_or_none(line["host"]), "path": line["path"]})
    return _known({"http_method": line["method"], "uid": line["request_id"], "url": url or None})


def _rest(line: Mapping[str, Any], mapped: frozenset[str]) -> Json | None:
    found = {name: value for name, value in line.items() if name not in mapped and has_value(value)}
    return found or None


def _known(document: Json) -> Json:
    return {name: value for name, value in document.items() if value is not None}
