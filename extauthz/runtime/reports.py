"""The messages of a worker to its supervisor: a `WorkerReport` twice a second, or a `StartRefused`.

Each is one line of JSON on a socket. The supervisor never writes to it; when the supervisor ends, the worker
reads the end of the stream and drains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import orjson

from extauthz.telemetry.counts import CountTotals

REPORT_EVERY_S: Final = 0.5
MAX_REPORT_BYTES: Final = 1 << 20
MAX_REFUSAL_LENGTH: Final = 16_384


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The state of one worker.

    `ready`: it may receive requests. `ready_but_for_keys`: the same without the check of keys, for a worker
    that replaces one that had keys. `problems` are texts for the health endpoint. `listening`: its listeners
    are open. `busy`: it loads policies and may be silent for long. `stuck`: why it answers no checks although
    it reports, or None.
    """

    ready: bool
    ready_but_for_keys: bool
    checks: Mapping[str, bool]
    counts: CountTotals
    problems: Sequence[str] = ()
    listening: bool = False
    draining: bool = False
    busy: bool = False
    stuck: str | None = None

    def encode(self) -> bytes:
        """Return the report as one line."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__}) + b"\n"


@dataclass(frozen=True, slots=True)
class StartRefused:
    """The worker cannot start; `message` tells the operator why."""

    message: str

    def encode(self) -> bytes:
        """Return the refusal as one line."""
        return orjson.dumps({"refused": self.message[:MAX_REFUSAL_LENGTH]}) + b"\n"


def decode(line: bytes) -> WorkerReport | StartRefused:
    """Return the message in a line that `encode` wrote; both processes run the same code.

    Raises:
        ValueError: the line is incomplete, because its writer was killed.
    """
    document = orjson.loads(line)
    if "refused" in document:
        return StartRefused(document["refused"])
    return WorkerReport(**document | {"counts": cast("CountTotals", document["counts"])})
