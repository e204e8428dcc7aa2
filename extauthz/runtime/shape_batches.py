"""Sends the shapes of a worker to its control plane, in batches over the `ControlPlaneChannel`.

Input: a `ShapeCounter`. Output: batches, each sent until it is acknowledged. The answer names attributes that
are to be recorded too. What waits is bounded, and what is dropped is counted: no check waits for any of this.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import structlog

from extauthz.recording.batch import PATH
from extauthz.recording.counter import ShapeCounter
from extauthz.recording.documents import BatchWriter, Counted, Document
from extauthz.runtime.control_channel import ControlPlaneChannel, NotAcknowledgedError
from extauthz.telemetry.counts import Counts

ANSWER_S: Final = 10.0
LAST_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_AT_ONCE: Final = 20
"""Shapes that are made in one go, a third of a millisecond; checks run in between."""
_BREATH_S: Final = 0.001
_MAX_NAMES: Final = 1_000

_log = structlog.get_logger("extauthz.recording")


class ShapeBatches:
    """Sends the batches of one worker."""

    def __init__(
        self,
        channel: ControlPlaneChannel,
        counter: ShapeCounter,
        counts: Counts,
        *,
        instance: str,
        max_shapes: int,
    ) -> None:
        """Take the counter that is emptied; at most `max_shapes` wait to be sent."""
        self._channel = channel
        self._counter = counter
        self._counts = counts
        self._writer = BatchWriter(instance)
        self._max_shapes = max_shapes
        self._unsent: deque[Document] = deque()
        self._asked_for: dict[str, frozenset[str]] = {}
        self._taken: Iterator[Counted] | None = None
        self._failures = 0
        self._next = 0.0

    async def run(self) -> None:
        """Send what the counter hands over, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._collect()
            if self._unsent and clock() >= self._next:
                await self._send(ANSWER_S)
                if self._failures:
                    pause = min(2.0 ** (self._failures - 1), _LONGEST_PAUSE_S)
                    self._next = clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311
                    continue
            await asyncio.sleep(0 if self._unsent and not self._failures else _LOOK_EVERY_S)

    @contextlib.asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Send what is left after the body, which has the counter hand it over; `LAST_S` for both."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                yield
                await self._collect()
                while self._unsent:
                    await self._send(LAST_S)
                    if self._failures:
                        break
        while self._unsent:
            self._drop(self._unsent.popleft())

    async def _collect(self) -> None:
        while True:
            # Kept until it is read to its end: a task that is cancelled is followed by `ending`.
            self._taken = self._counter.take() if self._taken is None else self._taken
            if self._taken is None:
                return
            for made, one in enumerate(self._taken, start=1):
                self._put(self._writer.add(one))
                if made % _AT_ONCE == 0:
                    await asyncio.sleep(_BREATH_S)
            self._taken = None
            self._put(self._writer.finish())

    def _put(self, batch: Document | None) -> None:
        if batch is None:
            return
        self._unsent.append(batch)
        while sum(len(each["shapes"]) for each in self._unsent) > self._max_shapes:
            self._drop(self._unsent.popleft())

    def _drop(self, batch: Document) -> None:
        self._counts.not_recorded(sum(shape["requests"] for shape in batch["shapes"]))

    async def _send(self, within_s: float) -> None:
        try:
            answer = await self._channel.send(PATH, self._unsent[0], within_s=within_s)
        except NotAcknowledgedError as error:
            self._failures += 1
            if self._failures == 1:
                _log.warning("recordings_not_sent", url=self._channel.url, cause=str(error))
            if error.final:
                # This server takes none; what comes later is tried again, seldom.
                self._drop(self._unsent.popleft())
                self._failures = max(self._failures, 6)
            return
        if self._failures:
            _log.info("recordings_sent_again", url=self._channel.url)
        self._failures = 0
        sent = self._unsent.popleft()
        named = _attributes(answer)
        told = {tenant: named.get(tenant, frozenset()) for tenant in _tenants(sent)}
        self._asked_for = {**self._asked_for, **told}
        self._counter.record_also(self._asked_for)


def _tenants(batch: Document) -> set[str]:
    return {context["tenant"] for context in batch["contexts"]}


def _attributes(answer: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    named = answer.get("attributes")
    if not isinstance(named, dict):
        return {}
    return {
        tenant: frozenset(name for name in names[:_MAX_NAMES] if isinstance(name, str))
        for tenant, names in named.items()
        if isinstance(names, list)
    }
