"""A database that hangs: revocations take effect or are reported as not confirmed, REST answers in time.

One stack behind real Envoy takes all faults in turn; each test leaves it recovered.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.calls import send
from extauthz.demo.processes import http_answers
from tests.faults.database_lookups import (
    DENY,
    INVOICE,
    RULES,
    await_invoice,
    database_check,
    database_is,
    events,
    metric,
)
from tests.faults.postgres_faults import sidecar_sessions, stopped_processes
from tests.stopped_processes import stopped
from tests.waiting import await_true

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from extauthz.demo.postgres import EmbeddedPostgres
    from extauthz.demo.rest import RestReply
    from tests.faults.mesh import FaultyStack

POLL_S = 1.0
"""POLICY_POLL_INTERVAL of the stack."""
REVOKED_WITHIN_S = 5.0 + POLL_S
ANSWERED_WITHIN_S = 5.0
RECOVERS_S = 12.0


@pytest.fixture
def postgres(stack: FaultyStack) -> EmbeddedPostgres:
    assert stack.postgres is not None
    return stack.postgres


@pytest.fixture
def alice(stack: FaultyStack) -> str:
    return stack.tokens()["alice"]


@contextmanager
def denied(stack: FaultyStack) -> Iterator[None]:
    """Add a deny on what alice may read, and take it back."""
    created = stack.rest.ask("POST", RULES, DENY)
    assert created.status == 201, created.document
    try:
        yield
    finally:
        await_true(
            lambda: stack.rest.ask("DELETE", f"{RULES}/{created.id}").status in {204, 404},
            within=RECOVERS_S,
            what="the deny taken back",
        )


def timed(question: Callable[[], RestReply]) -> tuple[float, RestReply]:
    began = time.monotonic()
    reply = question()
    return time.monotonic() - began, reply


def recovers(stack: FaultyStack, alice: str, extauthz: list[int]) -> None:
    """Wait until reads, writes and readiness work again, in the same processes."""
    await_true(
        # A write that got no answer may have been stored.
        lambda: stack.rest.ask("POST", RULES, DENY).status in {201, 409},
        within=RECOVERS_S,
        what="the first write",
    )
    await_invoice(stack, alice, 403, within=RECOVERS_S)
    for rule in stack.rest.ask("GET", RULES).document["items"]:
        if all(rule[member] == value for member, value in DENY.items()):
            assert stack.rest.ask("DELETE", f"{RULES}/{rule['id']}").status == 204
    await_invoice(stack, alice, 200, within=RECOVERS_S)
    for port in (stack.rest_port, stack.sidecar_port):
        await_true(
            partial(database_is, port, "ok"),
            within=RECOVERS_S,
            what=f"the database on {port}",
        )
    assert stack.child("extauthz").family() == extauthz


def test_a_revocation_is_in_effect_although_the_sidecars_sessions_are_stopped(
    stack: FaultyStack, postgres: EmbeddedPostgres, alice: str
) -> None:
    assert send(stack.envoy_port, INVOICE, token=alice).status == 200
    # Of the workers, and two of the control plane, which follows the same changes and signs them.
    await_true(
        lambda: len(sidecar_sessions(postgres)) == stack.workers + 2, within=RECOVERS_S, what="every session"
    )
    pids = sidecar_sessions(postgres)
    failures = metric(stack.sidecar_port, "extauthz_policy_refresh_failures_total")
    with stopped(pids), denied(stack):
        await_invoice(stack, alice, 403, within=REVOKED_WITHIN_S)
        assert set(sidecar_sessions(postgres)) > set(pids)
        await_true(
            lambda: metric(stack.sidecar_port, "extauthz_policy_refresh_failures_total") > failures,
            within=3,
            what="the failures counted",
        )
    await_invoice(stack, alice, 200, within=RECOVERS_S)


def test_a_server_that_is_stopped_answers_rest_in_time_and_is_reported(
    stack: FaultyStack, postgres: EmbeddedPostgres, alice: str
) -> None:
    key = stack.rest.create("/api/v1/service-api-keys", {"name": "reader", "scopes": ["policies:read"]})
    with_key = stack.rest.with_service_key(key.document["key"])
    questions: list[Callable[[], RestReply]] = [
        lambda: stack.rest.ask("GET", RULES),
        lambda: stack.rest.ask("POST", RULES, DENY),
        lambda: with_key.ask("GET", RULES),
        lambda: with_key.ask("POST", "/api/v1/check", {"subject": "a", "resource": "b", "action": "c"}),
        lambda: stack.rest.ask("GET", "/api/v1/casbin/policy"),
        lambda: stack.rest.ask("GET", "/api/v1/audit"),
    ]
    extauthz = stack.child("extauthz").family()
    log = stack.log_of("extauthz")
    before = len(events(log, "database_lost"))
    with ThreadPoolExecutor(24) as callers:
        # As many at once as the pool has connections, so that all of them are open, and more.
        list(callers.map(lambda _: stack.rest.ask("GET", RULES), range(24)))
        with stopped_processes(postgres):
            began = time.monotonic()
            answers = [callers.submit(timed, question) for question in questions * 4]
            for port in (stack.rest_port, stack.sidecar_port):
                await_true(
                    partial(database_is, port, "unavailable"),
                    within=ANSWERED_WITHIN_S - (time.monotonic() - began),
                    what=f"the database reported on {port}",
                )
            assert http_answers(stack.rest_port, "/healthz/live")
            for answer in answers:
                took_s, reply = answer.result()
                assert took_s < ANSWERED_WITHIN_S
                assert reply.status == 503, reply
                assert reply.document["reason"] == "database_timeout"
            # Connections are new now, and the server accepts them without an answer.
            for question in questions[:2]:
                took_s, reply = timed(question)
                assert took_s < ANSWERED_WITHIN_S
                assert (reply.status, reply.document["reason"]) == (503, "database_timeout")
            # Policies are confirmed until they are too old: requests are decided.
            assert send(stack.envoy_port, INVOICE, token=alice).status == 200
    recovers(stack, alice, extauthz)
    lost = events(log, "database_lost")[before:]
    # One line a process: two workers and the control plane.
    assert [line["kind"] for line in lost] == ["database_timeout"] * 3, lost


def test_a_network_that_drops_packets_is_reported_and_survived(stack: FaultyStack, alice: str) -> None:
    extauthz = stack.child("extauthz").family()
    failures = metric(stack.sidecar_port, "extauthz_policy_refresh_failures_total")
    stack.database_gate.cut()
    try:
        took_s, reply = timed(lambda: stack.rest.ask("POST", RULES, DENY))
        assert took_s < ANSWERED_WITHIN_S
        assert (reply.status, reply.document["reason"]) == (503, "database_timeout")
        assert database_check(stack.rest_port) == "unavailable"
        assert database_check(stack.sidecar_port) == "unavailable"
        await_true(
            lambda: metric(stack.sidecar_port, "extauthz_policy_refresh_failures_total") > failures,
            within=6,
            what="the failures counted",
        )
        assert metric(stack.sidecar_port, "extauthz_policy_age_seconds") > 2
    finally:
        stack.database_gate.open()
    recovers(stack, alice, extauthz)


def test_a_postmaster_that_is_stopped_keeps_open_sessions_and_lets_lost_ones_wait(
    stack: FaultyStack, postgres: EmbeddedPostgres, alice: str
) -> None:
    extauthz = stack.child("extauthz").family()
    pids = sidecar_sessions(postgres)
    with stopped([postgres.pid]):
        with denied(stack):
            await_invoice(stack, alice, 403, within=REVOKED_WITHIN_S)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        await_true(
            lambda: database_check(stack.sidecar_port) == "unavailable",
            within=ANSWERED_WITHIN_S,
            what="the lost sessions reported",
        )
    recovers(stack, alice, extauthz)


def test_a_process_ends_in_time_although_the_server_is_stopped(
    stack: FaultyStack, postgres: EmbeddedPostgres
) -> None:
    """The last of these tests: it ends extauthz."""
    key = stack.rest.create("/api/v1/service-api-keys", {"name": "used", "scopes": ["policies:read"]})
    # Its use is to be written at the end.
    assert stack.rest.with_service_key(key.document["key"]).ask("GET", RULES).status == 200
    extauthz = stack.child("extauthz")
    with stopped_processes(postgres), ThreadPoolExecutor(2) as callers:
        waiting = callers.submit(stack.rest.ask, "GET", RULES)
        extauthz.send(signal.SIGTERM)
        await_true(lambda: not extauthz.running, within=10, what="the end")
        waiting.result()
