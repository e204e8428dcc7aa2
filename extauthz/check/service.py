"""One check, from Envoy's bytes to Envoy's bytes. Start reading here.

    bytes -> wire.read -> judge -> wire.write -> bytes, and one entry in the decision log

`judge` is pure: request, policies, keys and the time are its arguments, and its last line is a deny.
`CheckService.answer` is what every gRPC transport hosts, `answer_http` its twin for the HTTP variant: they
read the shared state once, wait at most once for a key, and never raise.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from extauthz.check import http_wire, wire
from extauthz.check.client_headers import CREDENTIAL_HEADERS
from extauthz.check.credential_sources import CredentialSources
from extauthz.check.extauthz_check_pb2 import AttributeContext
from extauthz.check.http_wire import HttpAnswer
from extauthz.check.used_keys import UsedKeys
from extauthz.compile.directory import Directory
from extauthz.decide.identity import (
    NeedsKey,
    Rejected,
    identify,
    identify_by_authorization,
    no_service_keys,
)
from extauthz.decide.judge import CheckPolicy, judge
from extauthz.decide.keyring import KeyRing
from extauthz.decide.other_credentials import identify_with_others
from extauthz.decide.service_keys import bearer_of
from extauthz.decide.verified_tokens import VerifiedTokens
from extauthz.decisionlog.log import DecisionLog
from extauthz.domain.decision import Outcome, denied
from extauthz.domain.ids import uuid7
from extauthz.domain.principal import Authentication, Principal
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed, RequestFacts
from extauthz.settings import OverflowAction
from extauthz.telemetry.counts import Counts

KEY_WAIT_S: Final = 0.150
MAX_WAITING: Final = 1024
"""Checks that wait for keys at once; more are denied at once."""

DEADLINE_RESERVE_S: Final = 0.020
"""What is kept of the caller's deadline for deciding and answering."""

_API_KEY: Final = Authentication.API_KEY  # looked up in its class it costs a call

_Answer = TypeVar("_Answer")

_log = structlog.get_logger("extauthz.check")


class KeySource(Protocol):
    """Where verification keys come from; both methods are for any thread."""

    def current(self) -> KeyRing:
        """Return the keys of every issuer as they are now."""

    def ensure(self, issuer: str, kid: str | None) -> Future[None]:
        """Fetch the issuer's keys, once for everybody who asks meanwhile."""


class PolicySource(Protocol):
    """Where the published policies are read, once a request."""

    def current(self) -> Directory | None:
        """Return the current policies, None before the first were loaded."""


@dataclass(slots=True)
class _Check:
    """One check under way; `now` is POSIX seconds, `started` is of the performance counter."""

    entrance: str
    decision_id: str
    now: float
    started: float
    reserved: bool


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that cannot be judged before keys are fetched; `time_left` as it was when it arrived."""

    request: RequestFacts | Malformed
    needs: NeedsKey
    time_left: float | None


class CheckService:
    """Answers checks for every transport; one per process, shared by its threads."""

    def __init__(
        self,
        *,
        policies: PolicySource,
        keys: KeySource,
        policy: CheckPolicy,
        log: DecisionLog,
        counts: Counts,
        random_bytes: Callable[[int], bytes],
        condition_headers: frozenset[str] = frozenset(),
        sources: CredentialSources | None = None,
    ) -> None:
        """Take everything that a check needs; `random_bytes` makes decision ids.

        `sources` names where credentials may stand beside `Authorization` and the service key.
        """
        self.tokens = VerifiedTokens()
        self.used_keys = UsedKeys()
        self._policies = policies
        self._keys = keys
        self._policy = policy
        self._decision_log = log
        self._counts = counts
        self._random_bytes = random_bytes
        self._waiting: set[str] = set()
        self._sources = sources
        longest_credential = len("Bearer ") + policy.token.max_bytes + 1
        self._read, read_attributes = (
            partial(
                read,
                condition_headers=condition_headers,
                sources=sources,
                longest_credential=longest_credential,
            )
            for read in (wire.read, wire.read_attributes)
        )
        # Over HTTP nothing tells whether Envoy joined headers or replaced bytes.
        self._read_attributes = partial(read_attributes, raw_entries=False)
        self._identify = self._identify_usual if sources is None else self._identify_anywhere

    def answer(self, raw: bytes, time_left: float | None) -> bytes:
        """Return the CheckResponse for a CheckRequest; `time_left` is the caller's deadline in seconds.

        Waits for keys where it has to. INVARIANT: never raises, and every answer was built from a deny.
        """
        return self._answered(partial(self._read, raw), time_left, wire.write, wire.internal_error, "grpc")

    def begin(self, raw: bytes, time_left: float | None) -> bytes | Callable[[], bytes]:
        """Answer at once as `answer` does; where keys are to be waited for, return what waits and answers.

        For one thread, and what it returns has to be called.
        """
        check = self._began("grpc")
        found = self._judged(check, partial(self._read, raw), time_left)
        if isinstance(found, _Waiting):
            if len(self._waiting) < MAX_WAITING:
                self._waiting.add(check.decision_id)
                return partial(self._finish, check, found)
            found = Outcome(denied(Reason.OVERLOADED), check.decision_id, found.request)
        return self._ended(check, found, wire.write, wire.internal_error)

    def _finish(self, check: _Check, waiting: _Waiting) -> bytes:
        try:
            return self._answer_after_keys(check, waiting, wire.write, wire.internal_error)
        finally:
            self._waiting.discard(check.decision_id)

    def answer_http(self, attributes: AttributeContext) -> HttpAnswer:
        """Return the answer to a check that came over HTTP, where no deadline is told; as `answer`."""
        read = partial(self._read_attributes, attributes)
        return self._answered(read, None, http_wire.write, http_wire.internal_error, "http")

    def refuse(self, refused: Malformed) -> bytes:
        """Return the denial of a check whose message is not read; it is logged like any other denial."""
        return self._answered(lambda: refused, None, wire.write, wire.internal_error, "grpc")

    def refuse_http(self, refused: Malformed) -> HttpAnswer:
        """Return the answer to what the HTTP library could not read; it is logged like any other denial."""
        return self._answered(lambda: refused, None, http_wire.write, http_wire.internal_error, "http")

    def _answered(
        self,
        read: Callable[[], RequestFacts | Malformed],
        time_left: float | None,
        write: Callable[[Outcome], _Answer],
        internal_error: Callable[[str], _Answer],
        entrance: str,
    ) -> _Answer:
        check = self._began(entrance)
        found = self._judged(check, read, time_left)
        if isinstance(found, _Waiting):
            return self._answer_after_keys(check, found, write, internal_error)
        return self._ended(check, found, write, internal_error)

    def _answer_after_keys(
        self,
        check: _Check,
        waiting: _Waiting,
        write: Callable[[Outcome], _Answer],
        internal_error: Callable[[str], _Answer],
    ) -> _Answer:
        return self._ended(check, self._judged_after_keys(check, waiting), write, internal_error)

    def _began(self, entrance: str) -> _Check:
        now = time.time()
        self._counts.began()
        return _Check(
            entrance=entrance,
            decision_id=uuid7(int(now * 1000), self._random_bytes(10)),
            now=now,
            started=time.perf_counter(),
            reserved=self._decision_log.reserve(),
        )

    def _ended(
        self,
        check: _Check,
        outcome: Outcome,
        write: Callable[[Outcome], _Answer],
        internal_error: Callable[[str], _Answer],
    ) -> _Answer:
        try:
            body = write(outcome)
        except Exception:  # noqa: BLE001  # INVARIANT: whatever went wrong is a deny, never an RPC error
            outcome = self._failed(check)
            body = internal_error(check.decision_id)
        principal = outcome.principal
        if principal is not None and principal.authentication is _API_KEY:
            self._note_key(principal, check.now)
        duration_us = int((time.perf_counter() - check.started) * 1e6)
        self._counts.decided(outcome.decision, check.entrance, duration_us)
        if outcome.detail is not None:
            reason = outcome.decision.reason
            _log.debug("refused", decision_id=check.decision_id, reason=reason.value, detail=outcome.detail)
        if check.reserved:
            self._decision_log.write(outcome, check.now, check.entrance, duration_us)
        else:
            self._decision_log.lost()
        return body

    def _note_key(self, principal: Principal, now: float) -> None:
        if principal.tenant is not None and principal.id is not None:
            self.used_keys.note(principal.tenant, principal.id, now)

    def _failed(self, check: _Check) -> Outcome:
        _log.exception("check_failed", decision_id=check.decision_id)
        return Outcome(denied(Reason.INTERNAL_ERROR), check.decision_id)

    def _judged(
        self, check: _Check, read: Callable[[], RequestFacts | Malformed], time_left: float | None
    ) -> Outcome | _Waiting:
        if not check.reserved and self._decision_log.on_overflow is OverflowAction.DENY:
            return Outcome(denied(Reason.OVERLOADED), check.decision_id)
        try:
            request = read()
            if time_left is not None and time_left <= 0:
                return Outcome(denied(Reason.DEADLINE), check.decision_id, request)
            found = self._judge(request, check.decision_id, check.now)
            return _Waiting(request, found, time_left) if isinstance(found, NeedsKey) else found
        except Exception:  # noqa: BLE001  # INVARIANT: as above
            return self._failed(check)

    def _judged_after_keys(self, check: _Check, waiting: _Waiting) -> Outcome:
        try:
            # Counted from the start of the check: it may have waited for a thread.
            spent = time.perf_counter() - check.started
            wait = KEY_WAIT_S - spent
            if waiting.time_left is not None:
                if spent >= waiting.time_left:
                    return Outcome(denied(Reason.DEADLINE), check.decision_id, waiting.request)
                wait = min(waiting.time_left - spent - DEADLINE_RESERVE_S, wait)
            if wait > 0:
                fetch = self._keys.ensure(waiting.needs.issuer, waiting.needs.kid)
                with suppress(TimeoutError):
                    fetch.result(wait)
            found = self._judge(waiting.request, check.decision_id, check.now)
        except Exception:  # noqa: BLE001  # INVARIANT: as above
            return self._failed(check)
        if isinstance(found, NeedsKey):
            refused = found.otherwise
            return Outcome(denied(refused.reason), check.decision_id, waiting.request, detail=refused.detail)
        return found

    def _identify_anywhere(
        self, directory: Directory, request: RequestFacts, now: float
    ) -> Principal | Rejected | NeedsKey | None:
        headers, repeated = request.headers, request.repeated_headers
        workloads = self._sources is not None and self._sources.workloads
        return identify_with_others(
            request.other_credentials,
            beside=not repeated.isdisjoint(CREDENTIAL_HEADERS)
            or any(name in headers for name in CREDENTIAL_HEADERS),
            usual=partial(self._identify_usual, directory, request, now),
            workload=request.source_principal if workloads else None,
            ring=self._keys.current(),
            cache=self.tokens,
            now=now,
            policy=self._policy.token,
        )

    def _identify_usual(
        self, directory: Directory, request: RequestFacts, now: float
    ) -> Principal | Rejected | NeedsKey | None:
        headers, repeated = request.headers, request.repeated_headers
        authorization, service_key = headers.get("authorization"), headers.get("x-service-api-key")
        if authorization is not None and service_key is None and not repeated:
            return identify_by_authorization(
                authorization, self._keys.current(), self.tokens, now, self._policy.token
            )
        return identify(
            authorization=authorization,
            authorization_repeated="authorization" in repeated,
            service_key=service_key,
            service_key_repeated="x-service-api-key" in repeated,
            ring=self._keys.current(),
            service_keys=(
                no_service_keys
                if service_key is None
                else partial(bearer_of, keys=directory.service_keys, now=now)
            ),
            cache=self.tokens,
            now=now,
            policy=self._policy.token,
        )

    def _judge(self, request: RequestFacts | Malformed, decision_id: str, now: float) -> Outcome | NeedsKey:
        # Read once: who holds a key and whose policies decide are of one moment.
        directory = self._policies.current()
        return judge(request, directory, self._identify, self._policy, decision_id, now)
