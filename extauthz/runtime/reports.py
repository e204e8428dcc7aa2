"""What a worker tells its supervisor: counts and readiness, or why it cannot start; JSON lines over a socket.

The socket is also the leash: when the supervisor is gone the worker reads its end, and drains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import orjson

from extauthz.telemetry.counts import Snapshot as CountsSnapshot

REPORT_EVERY_S: Final = 0.5
MAX_REPORT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one worker. `ready` says whether it may be sent requests.

    `ready_but_for_keys` says the same where missing keys do not count: in place of a worker that had them.
    `problems` say in words what is wrong.
    """

    ready: bool
    ready_but_for_keys: bool
    checks: Mapping[str, bool]
    counts: CountsSnapshot
    problems: Sequence[str] = ()

    def encode(self) -> bytes:
        """Return the report as one line."""
        fields = {
            "ready": self.ready,
            "ready_but_for_keys": self.ready_but_for_keys,
            "checks": dict(self.checks),
            "counts": self.counts,
            "problems": list(self.problems),
        }
        return orjson.dumps(fields) + b"\n"


@dataclass(frozen=True, slots=True)
class StartRefused:
    """The worker will not start; the text is for the operator."""

    message: str

    def encode(self) -> bytes:
        """Return the refusal as one line."""
        return orjson.dumps({"refused": self.message}) + b"\n"


def decode(line: bytes) -> Report | StartRefused:
    """Read what `encode` wrote. Both ends run the same code, so nothing is checked twice."""
    document = orjson.loads(line)
    if "refused" in document:
        return StartRefused(document["refused"])
    return Report(
        document["ready"],
        document["ready_but_for_keys"],
        document["checks"],
        cast("CountsSnapshot", document["counts"]),
        document["problems"],
    )
