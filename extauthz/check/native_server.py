"""The native transport: Envoy's Check and gRPC's health service on the HTTP/2 front of `pygrpc-native`.

The front frames, decodes and writes outside of the interpreter and hands over calls in batches, which one
thread answers in order. A token that is seen first is verified after the other calls of its batch have been
answered. A check that has to wait (for the keys of an issuer) is finished on a thread of its own, so that no
other check waits for it.

The front has no TLS, no bound on a message, on connections or on calls that wait, so it serves loopback and
Unix sockets only (docs/hardening.md). INVARIANT: a Check that reached it is answered with a CheckResponse; an
RPC error would hand the choice to Envoy's `failure_mode_allow`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import structlog
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from extauthz.check import envoy_response
from extauthz.check.activity import Activity
from extauthz.check.bounds import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, OVERLOADED, is_overloaded
from extauthz.check.grpc_health import HEALTH_SERVICE, Health
from extauthz.check.grpcio_server import CHECK_SERVICE, Refuse, refuse_unlogged
from extauthz.check.listen_address import UNIX_PREFIX, GrpcListenError, listen_addresses, listen_problem
from extauthz.check.native_batches import Batches, CallBatch
from extauthz.check.service import Later

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

    from extauthz.decide.tokens.introspection import Introspected
    from extauthz.telemetry.check_trace import CallMetadata

ANSWERED_PER_VERIFICATION: Final = 4
"""Calls of a batch for each verification after it; one verification costs about as much as they do."""

ANSWERED_TOGETHER: Final = 16
"""Answers of a batch that are handed over at once: each hand-over wakes the front's thread, which would then
run between two checks and find the caches of the processor filled by the other."""

WAITING_CHECKS: Final = 8
"""Threads that finish checks which wait for keys."""

_IO_THREADS: Final = 1
_CHECK, _HEALTH = range(2)
_METHODS: Final = ((f"/{CHECK_SERVICE}/Check", False), (f"/{HEALTH_SERVICE}/Check", False))
_NOT_FOUND: Final = 5  # google.rpc.Code
_LAST_CHECK_S: Final = 1.0
_LAST_WRITES_S: Final = 0.1
_KEEPALIVE_MS: Final = 60_000
_KEEPALIVE_TIMEOUT_MS: Final = 20_000

_log = structlog.get_logger("extauthz.check")

Begin = Callable[[bytes, float | None], bytes | Later]
"""From CheckRequest bytes and the caller's remaining seconds (None: no deadline) to CheckResponse bytes, or
to a check that is answered later."""

BeginTraced = Callable[[bytes, float | None, "CallMetadata"], bytes | Later]
"""As `Begin`, with the metadata of the call."""


class NativeServer:
    """The gRPC server of one worker; its health is NOT_SERVING until `set_serving` says otherwise."""

    def __init__(
        self,
        begin: Begin,
        listen: Sequence[str],
        *,
        refuse: Refuse = refuse_unlogged,
        max_receive_bytes: int = MAX_MESSAGE_BYTES,
        traced: BeginTraced | None = None,
    ) -> None:
        """Prepare to listen on each of `listen`: `host:port` (port 0: any free one) or `unix:path`.

        `refuse` answers checks that have waited too long; their messages are not read. `traced` takes the
        place of `begin` where checks are traced.
        """
        self._traced = traced
        self._begin = begin
        self._refuse = refuse
        self._listen = tuple(listen)
        self._max_receive_bytes = max_receive_bytes
        self._activity = Activity()
        self._health = Health(CHECK_SERVICE)
        self._waiting = ThreadPoolExecutor(WAITING_CHECKS, thread_name_prefix="check-waiting")
        self._fronts: list[NativeGrpcFront] = []
        self._batches: dict[int, float] = {}
        self._port = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> int:
        """Listen and answer; return the first TCP port, 0 with Unix sockets only.

        Raises:
            GrpcListenError: an address is in use or cannot be bound; the server cannot be used again.
        """
        try:
            for address in self._listen:
                self._bind(address)
        except GrpcListenError:
            self._close()
            raise
        for number, front in enumerate(self._fronts):
            front.start()
            thread = threading.Thread(target=self._serve, args=(number, front), name="check", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self._port

    def set_serving(self, *, serving: bool) -> None:
        """Set what the health service says, for the server and for the Check service alike."""
        self._health.set_serving(serving=serving)

    def stalled_s(self) -> float:
        """Return for how many seconds the batch that is being answered has taken; 0 without such a batch.

        Infinite when a thread that takes calls has ended although the server has not been closed.
        """
        if not all(thread.is_alive() for thread in self._threads):
            return math.inf
        began = list(self._batches.values())
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
        if idle:
            # The front writes answers by itself, and closing throws away what it has not written.
            time.sleep(_LAST_WRITES_S)
        self._close()
        return idle

    def _bind(self, address: str) -> None:
        problem = listen_problem(address)
        if problem is not None:
            raise GrpcListenError(address, problem)
        port, failed = None, None
        for each in listen_addresses(address):
            try:
                self._fronts.append(_front(each if port is None else f"{each.rpartition(':')[0]}:{port}"))
            except (OSError, ValueError) as error:
                failed = error
            else:
                port = self._fronts[-1].bound_port
                if not address.startswith(UNIX_PREFIX):
                    self._port = self._port or port
        if port is None:
            raise GrpcListenError(address, "gRPC cannot use it") from failed

    def _close(self) -> None:
        for front in self._fronts:
            front.close()
        for thread in self._threads:
            # A check that has not ended by now has no caller left.
            thread.join(_LAST_CHECK_S)
        self._waiting.shutdown(wait=False, cancel_futures=True)

    def _serve(self, number: int, front: NativeGrpcFront) -> None:
        batches = Batches(front)
        unverified: deque[tuple[int, Later]] = deque()
        # While tokens are to be verified, calls that have arrived meanwhile are answered in between.
        while (batch := batches.next(wait=not unverified)) is not None:
            events = batch.events
            self._batches[number] = batch.received_at
            # Health checks never end, so they do not keep a drain from ending.
            checks = sum(event[0] == EVENT_CALL and event[2] == _CHECK for event in events)
            if checks:
                self._activity.began(checks)
            answers: list[tuple[int, bytes]] = []
            for event in events:
                try:
                    checks -= self._take(front, event, batch, unverified, answers)
                except Exception:  # noqa: BLE001  # INVARIANT: a deny inside a CheckResponse, never an RPC error
                    _log.exception("check_failed")
                    answers.append((event[1], envoy_response.internal_error()))
                if len(answers) == ANSWERED_TOGETHER:
                    _send(front, answers)
            _send(front, answers)
            if checks:
                self._activity.ended(checks)
            for _ in range(min(len(unverified), 1 + len(events) // ANSWERED_PER_VERIFICATION)):
                self._finish(front, *unverified.popleft())
            del self._batches[number]
        for call, later in unverified:
            # No caller is left, but each check that began is logged.
            self._finish(front, call, later)

    def _take(
        self,
        front: NativeGrpcFront,
        event: DetailedEvent,
        batch: CallBatch,
        unverified: deque[tuple[int, Later]],
        answers: list[tuple[int, bytes]],
    ) -> bool:
        """Answer one call, by adding to `answers`; return whether it is finished later."""
        kind, call, method, message, _key, details = event
        if kind != EVENT_CALL or message is None:
            return False
        if method == _HEALTH:
            self._answer_health(front, call, message)
            return False
        left = None if details is None else details[2]
        in_batch = time.monotonic() - batch.received_at
        if left is not None:
            # The front counts the time in its queue; the time in the batch is added here.
            left -= in_batch
        metadata = details[0] if self._traced is not None and details is not None else None
        answer = self._begun(message, left, batch.waited_s + in_batch, metadata)
        if isinstance(answer, bytes):
            answers.append((call, answer))
            return False
        if answer.waits:
            self._finish_after(front, call, answer)
        else:
            unverified.append((call, answer))
        return True

    def _begun(
        self, message: bytes, left: float | None, waited_s: float, metadata: CallMetadata | None
    ) -> bytes | Later:
        if is_overloaded(waited_s, left):
            return self._refuse(OVERLOADED)
        # A too large message is an empty one: denied, and logged.
        raw = message if len(message) <= self._max_receive_bytes else b""
        if metadata is None or self._traced is None:
            return self._begin(raw, left)
        return self._traced(raw, left, metadata)

    def _finish(self, front: NativeGrpcFront, call: int, later: Later) -> None:
        """Finish a check; one that has to wait then goes on in a thread of its own."""
        try:
            answer = later.finish()
        except Exception:  # noqa: BLE001  # INVARIANT: as above
            _log.exception("check_failed")
            answer = envoy_response.internal_error()
        if isinstance(answer, Later):
            self._finish_after(front, call, answer)
            return
        try:
            front.respond(call, answer)
        finally:
            self._activity.ended()

    def _finish_after(self, front: NativeGrpcFront, call: int, later: Later) -> None:
        """Finish a check in a thread of its own, once what it waits for is there; no thread waits."""
        if later.after is None:
            self._waiting.submit(self._finish, front, call, later)
            return

        def answered(_: Future[Introspected | None]) -> None:
            try:
                self._waiting.submit(self._finish, front, call, later)
            except RuntimeError:
                # The server has closed: no caller is left, but each check that began is logged.
                self._finish(front, call, later)

        later.after.add_done_callback(answered)

    def _answer_health(self, front: NativeGrpcFront, call: int, message: bytes) -> None:
        answer = self._health.answer(message)
        if answer is None:
            front.fail(call, _NOT_FOUND, "")
        else:
            front.respond(call, answer)


def _send(front: NativeGrpcFront, answers: list[tuple[int, bytes]]) -> None:
    """Hand answers over to the front, and empty the list."""
    for call, answer in answers:
        front.respond(call, answer)
    answers.clear()


def _front(address: str) -> NativeGrpcFront:
    return NativeGrpcFront(
        address,
        _METHODS,
        io_threads=_IO_THREADS,
        call_details=True,
        max_metadata_size=MAX_METADATA_BYTES,
        keepalive_time_ms=_KEEPALIVE_MS,
        keepalive_timeout_ms=_KEEPALIVE_TIMEOUT_MS,
    )
