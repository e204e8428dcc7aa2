"""Sends one request through Envoy, byte for byte, and returns the response."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.demo.processes import LOOPBACK

LOG_DELAY_S: Final = 2.0
"""How long to wait for the log line of a decision; a line is written within one second."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a client sees: the status, the decision's id, and the headers that reached the upstream.

    `status` is 0 when the connection broke. `received` is None when the upstream was not reached.
    """

    status: int
    reason: str | None = None
    decision_id: str | None = None
    received: Mapping[str, str] | None = None


def send(
    port: int,
    path: str,
    *,
    method: str = "GET",
    host: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
) -> CallResult:
    """Send one request to Envoy; `path` goes onto the wire as it is, and so does `host` unless it is None."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    named = {} if host is None else {"host": host}
    credential = {} if token is None else {"authorization": f"Bearer {token}"}
    try:
        connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
        for name, value in (named | credential | dict(headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return _answer(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return CallResult(0)
    finally:
        connection.close()


def _answer(status: int, body: bytes) -> CallResult:
    try:
        document = json.loads(body)
    except ValueError:
        return CallResult(status)
    if not isinstance(document, dict):
        return CallResult(status)
    if isinstance(received := document.get("headers"), dict):
        return CallResult(status, None, received.get("x-auth-decision-id"), received)
    return CallResult(status, document.get("reason"), document.get("decision_id"))


class DecisionLogReader:
    """Finds decisions in a growing decision log, from where it ended when the reader was made."""

    def __init__(self, path: Path) -> None:
        """Begin at the present end of the file, which need not exist yet."""
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._lines: dict[str, Mapping[str, object]] = {}

    def line(self, decision_id: str) -> Mapping[str, object] | None:
        """Return the line of a decision, waiting for it at most `LOG_DELAY_S`; None: it did not come."""
        deadline = time.monotonic() + LOG_DELAY_S
        self._read()
        while decision_id not in self._lines and time.monotonic() < deadline:
            time.sleep(0.02)
            self._read()
        return self._lines.get(decision_id)

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            complete, newline, _ = stream.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        for raw in complete.splitlines():
            line = json.loads(raw)
            if line["event"] == "decision":
                self._lines[line["decision_id"]] = line
