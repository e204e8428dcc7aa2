"""Heads of decision logs: how far the log of a process start had come at some time.

A chain cannot show that its end was removed. A head that was kept elsewhere can: the log must have a line
with the number of the head and its hash. Heads are in the report of `extauthz logs verify`, and in the
application log as `decision_log_head`, each minute and at the end, where DECISION_LOG_CHAIN is on.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

EVENT: Final = "decision_log_head"


class LogHead(NamedTuple):
    """The line `seq` of an instance, its hash (`ALGORITHM:HEX`; None: unchained), and the losses so far."""

    instance: str
    seq: int
    chain: str | None
    decisions_lost: int


def read_heads(text: bytes) -> list[LogHead]:
    """Return the heads in a report of `logs verify`, or in lines of an application log.

    Raises:
        ValueError: the text is neither.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, Mapping) and isinstance(document.get("instances"), list):
        return [_of_report(each) for each in document["instances"]]
    found = list(_in_application_log(text.splitlines()))
    if not found:
        raise ValueError(f"neither a report of 'extauthz logs verify' nor a log with {EVENT} entries")
    return found


def _of_report(instance: Any) -> LogHead:
    try:
        return _head(instance["instance"], instance["last_seq"], instance["head"], instance["decisions_lost"])
    except (KeyError, TypeError):
        raise ValueError("a report whose instances lack instance, last_seq, head or decisions_lost") from None


def _in_application_log(lines: Iterable[bytes]) -> Iterable[LogHead]:
    for line in lines:
        if EVENT.encode() not in line:
            continue
        try:
            entry = orjson.loads(line)
            if entry["event"] == EVENT:
                yield _head(entry["instance"], entry["seq"], entry["chain"], entry["decisions_lost"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue


def _head(instance: object, seq: object, chain: object, lost: object) -> LogHead:
    if not isinstance(instance, str) or not isinstance(seq, int) or not isinstance(lost, int):
        raise TypeError
    if chain is not None and not isinstance(chain, str):
        raise TypeError
    return LogHead(instance, seq, chain, lost)
