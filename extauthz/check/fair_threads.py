"""The threads that answer calls: connections take turns, so that one's flood is not everybody's queue.

With one queue for all, a call waits for every call that arrived before it, and those that run take the
interpreter from each other. Here each connection has a queue of its own, and while several are in use each
has one call computing at a time: whoever asks waits for one call of each other connection, however many more
those have sent. A connection that is alone has all threads.

What a call needs beside the interpreter (the keys of an issuer) it waits for without using it up: a call that
has run for longer than any computing takes no longer counts, and the next of its connection may start.

A turn can be long: most of what a megabyte costs is spent where nobody takes turns, in receiving it. After a
call that says so (`rest_after`) its connection rests for as long as the call took, or as computing takes at
most, and so has half the time; not while it is alone.
"""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_LONGEST_COMPUTING_S: Final = 0.01
_IN_USE_S: Final = 0.25
"""How long after its last call a connection counts as in use: not from one health check to the next."""

_Task = Callable[[], None]


def grpcio_connection(arguments: tuple[object, ...]) -> object:
    """Return the connection that a call came by, from what grpcio submits for it; None where it is unknown.

    grpcio names no connection before the handler runs, so this looks where it keeps the call. Should a later
    version keep it elsewhere, all calls share one queue, as they would in a `ThreadPoolExecutor`. So they do
    on a Unix socket, whose connections gRPC does not tell apart.
    """
    for argument in arguments:
        peer = getattr(getattr(argument, "call", None), "peer", None)
        if callable(peer):
            peer_name: object = peer()
            return peer_name
    return None


class FairThreads:
    """A fixed number of threads whose tasks belong to connections.

    `connection_of` tells the connection of a task from its arguments; `clock` is in seconds.
    """

    def __init__(
        self,
        threads: int,
        *,
        name: str,
        connection_of: Callable[[tuple[object, ...]], object] = grpcio_connection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads."""
        self._connection_of = connection_of
        self._clock = clock
        self._changed = threading.Condition()
        # In the order of their turns; no queue is empty.
        self._waiting: OrderedDict[object, deque[_Task]] = OrderedDict()
        self._started: dict[object, list[float]] = {}
        self._in_use: dict[object, float] = {}
        self._rests_until: dict[object, float] = {}
        self._forget_at = 0.0
        self._idle = 0
        self._looks_at = math.inf  # when one of the idle threads looks by itself at who waits
        self._ending = False
        self._moved_at = clock()  # when a task was last started or finished while others waited
        self._task = threading.local()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many tasks have not been started."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def stalled_s(self) -> float:
        """Return for how many seconds tasks have waited while none was started and none finished."""
        with self._changed:
            return self._clock() - self._moved_at if self._waiting else 0.0

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> "Future[Result]":
        """Run the task when it is its connection's turn."""
        future: Future[Result] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  # the future's owner gets it, not this thread
                future.set_exception(error)

        connection = self._connection_of(args)
        with self._changed:
            if self._ending:
                raise RuntimeError("the threads have been told to end")
            now = self._clock()
            self._use(connection, now)
            if not self._waiting:
                self._moved_at = now
            queue = self._waiting.get(connection)
            if queue is None:
                queue = self._waiting[connection] = deque()
            queue.append(task)
            if self._idle and (self._looks_at == math.inf or self._starts_at(connection) <= now):
                self._changed.notify()
        return future

    def rest_after(self) -> None:
        """Have the connection of the task that calls this rest after it, for as long as it computed."""
        self._task.rests = True

    def end(self) -> None:
        """Let the threads end after what was submitted; nobody waits for them."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                taken = self._take()
            if taken is None:
                return
            connection, started, task = taken
            self._task.rests = False
            task()
            # Whatever a call holds is let go before the next one is waited for.
            del taken, task
            with self._changed:
                self._moved_at = self._clock()
                running = self._started[connection]
                running.remove(started)
                if not running:
                    del self._started[connection]
                if self._task.rests:
                    now = self._clock()
                    self._rests_until[connection] = now + min(now - started, _LONGEST_COMPUTING_S)

    def _take(self) -> tuple[object, float, _Task] | None:
        while True:
            now = self._clock()
            for connection, queue in self._waiting.items():
                if self._starts_at(connection) > now:
                    continue
                task = queue.popleft()
                self._moved_at = now
                if queue:
                    self._waiting.move_to_end(connection)
                else:
                    del self._waiting[connection]
                self._started.setdefault(connection, []).append(now)
                if self._idle and self._needs_another(now):
                    self._changed.notify()
                return connection, now, task
            if self._ending and not self._waiting:
                # Who woke up at the end while calls still waited sleeps again, and would for ever.
                self._changed.notify_all()
                return None
            # While calls wait for their turn, one thread looks again when the first of them may start.
            look_at = min(map(self._starts_at, self._waiting), default=math.inf)
            looks = look_at < self._looks_at
            if looks:
                self._looks_at = look_at
            self._idle += 1
            self._changed.wait(look_at - now if looks else None)
            self._idle -= 1
            if looks:
                self._looks_at = math.inf

    def _needs_another(self, now: float) -> bool:
        if self._looks_at == math.inf:
            return bool(self._waiting)
        return any(self._starts_at(connection) <= now for connection in self._waiting)

    def _starts_at(self, connection: object) -> float:
        """Return when the next call of the connection may start, as things are; often that is past."""
        if len(self._in_use) < 2:
            return -math.inf
        running = self._started.get(connection)
        after = -math.inf if running is None else max(running) + _LONGEST_COMPUTING_S
        return max(after, self._rests_until.get(connection, -math.inf))

    def _use(self, connection: object, now: float) -> None:
        self._in_use[connection] = now
        if now >= self._forget_at:
            self._in_use = {name: last for name, last in self._in_use.items() if now - last < _IN_USE_S}
            self._rests_until = {name: until for name, until in self._rests_until.items() if until > now}
            self._forget_at = now + _IN_USE_S
