"""Values that events for log pipelines have in common."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_\-]*[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def said(line: Mapping[str, Any]) -> str:
    """Return the decision of a line as a sentence: decision, reason, and the rule or the detail."""
    text = f"{line['decision']}: {line['reason']}"
    if line["matched_rule_id"] is not None:
        return f"{text} ({line['matched_rule_kind']} rule {line['matched_rule_id']})"
    return text if line["detail"] is None else f"{text} ({line['detail']})"


def ip_or_none(address: object) -> str | None:
    """Return an address that is an IP address; None for any other, such as a masked one."""
    try:
        return str(ip_address(str(address)))
    except ValueError:
        return None


def host_name_or_none(host: object) -> str | None:
    """Return a host that is a host name, without a port; None for any other."""
    return str(host) if isinstance(host, str) and _HOST_NAME.fullmatch(host) else None


def has_value(value: object) -> bool:
    """Return whether a member says something: it is neither null nor empty."""
    return value is not None and value not in ([], {})
