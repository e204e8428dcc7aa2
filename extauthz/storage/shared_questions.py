"""Questions to the database that several callers share: thousands of followers come back in one moment."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Found = TypeVar("_Found")


class SharedQuestions:
    """The questions under way, by what they ask for. Used by one event loop."""

    def __init__(self) -> None:
        self._asked: dict[object, asyncio.Task[Any]] = {}
        self._next: dict[object, asyncio.Task[Any]] = {}

    async def ask(self, what: object, ask: Callable[[], Coroutine[None, None, _Found]]) -> _Found:
        """Return the answer of `ask`, or of the question for the same that is under way."""
        task = self._asked.get(what)
        if task is None:
            task = self._asked[what] = asyncio.create_task(ask())
            task.add_done_callback(lambda _: self._asked.pop(what, None))
        # One caller that goes away does not end the question of the others.
        found: _Found = await asyncio.shield(task)
        return found

    async def ask_anew(self, what: object, ask: Callable[[], Coroutine[None, None, _Found]]) -> _Found:
        """Return the answer of a question that begins after this call, shared by the callers before it."""
        task = self._next.get(what)
        if task is None:
            task = self._next[what] = asyncio.create_task(self._after(what, ask))
        found: _Found = await asyncio.shield(task)
        return found

    async def _after(self, what: object, ask: Callable[[], Coroutine[None, None, _Found]]) -> _Found:
        """Ask when the question that is under way is answered, so that there is one at a time."""
        while (before := self._asked.get(what)) is not None:
            await asyncio.wait({before})
        task = self._asked[what] = self._next.pop(what)
        try:
            return await ask()
        finally:
            if self._asked.get(what) is task:
                del self._asked[what]
