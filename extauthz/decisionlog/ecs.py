"""Lines of the decision log as events of the Elastic Common Schema (ECS 8.17).

Fields that ECS has are under their ECS names, nested; all others are under `extauthz`, with the names of the
line.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from extauthz import __version__
from extauthz.decisionlog.pipeline_values import has_value, ip_or_none, said
from extauthz.domain.reasons import Effect

VERSION: Final = "8.17.0"
_MODULE: Final = "extauthz"
_TYPES: Final[Mapping[str, list[str]]] = {
    "log_started": ["start"],
    "log_heartbeat": ["info"],
    "log_stopped": ["end"],
}

Json = dict[str, Any]


def event_of(line: Mapping[str, Any]) -> Json:
    """Return the event of a line that fits the schema."""
    event = _decision(line) if line["event"] == "decision" else _of_the_log(line)
    return event | {
        "@timestamp": line["ts"],
        "ecs": {"version": VERSION},
        "service": {
            "name": _MODULE,
            "type": _MODULE,
            "version": __version__,
            "node": {"name": line["instance"]},
        },
    }


def _decision(line: Mapping[str, Any]) -> Json:
    allowed = line["decision"] == Effect.ALLOW
    taken = {"ts", "event", "instance", "seq"}

    def take(field: str, change: Callable[[Any], Any] = lambda value: value) -> Any:
        taken.add(field)
        value = line.get(field)
        return None if value is None else change(value)

    address = take("source_address")
    event = _known(
        {
            "event": {
                "kind": "event",
                "category": ["api"],
                "type": ["access", "allowed" if allowed else "denied"],
                "outcome": "success" if allowed else "failure",
                "module": _MODULE,
                "provider": _MODULE,
                "dataset": f"{_MODULE}.decision",
                "action": take("action"),
                "code": take("reason"),
                "reason": said(line),
                "id": take("decision_id"),
                "sequence": line["seq"],
                "duration": take("duration_us", lambda value: value * 1000),
            },
            "message": said(line),
            "user": {"id": take("subject"), "domain": take("domain"), "roles": take("roles", list)},
            "http": {
                "request": {"method": take("method"), "id": take("request_id")},
                "response": {"status_code": take("status")},
            },
            "url": {"domain": take("host"), "path": take("path")},
            "source": {"address": address, "ip": ip_or_none(address)},
            "rule": {"id": take("matched_rule_id"), "category": take("matched_rule_kind")},
            "organization": {"id": take("tenant")},
            "trace": {"id": take("trace_id")},
            "span": {"id": take("span_id")},
        }
    )
    rest = {name: value for name, value in line.items() if name not in taken and has_value(value)}
    if "attributes_used" in rest:
        # Its members differ in name and type from line to line, which fields of an index must not.
        rest["attributes_used"] = orjson.dumps(rest["attributes_used"]).decode()
    return event | {_MODULE: {"event": "decision", "decision": line["decision"]} | rest}


def _of_the_log(line: Mapping[str, Any]) -> Json:
    name = line["event"]
    rest = {field: value for field, value in line.items() if field not in {"ts", "instance", "seq"}}
    return {
        "event": {
            "kind": "metric" if name == "log_heartbeat" else "event",
            "category": ["process"],
            "type": _TYPES[name],
            "module": _MODULE,
            "provider": _MODULE,
            "dataset": f"{_MODULE}.decision",
            "action": name,
            "sequence": line["seq"],
        },
        _MODULE: rest,
    }


def _known(document: Json) -> Json:
    """Return a document without members that have no value."""
    found = {
        name: _known(value) if isinstance(value, dict) else value
        for name, value in document.items()
        if value is not None and value != []
    }
    return {name: value for name, value in found.items() if value != {}}
