"""`grpc.health.v1.Health`, as Envoy and Kubernetes ask it.

Only `Check` is there; `Watch` is UNIMPLEMENTED, which the protocol allows. The servicer that comes with
grpcio-health-checking holds its lock while it sends to watchers: a watcher that closes its connection during
a change of status then blocks the thread that serves every call of the process, checks included. Its messages
are used.
"""

import math
import time
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
WHOLE_SERVER: Final = ""

_STATUS: Final = health_pb2.HealthCheckResponse
_SERVING: Final[bytes] = _STATUS(status=_STATUS.SERVING).SerializeToString()
_NOT_SERVING: Final[bytes] = _STATUS(status=_STATUS.NOT_SERVING).SerializeToString()


class Health:
    """The health of the whole server and of the given services, which is one and the same.

    Starts as not serving. After `stop` it stays so, whatever is set later.
    """

    def __init__(self, *services: str) -> None:
        """Answer for the whole server and for `services`."""
        self._services = frozenset((WHOLE_SERVER, *services))
        self._serving = False
        self._stopped = False
        self.asked_at = -math.inf
        """When health was asked for last, in seconds of the monotonic clock."""

    def set_serving(self, *, serving: bool) -> None:
        """Set what is answered from now on."""
        self._serving = serving

    def stop(self) -> None:
        """Answer NOT_SERVING from now on."""
        self._stopped = True

    def answer(self, raw: bytes) -> bytes | None:
        """Return the HealthCheckResponse for a HealthCheckRequest; None: NOT_FOUND (an unknown service)."""
        self.asked_at = time.monotonic()
        try:
            service = health_pb2.HealthCheckRequest.FromString(raw).service
        except DecodeError:
            return None
        if service not in self._services:
            return None
        return _SERVING if self._serving and not self._stopped else _NOT_SERVING
