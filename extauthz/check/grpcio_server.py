"""The grpcio transport: Envoy's Check and gRPC's health service, synchronous, bytes in and bytes out.

It hosts one function and knows nothing of checks. INVARIANT: a Check that reached it is answered with a
CheckResponse; an RPC error would hand the choice to Envoy's `failure_mode_allow`. Therefore gRPC refuses no
call for load: a call that has waited too long is denied before its message is read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, cast

import grpc
import structlog

from extauthz.check import envoy_response
from extauthz.check.activity import Activity
from extauthz.check.bounds import EXPIRED, MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, OVERLOADED, is_overloaded
from extauthz.check.check_threads import CheckThreads
from extauthz.check.grpc_health import HEALTH_SERVICE, Health
from extauthz.check.grpc_tls import GrpcTls, is_expected_peer, server_credentials
from extauthz.check.listen_address import UNIX_PREFIX, GrpcListenError, listen_problem
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.telemetry.check_trace import CallMetadata

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

CHECK_SERVICE: Final = "envoy.service.auth.v3.Authorization"
MAX_RECEIVE_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""Of one message; a larger one is not received, and gRPC itself answers, with an RPC error."""

DEFAULT_THREADS: Final = 4
"""More wait for one interpreter lock; fewer stall together when keys have to be waited for."""

RECEIVE_S: Final = 1.0
"""How long a call's message may take; Envoy as shipped waits 0.2 s for the answer."""

_NO_DEADLINE_S: Final = 365 * 24 * 3600.0
_LAST_CALLS_S: Final = 1.0
"""For calls that crossed the GOAWAY of an idle server."""

_log = structlog.get_logger("extauthz.check")

AnswerCheck = Callable[[bytes, float | None], bytes]
"""From CheckRequest bytes and the caller's remaining seconds (None: no deadline) to CheckResponse bytes."""

AnswerTraced = Callable[[bytes, float | None, CallMetadata], bytes]
"""As `AnswerCheck`, with the metadata of the call."""

Refuse = Callable[[Malformed], bytes]
"""From the reason to the CheckResponse bytes of a denial that is logged."""

UNEXPECTED_PEER: Final = Malformed(Reason.INTERNAL_ERROR, "the caller is none of the expected proxies")


def refuse_unlogged(_refused: Malformed) -> bytes:
    """Return a denial without a reason."""
    return envoy_response.internal_error()


class GrpcioServer:
    """The gRPC server of one worker; its health is NOT_SERVING until `set_serving` says otherwise."""

    def __init__(
        self,
        answer: AnswerCheck,
        listen: Sequence[str],
        *,
        threads: int = DEFAULT_THREADS,
        tls: GrpcTls | None = None,
        refuse: Refuse = refuse_unlogged,
        max_receive_bytes: int = MAX_RECEIVE_BYTES,
        receive_s: float = RECEIVE_S,
        traced: AnswerTraced | None = None,
    ) -> None:
        """Prepare to listen on each of `listen`: `host:port` (port 0: any free one) or `unix:path`.

        `refuse` answers checks whose message is not read: those that waited too long, and those of callers
        whose certificate has none of the expected names. `traced` takes the place of `answer` where
        checks are traced.
        """
        self._traced = traced
        self._answer = answer
        self._refuse = refuse
        self._listen = tuple(listen)
        self._tls = tls
        self._activity = Activity()
        self._health = Health(CHECK_SERVICE)
        self._threads = CheckThreads(threads, receive_s=receive_s)
        # As a stream, so that a caller without a message is told apart from one that is answered.
        check = grpc.stream_unary_rpc_method_handler(self._check)
        health = grpc.stream_unary_rpc_method_handler(self._check_health)
        self._server = grpc.server(
            cast("ThreadPoolExecutor", self._threads),  # of which grpcio calls `submit` alone
            handlers=[
                grpc.method_handlers_generic_handler(CHECK_SERVICE, {"Check": check}),
                grpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": health}),
            ],
            options=_options(max_receive_bytes),
        )

    def start(self) -> int:
        """Listen and answer; return the first TCP port, 0 with Unix sockets only.

        Raises:
            GrpcListenError: an address is in use or cannot be bound; the server cannot be used again.
        """
        try:
            bound = [(address, self._bind(address)) for address in self._listen]
        except GrpcListenError:
            self._server.stop(None)
            self._threads.shutdown()
            raise
        self._server.start()
        return next((port for address, port in bound if not address.startswith(UNIX_PREFIX)), 0)

    @property
    def waiting(self) -> int:
        """How many calls have arrived and wait for a thread."""
        return self._threads.waiting

    def stalled_s(self) -> float:
        """Return for how many seconds no thread has made progress; asking gives them something to do."""
        return self._threads.stalled_s()

    def while_waiting(self) -> AbstractContextManager[None]:
        """Return what a call enters while it waits for another server: other threads then take its place."""
        return self._threads.waiting_elsewhere()

    def set_serving(self, *, serving: bool) -> None:
        """Set what the health service says, for the server and for the Check service alike."""
        self._health.set_serving(serving=serving)

    def drain(self, grace_s: float, *, notice_s: float = 0.0, quiet_s: float = 0.25) -> bool:
        """Say NOT_SERVING from now on, answer until nothing has arrived for `quiet_s`, then stop.

        Callers learn of it from their next health check: within `notice_s`, in which quiet means nothing yet.
        Without a recent health check or call that time is not spent.

        Stops at the latest after `grace_s`; then calls that still run are cut off. Return whether the server
        was idle before it stopped.
        """
        self._health.stop()
        until = time.monotonic() + grace_s
        idle = self._activity.wait_until_idle(
            grace_s, asked_at=self._health.asked_at, notice_s=notice_s, quiet_s=quiet_s
        )
        left = max(until - time.monotonic(), 0.0)
        self._server.stop(min(left, _LAST_CALLS_S)).wait()
        self._threads.shutdown()
        return idle

    def _bind(self, address: str) -> int:
        problem = listen_problem(address)
        if problem is not None:
            raise GrpcListenError(address, problem)
        try:
            if self._tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, server_credentials(self._tls))
        except (RuntimeError, ValueError) as error:
            problem = (
                "gRPC cannot use it" if self._tls is None else "gRPC cannot use it with this certificate"
            )
            raise GrpcListenError(address, problem) from error

    def _check(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self._activity.began()
        try:
            if self._tls is not None and not is_expected_peer(self._tls, context):
                return self._refuse(UNEXPECTED_PEER)
            left = _time_left(context)
            if left is not None and left <= 0:
                # gRPC has ended the call: no message follows.
                return self._refuse(EXPIRED)
            if is_overloaded(self._threads.waited_s, left):
                return self._refuse(OVERLOADED)
            # A call without a message that could be taken is an empty one, and so is a too large one: denied,
            # and logged.
            raw = self._threads.message(messages, context, b"")
            if len(raw) > MAX_MESSAGE_BYTES:
                _log.debug("message_too_large", bytes=len(raw), most=MAX_MESSAGE_BYTES)
                raw = b""
            if self._traced is not None:
                return self._traced(raw, _time_left(context), _metadata(context))
            return self._answer(raw, _time_left(context))
        except Exception:  # noqa: BLE001  # INVARIANT: a deny inside a CheckResponse, never an RPC error
            _log.exception("check_failed")
            return envoy_response.internal_error()
        finally:
            self._activity.ended()

    def _check_health(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        answered = self._health.answer(self._threads.message(messages, context, b""))
        if answered is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return b""
        return answered


def _metadata(context: grpc.ServicerContext) -> CallMetadata:
    return cast("CallMetadata", tuple(context.invocation_metadata()))


def _time_left(context: grpc.ServicerContext) -> float | None:
    left = context.time_remaining()
    return None if left > _NO_DEADLINE_S else left


def _options(max_receive_bytes: int) -> list[tuple[str, int]]:
    return [
        # A second process on the same port is an error: one of the two would starve.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_receive_bytes),
        # No compressed message is read: gRPC expands all of it before it looks at its size.
        ("grpc.compression_enabled_algorithms_bitset", 1 << grpc.Compression.NoCompression),
        # Between the two gRPC refuses at random.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # No larger window for a client that sends much: 64 KiB at a time hold any check without a body, and
        # bound what is buffered of a call that no thread has taken up yet.
        ("grpc.http2.bdp_probe", 0),
        # Envoy may ping as often as every five seconds, also while no check is under way.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A proxy that vanished without a FIN is noticed after 80 seconds.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
