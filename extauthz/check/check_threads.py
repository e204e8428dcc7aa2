"""The threads that answer the calls of the grpcio server, and the requests of the HTTP server.

grpcio hands a call to its executor when the headers have arrived, and waits for the message in the thread
that took the call. A fixed number of threads would be used up by as many calls that are never finished.
Here threads that have waited for a message for a while are replaced, up to a bound, and a call whose message
does not arrive in time is cancelled.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final, ParamSpec, Protocol, TypeVar

import grpc
import structlog

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_Message = TypeVar("_Message")

MOST_THREADS: Final = 256
"""The largest number of threads, including those that wait for messages."""

_LATE_S: Final = 0.1
"""A thread that has waited for a message for so long does not count as one that answers."""

_Task = Callable[[], None]

_log = structlog.get_logger("extauthz.check")


class CancellableCall(Protocol):
    """The method of `grpc.ServicerContext` that is used here."""

    def cancel(self) -> object:
        """End the call with an RPC error."""


class CheckThreads(Executor):
    """`threads` threads that run tasks in the order of their arrival, and one that replaces late ones.

    They are daemon threads: one that never ends does not keep the process from ending.
    """

    def __init__(self, threads: int, *, receive_s: float) -> None:
        """Start the threads; a message may take `receive_s` seconds to arrive."""
        self._usual = threads
        self._running = 0  # changed by one thread at a time: this one, then the one that looks after them
        self._receive_s = receive_s
        self._tasks: SimpleQueue[tuple[float, _Task] | None] = SimpleQueue()
        # By thread: since when it waits for the message of which call.
        self._receiving: dict[int, tuple[float, CancellableCall]] = {}
        self._elsewhere: dict[int, float] = {}
        self._task = threading.local()
        self._moved_at = time.monotonic()  # when a task was last started or finished
        self._probed_at: float | None = None
        self._ended = threading.Event()
        self._start(threads)
        threading.Thread(target=self._look_after, name="check-receiving", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many tasks have not been started."""
        return self._tasks.qsize()

    @property
    def waited_s(self) -> float:
        """How many seconds the task of the calling thread waited for that thread."""
        waited_s: float = self._task.waited_s
        return waited_s

    def stalled_s(self) -> float:
        """Return for how many seconds a task has waited while none was started or finished.

        Each look submits a task that does nothing, unless that of the look before still waits.
        """
        now = time.monotonic()
        if self._probed_at is None:
            self._probed_at = now
            self._tasks.put((now, self._probed))
        return now - max(self._probed_at or now, self._moved_at)

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> "Future[Result]":
        """Run the function in a thread."""
        if self._ended.is_set():
            raise RuntimeError("the threads have been told to end")
        future: Future[Result] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  # for the owner of the future, not for this thread
                future.set_exception(error)

        self._tasks.put((time.monotonic(), task))
        return future

    def message(self, messages: Iterator[_Message], call: CancellableCall, empty: _Message) -> _Message:
        """Return the first message of a call; `empty` when it ended without one that could be taken."""
        thread = threading.get_ident()
        self._receiving[thread] = (time.monotonic(), call)
        try:
            return next(messages, empty)
        except grpc.RpcError:
            return empty
        finally:
            del self._receiving[thread]

    @contextmanager
    def waiting_elsewhere(self) -> Iterator[None]:
        """Have other threads take the place of this one while it waits for something else than a message."""
        thread = threading.get_ident()
        self._elsewhere[thread] = time.monotonic()
        try:
            yield
        finally:
            self._elsewhere.pop(thread, None)

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Let the threads end after what was submitted; nothing waits for them."""
        self._ended.set()

    def _start(self, threads: int) -> None:
        for _ in range(threads):
            threading.Thread(target=self._run, name=f"check_{self._running}", daemon=True).start()
            self._running += 1

    def _stop(self, threads: int) -> None:
        for _ in range(threads):
            self._tasks.put(None)
            self._running -= 1

    def _run(self) -> None:
        while (taken := self._tasks.get()) is not None:
            arrived_at, task = taken
            self._moved_at = now = time.monotonic()
            self._task.waited_s = now - arrived_at
            task()
            # What a call holds is let go before the next one is waited for.
            del taken, task
            self._moved_at = time.monotonic()

    def _probed(self) -> None:
        self._probed_at = None

    def _look_after(self) -> None:
        while not self._ended.wait(_LATE_S):
            now = time.monotonic()
            late = [each for each in list(self._receiving.values()) if now - each[0] > _LATE_S]
            for since, call in late:
                if now - since > self._receive_s:
                    # An RPC error: no complete message has arrived that could be judged.
                    call.cancel()
            # Twice as many as are late: where more such calls wait for a thread, the next look finds them.
            elsewhere = [since for since in list(self._elsewhere.values()) if now - since > _LATE_S / 2]
            wanted = min(self._usual + 2 * (len(late) + len(elsewhere)), MOST_THREADS)
            try:
                self._start(wanted - self._running)
            except RuntimeError:
                _log.exception("threads_unavailable", threads=self._running)
            self._stop(self._running - wanted)
        self._stop(self._running)
