"""What a worker tells its supervisor: its state twice a second, or why it cannot start; JSON lines.

The socket is also the leash: when the supervisor is gone the worker reads its end, and drains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import orjson

from extauthz.telemetry.counts import CountTotals as CountsSnapshot

REPORT_EVERY_S: Final = 0.5
MAX_REPORT_BYTES: Final = 1 << 20
MAX_REFUSAL_LENGTH: Final = 16_384
MAX_KEY_USES: Final = 2_000
"""Of service keys, in one report; further ones are in the next."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The state of one worker. `ready` says whether it may be sent requests.

    `ready_but_for_keys` says the same where missing keys do not count: in place of a worker that had them.
    `problems` say in words what is wrong. `listening` is true once its listeners are open. `busy` announces
    that it may be silent for long, because it loads policies. `stuck` says why it answers no checks although
    it reports. `key_uses` are tenant, id and time (POSIX seconds) of the last uses of service keys.
    """

    ready: bool
    ready_but_for_keys: bool
    checks: Mapping[str, bool]
    counts: CountsSnapshot
    problems: Sequence[str] = ()
    listening: bool = False
    draining: bool = False
    busy: bool = False
    stuck: str | None = None
    key_uses: Sequence[tuple[str, str, float]] = ()

    def encode(self) -> bytes:
        """Return the report as one line."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__}) + b"\n"


@dataclass(frozen=True, slots=True)
class StartRefused:
    """The worker will not start; the text is for the operator."""

    message: str

    def encode(self) -> bytes:
        """Return the refusal as one line."""
        return orjson.dumps({"refused": self.message[:MAX_REFUSAL_LENGTH]}) + b"\n"


def decode(line: bytes) -> WorkerReport | StartRefused:
    """Read what `encode` wrote. Both ends run the same code, so nothing is checked twice.

    Raises:
        ValueError: the line is not whole; its writer was killed.
    """
    document = orjson.loads(line)
    if "refused" in document:
        return StartRefused(document["refused"])
    return WorkerReport(**document | {"counts": cast("CountsSnapshot", document["counts"])})
