"""The native transport: Envoy's Check and gRPC's health service on the HTTP/2 front of `pygrpc-native`.

The front frames, decodes and writes outside of the interpreter and hands over calls in batches, which one
thread answers in order. A check that has to wait (for the keys of an issuer) is finished on a thread of its
own, so that no other check waits for it.

The front has no TLS, no bound on a message, on connections or on calls that wait, so it serves loopback and
Unix sockets only (docs/hardening.md). INVARIANT: a Check that reached it is answered with a CheckResponse; an
RPC error would hand the choice to Envoy's `failure_mode_allow`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from extauthz.check import wire
from extauthz.check.activity import Activity
from extauthz.check.grpc_health import HEALTH_SERVICE, Health
from extauthz.check.grpcio_server import CHECK_SERVICE, MAX_METADATA_BYTES, MAX_RECEIVE_BYTES
from extauthz.check.listen_address import UNIX_PREFIX, ListenError, listen_problem

MAX_BATCH: Final = 64
"""Calls that are taken over from the front at once; a call waits for those of its batch at most."""

WAITING_CHECKS: Final = 8
"""Threads that finish checks which wait for keys."""

_IO_THREADS: Final = 1
_CHECK, _HEALTH = range(2)
_METHODS: Final = ((f"/{CHECK_SERVICE}/Check", False), (f"/{HEALTH_SERVICE}/Check", False))
_NOT_FOUND: Final = 5  # google.rpc.Code
_KEEPALIVE_MS: Final = 60_000
_KEEPALIVE_TIMEOUT_MS: Final = 20_000

_log = structlog.get_logger("extauthz.check")

Finish = Callable[[], bytes]
Begin = Callable[[bytes, float | None], bytes | Finish]
"""From CheckRequest bytes and the caller's remaining seconds (None: no deadline) to CheckResponse bytes, or
to the function that returns them after waiting."""


class NativeServer:
    """The gRPC server of one worker; its health is NOT_SERVING until `set_serving` says otherwise."""

    def __init__(
        self, begin: Begin, listen: Sequence[str], *, max_receive_bytes: int = MAX_RECEIVE_BYTES
    ) -> None:
        """Prepare to listen on each of `listen`: `host:port` (port 0: any free one) or `unix:path`."""
        self._begin = begin
        self._listen = tuple(listen)
        self._max_receive_bytes = max_receive_bytes
        self._activity = Activity()
        self._health = Health(CHECK_SERVICE)
        self._waiting = ThreadPoolExecutor(WAITING_CHECKS, thread_name_prefix="check-waiting")
        self._fronts: list[NativeGrpcFront] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> int:
        """Listen and answer; return the first TCP port, 0 with Unix sockets only.

        Raises:
            ListenError: an address is in use or cannot be bound; the server cannot be used again.
        """
        try:
            self._fronts = [self._bind(address) for address in self._listen]
        except ListenError:
            self._close()
            raise
        for front in self._fronts:
            front.start()
            thread = threading.Thread(target=self._serve, args=(front,), name="check", daemon=True)
            thread.start()
            self._threads.append(thread)
        bound = zip(self._listen, self._fronts, strict=True)
        return next((front.bound_port for address, front in bound if not address.startswith(UNIX_PREFIX)), 0)

    def set_serving(self, *, serving: bool) -> None:
        """Set what the health service says, for the server and for the Check service alike."""
        self._health.set_serving(serving=serving)

    def stalled_s(self) -> float:
        """Return for how many seconds the batch that is being answered has taken; 0 when there is none."""
        began = [each for each in self._batches if each is not None]
        return time.monotonic() - min(began) if began else 0.0

    def drain(self, grace_s: float, *, notice_s: float = 0.0, quiet_s: float = 0.25) -> bool:
        """Say NOT_SERVING from now on, answer until nothing has arrived for `quiet_s`, then stop.

        Callers learn of it within `notice_s`; see `Activity.wait_until_idle`. Stops at the latest after
        `grace_s`; then calls that still run are cut off. Return whether the server was idle before that.
        """
        self._health.stop()
        idle = self._activity.wait_until_idle(
            grace_s, asked_at=self._health.asked_at, notice_s=notice_s, quiet_s=quiet_s
        )
        self._close()
        return idle

    def _bind(self, address: str) -> NativeGrpcFront:
        problem = listen_problem(address)
        if problem is not None:
            raise ListenError(address, problem)
        try:
            return NativeGrpcFront(
                address,
                _METHODS,
                io_threads=_IO_THREADS,
                call_details=True,
                max_metadata_size=MAX_METADATA_BYTES,
                keepalive_time_ms=_KEEPALIVE_MS,
                keepalive_timeout_ms=_KEEPALIVE_TIMEOUT_MS,
            )
        except (OSError, ValueError) as error:
            raise ListenError(address, "gRPC cannot use it") from error

    def _close(self) -> None:
        for front in self._fronts:
            front.close()
        for thread in self._threads:
            thread.join()
        self._waiting.shutdown(wait=False, cancel_futures=True)

    def _serve(self, front: NativeGrpcFront) -> None:
        while (events := front.recv_batch_details(MAX_BATCH)) is not None:
            received = time.monotonic()
            self._activity.began(len(events))
            unfinished = 0
            for kind, call, method, message, _key, details in events:
                if kind != EVENT_CALL or message is None:
                    continue
                if method == _HEALTH:
                    self._answer_health(front, call, message)
                    continue
                left = None if details is None else details[2]
                if left is not None:
                    # The front counts until the batch is handed over.
                    left -= time.monotonic() - received
                answer = self._begun(message, left)
                if isinstance(answer, bytes):
                    front.respond(call, answer)
                else:
                    unfinished += 1
                    self._waiting.submit(self._finish, front, call, answer)
            self._activity.ended(len(events) - unfinished)

    def _begun(self, message: bytes, left: float | None) -> bytes | Finish:
        try:
            # An over-long message is an empty one: denied, and logged.
            return self._begin(message if len(message) <= self._max_receive_bytes else b"", left)
        except Exception:  # noqa: BLE001  # INVARIANT: a deny inside a CheckResponse, never an RPC error
            _log.exception("check_failed")
            return wire.internal_error()

    def _finish(self, front: NativeGrpcFront, call: int, finish: Finish) -> None:
        try:
            try:
                answer = finish()
            except Exception:  # noqa: BLE001  # INVARIANT: as above
                _log.exception("check_failed")
                answer = wire.internal_error()
            front.respond(call, answer)
        finally:
            self._activity.ended()

    def _answer_health(self, front: NativeGrpcFront, call: int, message: bytes) -> None:
        answer = self._health.answer(message)
        if answer is None:
            front.fail(call, _NOT_FOUND, "")
        else:
            front.respond(call, answer)
