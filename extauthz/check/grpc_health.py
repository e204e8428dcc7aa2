"""`grpc.health.v1.Health`, as Envoy and Kubernetes ask it.

Only `Check` is there; `Watch` is UNIMPLEMENTED, which the protocol allows. The servicer that comes with
grpcio-health-checking holds its lock while it sends to watchers: one that hangs up during a change of status
then blocks the thread that serves every call of the process, checks included. Its messages are used.
"""

import math
import time
from collections.abc import Iterator
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from extauthz.check.slow_callers import SlowCallers

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
WHOLE_SERVER: Final = ""

_STATUS: Final = health_pb2.HealthCheckResponse


class HealthService:
    """The health of the whole server and of the given services, which is one and the same.

    Starts as not serving. After `stop` it stays so, whatever is said later.
    """

    def __init__(self, slow_callers: SlowCallers, *services: str) -> None:
        """Answer for the whole server and for `services`."""
        self._slow_callers = slow_callers
        self._services = frozenset((WHOLE_SERVER, *services))
        self._serving = False
        self._stopped = False
        self.asked_at = -math.inf
        """When health was asked for last, in seconds of the monotonic clock."""

    def set_serving(self, *, serving: bool) -> None:
        """Set what is answered from now on."""
        self._serving = serving

    def stop(self) -> None:
        """Answer NOT_SERVING for good."""
        self._stopped = True

    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Return the service for a grpcio server."""
        check = grpc.stream_unary_rpc_method_handler(
            self._check,
            request_deserializer=health_pb2.HealthCheckRequest.FromString,
            response_serializer=_STATUS.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": check})

    def _check(
        self, requests: Iterator[health_pb2.HealthCheckRequest], context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        request = self._slow_callers.message(requests, context, health_pb2.HealthCheckRequest())
        self.asked_at = time.monotonic()
        if request.service not in self._services:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return _STATUS()
        serving = self._serving and not self._stopped
        return _STATUS(status=_STATUS.SERVING if serving else _STATUS.NOT_SERVING)
