"""One check, from Envoy's bytes to Envoy's bytes. Start reading here.

    bytes -> EnvoyRequests.read -> judge -> envoy_response.write -> bytes, and one entry in the decision log

`judge` is pure: request, credentials, policies, keys and the time are its arguments, and its last line is a
deny. `answer` is what a gRPC server with threads hosts, `begin` what one with an event loop hosts, and
`answer_http` serves Envoy's HTTP variant. They read the shared state once, wait at most once for a key, and
never raise.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar

import structlog

from extauthz.check import envoy_response, http_response
from extauthz.check.assertions import Assertions
from extauthz.check.bounds import is_overloaded
from extauthz.check.credentials import CredentialSources
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import AttributeContext
from extauthz.check.forwarded_headers import Forwarder
from extauthz.check.http_response import HttpAnswer
from extauthz.check.seen_bodies import SeenBodies
from extauthz.check.used_keys import UsedKeys
from extauthz.decide.identity import Keys, Needs
from extauthz.decide.judge import CheckPolicy, judge
from extauthz.decide.needs import NeedsIntrospection, NeedsKey, NeedsVerification
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.introspection import Introspected
from extauthz.decisionlog.recorder import Check, Recorder
from extauthz.domain.principal import Authentication, Principal
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, Malformed, RequestFacts
from extauthz.domain.service_key import IdentityKey
from extauthz.domain.verdict import Denied, Verdict
from extauthz.keys.introspector import Introspector
from extauthz.keys.source import KeySource
from extauthz.publish.source import PolicySource
from extauthz.telemetry.check_trace import DECIDE, WAIT, CallMetadata, CheckTracing
from extauthz.telemetry.spans import inside

KEY_WAIT_S: Final = 0.150
INTROSPECTION_WAIT_S: Final = 3.0
INTROSPECTION_SHARE: Final = 0.75
"""The share of the caller's deadline that an introspection may take: many waits may end at the same time.

Where the caller tells no deadline, an introspection is waited for as long as a key is."""

MAX_WAITING: Final = 1024
"""Checks that wait for keys at once; more are denied at once."""

DEADLINE_RESERVE_S: Final = 0.020
"""What is kept of the caller's deadline for deciding and answering."""

_Answer = TypeVar("_Answer")
_Message = TypeVar("_Message")
_Asked = Future[Introspected | None] | None
_Read = Callable[[], CheckedRequest | Malformed]

_API_KEY: Final = Authentication.API_KEY  # looked up in its class it costs a call
_NO_SERVICE_KEYS: Final[Mapping[str, IdentityKey]] = {}

_log = structlog.get_logger("extauthz.check")


@dataclass(frozen=True, slots=True)
class Later:
    """A check that is answered later: `finish` has to be called once. `waits` is whether it waits for I/O.

    With `after` it does not wait if it is called when that future is done, which takes seconds at most.
    """

    finish: "Callable[[], bytes | Later]"
    waits: bool
    after: _Asked = None


@dataclass(frozen=True, slots=True)
class _Pending:
    """A request that cannot be judged before it has what it needs; `time_left` as it was when it arrived."""

    request: CheckedRequest
    needs: Needs
    time_left: float | None


@dataclass(frozen=True)
class _Entrance(Generic[_Answer]):
    """How the checks of an entrance are answered: the verdict written, and the denial where that fails."""

    name: str
    write: Callable[[Verdict, Forwarder, float], _Answer]
    internal_error: Callable[[str], _Answer]


class _Reader(Generic[_Message]):
    """How messages of an entrance are read: alone, and with the trace of a check that is sampled."""

    def __init__(
        self, read: Callable[[_Message], CheckedRequest | Malformed], tracing: CheckTracing | None
    ) -> None:
        self.read = read
        self.traced = None if tracing is None else tracing.reader(read)


def _as_it_is(refused: Malformed) -> Malformed:
    return refused


_GRPC: Final = _Entrance("grpc", envoy_response.write, envoy_response.internal_error)
_HTTP: Final = _Entrance("http", http_response.write, http_response.internal_error)


class CheckService:
    """Answers checks for every transport; one per process, shared by its threads."""

    def __init__(
        self,
        *,
        policies: PolicySource,
        keys: KeySource,
        policy: CheckPolicy,
        recorder: Recorder,
        condition_headers: frozenset[str] = frozenset(),
        sources: CredentialSources | None = None,
        claim_headers: frozenset[str] = frozenset(),
        introspector: Introspector | None = None,
        preflights: bool = False,
        assertions: Assertions | None = None,
        longest_body: int = 0,
        tracing: CheckTracing | None = None,
    ) -> None:
        """Take the dependencies of a check.

        `sources` names where credentials may be in addition to `Authorization` and the service key;
        `claim_headers` are the headers that may be set from claims, `assertions` signs `x-auth-assertion`.
        Without an `introspector` no issuer is asked about tokens. `preflights` is whether CORS preflights may
        pass without a credential, over gRPC; `longest_body` is up to how many octets conditions read a body,
        over gRPC. Without `tracing` no check is traced.
        """
        self.tracing = tracing
        self.tokens = VerifiedTokens()
        self.used_keys = UsedKeys()
        self.bodies = SeenBodies(longest_body)
        self._policies = policies
        self._keys = keys
        self._introspector = introspector
        self._introspected = None if introspector is None else introspector.remembered
        self.while_waiting: dict[str, Callable[[], AbstractContextManager[object]]] = {}
        """By entrance: entered by a thread that answers a check while it waits for an introspection."""
        self._policy = policy
        self._recorder = recorder
        self._waiting: set[str] = set()
        self._forwarder = Forwarder(
            claim_headers, None if sources is None else sources.token_header, assertions
        )
        requests = EnvoyRequests(
            condition_headers=condition_headers,
            sources=sources,
            claim_headers=claim_headers,
            longest_credential=len("Bearer ") + policy.token.max_bytes + 1,
            preflights=preflights,
            longest_body=longest_body,
            bodies=self.bodies,
            traces=tracing is not None,
        )
        # Over HTTP nothing tells whether Envoy joined headers or replaced bytes, nor whether there is a body:
        # it withholds Content-Length, and a preflight has none.
        over_http = replace(requests, raw_entries=False, preflights=False, longest_body=0)
        self._grpc = _Reader(requests.read, tracing)
        self._http = _Reader(over_http.read_attributes, tracing)
        self._refused: _Reader[Malformed] = _Reader(_as_it_is, tracing)

    def answer(self, raw: bytes, time_left: float | None, metadata: CallMetadata | None = None) -> bytes:
        """Return the CheckResponse for a CheckRequest; `time_left` is the caller's deadline in seconds.

        `metadata` is the call's, where checks are traced. Waits for keys where it has to. INVARIANT: never
        raises, and every answer was built from a deny.
        """
        return self._answered(_GRPC, self._grpc, raw, time_left, metadata)

    def begin(
        self, raw: bytes, time_left: float | None, metadata: CallMetadata | None = None
    ) -> bytes | Later:
        """Answer as `answer` does, but neither wait for keys nor verify a token that is seen first."""
        check = self._recorder.begin(_GRPC.name)
        reader = self._grpc
        if reader.traced is None:
            read: _Read = partial(reader.read, raw)
        else:
            read = partial(reader.traced, raw, check, metadata)
        found = self._judged(check, read, time_left, verify_first_seen=False)
        return self._now_or_later(check, found)

    def answer_http(self, attributes: AttributeContext) -> HttpAnswer:
        """Return the answer to a check that came over HTTP, where no deadline is told; as `answer`."""
        return self._answered(_HTTP, self._http, attributes, None)

    def refuse(self, refused: Malformed) -> bytes:
        """Return the denial of a check whose message is not read; it is logged like any other denial."""
        return self._answered(_GRPC, self._refused, refused, None)

    def refuse_http(self, refused: Malformed) -> HttpAnswer:
        """Return the answer to what the HTTP library could not read; it is logged like any other denial."""
        return self._answered(_HTTP, self._refused, refused, None)

    def _answered(
        self,
        entrance: _Entrance[_Answer],
        reader: "_Reader[_Message]",
        message: _Message,
        time_left: float | None,
        metadata: CallMetadata | None = None,
    ) -> _Answer:
        check = self._recorder.begin(entrance.name)
        if reader.traced is None:
            read: _Read = partial(reader.read, message)
        else:
            read = partial(reader.traced, message, check, metadata)
        found = self._judged(check, read, time_left)
        if isinstance(found, _Pending):
            found = self._judged_after_wait(check, found, entrance)
        return self._ended(check, found, entrance)

    def _now_or_later(self, check: Check, found: Verdict | _Pending) -> bytes | Later:
        if not isinstance(found, _Pending):
            return self._ended(check, found, _GRPC)
        if isinstance(found.needs, NeedsVerification):
            return Later(partial(self._verify, check, found), waits=False)
        if len(self._waiting) < MAX_WAITING:
            try:
                asked = self._ask(check, found)
            except Exception:  # noqa: BLE001  # INVARIANT: as in `_judged`
                return self._ended(check, self._failed(check), _GRPC)
            self._waiting.add(check.decision_id)
            return Later(partial(self._wait, check, found, asked), waits=True, after=asked)
        denied = Denied(check.decision_id, Reason.OVERLOADED, found.request.facts)
        return self._ended(check, denied, _GRPC)

    def _verify(self, check: Check, pending: _Pending) -> bytes | Later:
        found: Verdict | _Pending
        if check.trace is not None:
            check.trace.mark(WAIT)
        waited_s = check.elapsed_s()
        left = None if pending.time_left is None else pending.time_left - waited_s
        if left is not None and left <= 0:
            found = Denied(check.decision_id, Reason.DEADLINE, pending.request.facts)
        elif is_overloaded(waited_s, left):
            found = Denied(check.decision_id, Reason.OVERLOADED, pending.request.facts)
        else:
            found = self._judged(check, lambda: pending.request, pending.time_left)
        return self._now_or_later(check, found)

    def _wait(self, check: Check, pending: _Pending, asked: _Asked) -> bytes:
        try:
            return self._ended(check, self._judged_after_wait(check, pending, _GRPC, asked), _GRPC)
        finally:
            self._waiting.discard(check.decision_id)

    def _judged(
        self, check: Check, read: _Read, time_left: float | None, *, verify_first_seen: bool = True
    ) -> Verdict | _Pending:
        if (refusal := self._recorder.refusal(check)) is not None:
            return refusal
        try:
            request = read()
            if isinstance(request, Malformed):
                return Denied(check.decision_id, request.reason, request, detail=request.detail)
            if time_left is not None and time_left <= 0:
                return Denied(check.decision_id, Reason.DEADLINE, request.facts)
            found = self._judge(check, request, verify_first_seen=verify_first_seen)
            return _Pending(request, found, time_left) if isinstance(found, Needs) else found
        except Exception:  # noqa: BLE001  # INVARIANT: whatever went wrong is a deny, never an RPC error
            return self._failed(check)

    def _ask(self, check: Check, pending: _Pending) -> _Asked:
        """Ask the issuer about the token, where that is needed; the future ends before the deadline."""
        needs = pending.needs
        if not isinstance(needs, NeedsIntrospection) or self._introspector is None:
            return None
        limit = KEY_WAIT_S if pending.time_left is None else pending.time_left * INTROSPECTION_SHARE
        with inside(None if check.trace is None else check.trace.as_parent()):
            return self._introspector.ask(needs, min(limit - check.elapsed_s(), INTROSPECTION_WAIT_S))

    def _judged_after_wait(
        self,
        check: Check,
        pending: _Pending,
        entrance: _Entrance[Any],
        asked: _Asked = None,
    ) -> Verdict:
        facts = pending.request.facts
        answer: Introspected | None = None
        try:
            # Counted from the start of the check: it may have waited for a thread.
            spent = check.elapsed_s()
            wait = KEY_WAIT_S - spent
            if pending.time_left is not None:
                if spent >= pending.time_left:
                    return Denied(check.decision_id, Reason.DEADLINE, facts)
                wait = min(pending.time_left - spent - DEADLINE_RESERVE_S, wait)
            if isinstance(pending.needs, NeedsKey) and wait > 0:
                with inside(None if check.trace is None else check.trace.as_parent()):
                    fetch = self._keys.ensure(pending.needs.issuer, pending.needs.kid)
                with suppress(TimeoutError):
                    fetch.result(wait)
            if asked is None:
                asked = self._ask(check, pending)
            if asked is not None:
                aside = self.while_waiting.get(entrance.name, nullcontext)
                with suppress(TimeoutError), aside():
                    answer = asked.result(INTROSPECTION_WAIT_S + DEADLINE_RESERVE_S)
            if check.trace is not None:
                check.trace.mark(WAIT)
            found = self._judge(check, pending.request, answer=answer)
            if not isinstance(found, Denied | Needs):
                # INVARIANT: what allows is valid when it is answered. Meanwhile the token or the policies may
                # have become too old: the issuer was slow, or the process was stopped.
                found = self._judge(check, pending.request, answer=answer, now=self._recorder.now())
        except Exception:  # noqa: BLE001  # INVARIANT: as above
            return self._failed(check)
        if isinstance(found, Needs):
            refused = found.otherwise
            return Denied(check.decision_id, refused.reason, facts, detail=refused.detail)
        return found

    def _judge(
        self,
        check: Check,
        request: CheckedRequest,
        *,
        verify_first_seen: bool = True,
        answer: Introspected | None = None,
        now: float | None = None,
    ) -> Verdict | Needs:
        """Judge again at `now`; None: judge at the time at which the check arrived."""
        # Read once: service keys and policies must be of one moment.
        directory = self._policies.current()
        service_keys = _NO_SERVICE_KEYS if directory is None else directory.service_keys
        keys = Keys(
            self._keys.current(), service_keys, self.tokens, verify_first_seen, self._introspected, answer
        )
        if now is not None:
            # A trace has the first time it was judged.
            return judge(request, directory, keys, self._policy, check.decision_id, now)
        trace = check.trace
        if trace is None:
            return judge(request, directory, keys, self._policy, check.decision_id, check.now)
        found = judge(request, directory, keys, self._policy, check.decision_id, check.now, trace.identified)
        if not isinstance(found, Needs):
            trace.mark(DECIDE)
        return found

    def _ended(self, check: Check, verdict: Verdict, entrance: _Entrance[_Answer]) -> _Answer:
        try:
            answer = entrance.write(verdict, self._forwarder, check.now)
        except Exception:  # noqa: BLE001  # INVARIANT: as above
            verdict = self._failed(check)
            answer = entrance.internal_error(check.decision_id)
        facts = verdict.request
        if isinstance(facts, RequestFacts) and facts.body is not None:
            facts.body.release()
        self._note_key(verdict.principal, check.now)
        if isinstance(verdict, Denied) and verdict.detail is not None:
            reason = verdict.reason.value
            _log.debug("refused", decision_id=check.decision_id, reason=reason, detail=verdict.detail)
        self._recorder.end(check, verdict)
        if check.trace is not None:
            check.trace.end(verdict, check.entrance)
        return answer

    def _note_key(self, principal: Principal | None, now: float) -> None:
        if principal is None or principal.authentication is not _API_KEY:
            return
        if principal.tenant is not None and principal.id is not None:
            self.used_keys.note(principal.tenant, principal.id, now)

    def _failed(self, check: Check) -> Denied:
        _log.exception("check_failed", decision_id=check.decision_id)
        return Denied(check.decision_id, Reason.INTERNAL_ERROR)
