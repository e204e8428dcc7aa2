"""Introspects tokens in the background; requests about one token share one question to its issuer.

Input: `NeedsIntrospection`. Output: `Introspected`, remembered in `IntrospectedTokens`. A failure is logged,
and is never remembered for a token.

- An issuer is asked at most `CONCURRENT` questions at a time; at most `MOST_OPEN` are open, and further
  tokens are `overloaded`. A flood of invented tokens costs it that much.
- After a question that found no answer at all, one question at a time is asked until there is an answer
  again; other tokens are refused at once. So an issuer that hangs holds no requests.
- A request waits for its own time; a question goes on until the issuer's `timeout`, so that its answer is
  known when the request is repeated.
"""

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from extauthz.decide.introspected_token import read_answer
from extauthz.decide.needs import NeedsIntrospection
from extauthz.decide.tokens.introspection import Introspected, IntrospectedTokens
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.reasons import Reason
from extauthz.keys.introspection_request import IntrospectionFailed, IntrospectionRequests
from extauthz.keys.provider_http import ProviderHttp
from extauthz.keys.source import IssuerSource
from extauthz.telemetry.counts import IntrospectionOutcome
from extauthz.telemetry.spans import SpanKind, Tracing, running

CONCURRENT: Final = 16
MOST_OPEN: Final = 256
LOG_EVERY_S: Final = 30.0
INTROSPECT: Final = "extauthz.introspect"
"""The span of a question about a token, with one of its HTTP request below it."""

IntrospectedMembers = Mapping[str, object]
IntrospectionAnswer = Introspected | None
"""None: the request does not wait any longer, or nothing can be asked."""

_SILENT: Final = Rejected(
    Reason.INTROSPECTION_UNAVAILABLE, "the issuer did not answer, and is being asked again"
)
_TOO_MANY: Final = Rejected(Reason.OVERLOADED, "too many tokens wait for their introspection")
_FAILED: Final = {
    IntrospectionOutcome.UNREACHABLE: "the issuer does not answer",
    IntrospectionOutcome.REFUSED: "the issuer answered with an error",
    IntrospectionOutcome.CLIENT_REFUSED: "the issuer does not accept this service as a client",
    IntrospectionOutcome.INVALID: "the answer of the issuer cannot be used",
}

_log = structlog.get_logger("extauthz.keys")


@dataclass(slots=True, eq=False)
class _Question:
    """A question about one token. `waiting` and `answer` belong to the event loop."""

    provider: "_Provider"
    needs: NeedsIntrospection
    waiting: "dict[Future[IntrospectionAnswer], asyncio.TimerHandle]" = field(default_factory=dict)
    is_open: bool = True
    answer: IntrospectionAnswer = None


@dataclass(slots=True, eq=False)
class _Provider:
    """The state of one issuer. `open` is by key, of questions without an answer."""

    source: IssuerSource
    slots: asyncio.Semaphore
    open: dict[bytes, _Question] = field(default_factory=dict)
    silent: bool = False
    logged: IntrospectionOutcome | None = None
    logged_at: float = 0.0
    failures: int = 0


class Introspector:
    """See the module. `ask` and `configure` are thread-safe; `clock` returns POSIX seconds.

    `on_outcome` is called with the outcome of each question, and of each one that is not asked.
    """

    def __init__(
        self,
        http: ProviderHttp,
        secret: bytes,
        *,
        clock: Callable[[], float] = time.time,
        on_outcome: Callable[[IntrospectionOutcome], None] = lambda _: None,
        tracing: Tracing | None = None,
    ) -> None:
        """Use the connections of `http`; see `IntrospectedTokens` for `secret`."""
        self.remembered = IntrospectedTokens(secret)
        self._requests = IntrospectionRequests(http)
        self._clock = clock
        self._on_outcome = on_outcome
        self._tracing = tracing
        self._lock = threading.Lock()
        self._providers: dict[str, _Provider] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: asyncio.TaskGroup | None = None

    def configure(self, sources: Iterable[IssuerSource]) -> None:
        """Set the issuers that may be asked; the state of an unchanged one is kept."""
        wanted: dict[str, _Provider] = {}
        with self._lock:
            for source in sources:
                if source.introspection is None:
                    continue
                known = self._providers.get(source.config.issuer)
                if known is not None and known.source == source:
                    wanted[source.config.issuer] = known
                else:
                    wanted[source.config.issuer] = _Provider(source, asyncio.Semaphore(CONCURRENT))
            self._providers = wanted

    def ask(self, needs: NeedsIntrospection, wait_s: float) -> "Future[IntrospectionAnswer]":
        """Return a future of the answer, which is done within `wait_s` seconds; do not cancel it."""
        mine: Future[IntrospectionAnswer] = Future()
        mine.set_running_or_notify_cancel()
        with self._lock:
            question = self._question(needs)
            loop = self._loop
            if isinstance(question, _Question) and loop is not None:
                loop.call_soon_threadsafe(self._wait, question, mine, wait_s)
                return mine
        mine.set_result(question if isinstance(question, Introspected) else None)
        return mine

    async def run(self) -> None:
        """Ask what is to be asked, until cancelled; then end every wait."""
        try:
            async with asyncio.TaskGroup() as tasks:
                with self._lock:
                    self._loop, self._tasks = asyncio.get_running_loop(), tasks
                await asyncio.Event().wait()
        finally:
            with self._lock:
                self._loop = self._tasks = None
                left = [each for provider in self._providers.values() for each in provider.open.values()]
            for question in left:
                self._end(question, None)

    def _question(self, needs: NeedsIntrospection) -> _Question | IntrospectionAnswer:
        """Return the open question about the token, a new one, or why there is none."""
        provider = self._providers.get(needs.config.issuer)
        if provider is None or self._loop is None or provider.source.config != needs.config:
            return None
        question = provider.open.get(needs.key)
        if question is not None:
            return question
        if provider.silent and provider.open:
            return self._unanswered(needs, _SILENT)
        if len(provider.open) >= MOST_OPEN:
            self._on_outcome(IntrospectionOutcome.OVERLOADED)
            return self._unanswered(needs, _TOO_MANY)
        question = provider.open[needs.key] = _Question(provider, needs)
        self._loop.call_soon_threadsafe(self._begin, question)
        return question

    def _unanswered(self, needs: NeedsIntrospection, why: Rejected) -> Introspected:
        now = self._clock()
        return Introspected(needs.key, needs.config, why, now, now)

    def _begin(self, question: _Question) -> None:
        if self._tasks is None:
            self._end(question, None)
        else:
            self._tasks.create_task(self._answered(question))

    def _wait(self, question: _Question, mine: "Future[IntrospectionAnswer]", wait_s: float) -> None:
        if not question.is_open:
            mine.set_result(question.answer)
            return
        loop = asyncio.get_running_loop()
        question.waiting[mine] = loop.call_later(max(0.0, wait_s), self._give_up, question, mine)

    def _give_up(self, question: _Question, mine: "Future[IntrospectionAnswer]") -> None:
        if question.waiting.pop(mine, None) is not None:
            mine.set_result(None)

    def _end(self, question: _Question, answer: IntrospectionAnswer) -> None:
        with self._lock:
            question.provider.open.pop(question.needs.key, None)
        question.is_open, question.answer = False, answer
        waiting, question.waiting = question.waiting, {}
        for mine, timer in waiting.items():
            timer.cancel()
            mine.set_result(answer)

    async def _answered(self, question: _Question) -> None:
        answer: IntrospectionAnswer = None
        try:
            if self._tracing is None:
                answer = await self._asked(question.provider, question.needs)
            else:
                # Below the request that asked first: the loop runs this in the context of that request.
                issuer = question.needs.config.issuer
                with running(self._tracing.begin(INTROSPECT, SpanKind.INTERNAL, {"extauthz.issuer": issuer})):
                    answer = await self._asked(question.provider, question.needs)
        finally:
            self._end(question, answer)

    async def _asked(self, provider: _Provider, needs: NeedsIntrospection) -> Introspected:
        client = provider.source.introspection
        assert client is not None
        asking = False
        now = self._clock()
        try:
            async with asyncio.timeout(client.timeout), provider.slots:
                asking, now = True, self._clock()
                found = await self._requests.ask(provider.source, needs.token, now)
        except TimeoutError:
            if not asking:
                self._on_outcome(IntrospectionOutcome.OVERLOADED)
                return self._unanswered(needs, _TOO_MANY)
            detail = f"no complete answer within {client.timeout:g} s"
            found = IntrospectionFailed(IntrospectionOutcome.UNREACHABLE, detail)
        except Exception as bug:  # noqa: BLE001 - an unexpected error must not end the other questions
            found = IntrospectionFailed(IntrospectionOutcome.INVALID, _unexpected(bug))
        if isinstance(found, IntrospectionFailed):
            self._failed(provider, found)
            why = Rejected(Reason.INTROSPECTION_UNAVAILABLE, _FAILED[found.outcome])
            return self._unanswered(needs, why)
        return self._read(provider, needs.key, found, needs.config, now)

    def _read(
        self, provider: _Provider, key: bytes, members: IntrospectedMembers, config: IssuerConfig, now: float
    ) -> Introspected:
        answer = read_answer(key, members, config, now)
        self.remembered.remember(answer)
        outcome = IntrospectionOutcome.ACTIVE
        if isinstance(answer.found, Rejected):
            outcome = IntrospectionOutcome.INACTIVE
            if members.get("active") is not False:
                # The issuer says something else than "not active", so its configuration may be wrong.
                _log.debug("introspection_refused", issuer=config.issuer, detail=answer.found.detail)
        self._on_outcome(outcome)
        provider.silent = False
        if provider.logged is not None:
            _log.info("introspection_works_again", issuer=config.issuer, failures=provider.failures)
            provider.logged, provider.failures = None, 0
        return answer

    def _failed(self, provider: _Provider, failed: IntrospectionFailed) -> None:
        self._on_outcome(failed.outcome)
        provider.silent = failed.outcome is IntrospectionOutcome.UNREACHABLE
        provider.failures += 1
        now = self._clock()
        if failed.outcome is provider.logged and 0 <= now - provider.logged_at < LOG_EVERY_S:
            return
        provider.logged, provider.logged_at = failed.outcome, now
        _log.warning(
            "introspection_failed",
            issuer=provider.source.config.issuer,
            outcome=failed.outcome.value,
            detail=failed.detail,
            failures=provider.failures,
            effect="tokens that are not remembered are refused with 503",
        )


def _unexpected(bug: Exception) -> str:
    # The text of an error may quote the token, so only the place is shown.
    place = traceback.extract_tb(bug.__traceback__)[-1]
    return f"unexpected {type(bug).__name__} at {Path(place.filename).name}:{place.lineno}"
