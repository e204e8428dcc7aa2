"""Envoy denies during every failure: no request passes without a decision."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from extauthz.demo.calls import send
from extauthz.demo.process_tree import alive, descendants, is_alive
from extauthz.demo.stack import PUBLIC_PATH, PolicyStore, Stack
from tests.light_processes import LIGHT
from tests.stopped_processes import stop
from tests.waiting import await_true

INVOICE = "/demo/invoices/17"


@pytest.fixture(scope="module")
def breakable_stack() -> Iterator[Stack]:
    """A sidecar with policies from files, which the tests break in turn and `files_stack` repairs."""
    with Stack(environ=LIGHT, store=PolicyStore.FILES) as running:
        running.start()
        yield running


@pytest.fixture
def files_stack(breakable_stack: Stack) -> Stack:
    """The stack with everything that the last test ended running again."""
    ended = breakable_stack.ended()
    if "identity-provider" in ended:
        breakable_stack.start_identity_provider()
    # A provider that was started again has other keys.
    if ended:
        breakable_stack.start_extauthz()
    alice = breakable_stack.people.token("alice")
    await_true(
        lambda: send(breakable_stack.envoy_port, INVOICE, token=alice).status == 200,
        within=20,
        what="a whole stack",
    )
    return breakable_stack


def await_status(stack: Stack, status: int, within_s: float) -> None:
    await_true(
        lambda: send(stack.envoy_port, PUBLIC_PATH).status == status, within=within_s, what=f"{status}"
    )


def break_under_load(stack: Stack, token: str, breakage: Callable[[], None]) -> tuple[set[int], set[int]]:
    """Return the statuses of requests of bob, whom no rule allows, before and after `breakage`."""
    broken, enough = threading.Event(), threading.Event()
    before: set[int] = set()
    after: set[int] = set()

    def client() -> None:
        sent = 0
        while sent < 10:
            was_broken = broken.is_set()
            status = send(stack.envoy_port, INVOICE, token=token).status
            (after if was_broken else before).add(status)
            sent += was_broken
            enough.set()

    thread = threading.Thread(target=client)
    thread.start()
    assert enough.wait(10)
    breakage()
    broken.set()
    thread.join()
    return before, after


def test_a_killed_sidecar_denies_and_a_new_one_answers(files_stack: Stack) -> None:
    token = files_stack.people.token("bob")

    before, after = break_under_load(files_stack, token, files_stack.child("extauthz").kill)

    assert before <= {403, 503}
    assert after == {503}
    alice = files_stack.people.token("alice")
    assert send(files_stack.envoy_port, INVOICE, token=alice).status == 503
    assert send(files_stack.envoy_port, PUBLIC_PATH).status == 503

    files_stack.start_extauthz()
    await_status(files_stack, 200, within_s=5)
    assert send(files_stack.envoy_port, INVOICE, token=alice).status == 200
    assert send(files_stack.envoy_port, INVOICE, token=token).status == 403


def test_a_killed_worker_denies_until_it_is_replaced(files_stack: Stack) -> None:
    supervisor, *workers = files_stack.child("extauthz").family()
    assert workers
    token = files_stack.people.token("bob")

    def kill_workers() -> None:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)

    before, after = break_under_load(files_stack, token, kill_workers)

    assert before | after <= {403, 503}
    await_status(files_stack, 200, within_s=5)
    assert files_stack.child("extauthz").family()[0] == supervisor


def test_the_workers_end_with_a_killed_supervisor(files_stack: Stack) -> None:
    sidecar = files_stack.child("extauthz")
    workers = descendants(sidecar.pid)
    token = files_stack.people.token("bob")

    before, after = break_under_load(files_stack, token, lambda: sidecar.send(signal.SIGKILL))

    assert before | after <= {403, 503}
    await_true(lambda: not any(map(is_alive, workers)), within=15, what="the workers end")
    assert send(files_stack.envoy_port, PUBLIC_PATH).status == 503


def test_a_stopped_sidecar_denies_until_it_continues(files_stack: Stack) -> None:
    family = files_stack.child("extauthz").family()
    token = files_stack.people.token("bob")

    before, after = break_under_load(files_stack, token, lambda: stop(family))

    assert before <= {403, 503}
    assert after == {503}
    assert send(files_stack.envoy_port, PUBLIC_PATH).status == 503

    for process in family:
        os.kill(process, signal.SIGCONT)
    await_status(files_stack, 200, within_s=10)
    assert send(files_stack.envoy_port, INVOICE, token=token).status == 403


def test_a_permanently_stopped_sidecar_is_ended_with_its_stack() -> None:
    with Stack(environ=LIGHT, store=PolicyStore.FILES) as stack:
        stack.start()
        family = stack.child("extauthz").family()
        for process in family:
            os.kill(process, signal.SIGSTOP)

    assert not any(map(alive, family))


def test_known_keys_go_on_working_without_the_identity_provider(files_stack: Stack) -> None:
    alice, bob, forged = (
        files_stack.people.token("alice"),
        files_stack.people.token("bob"),
        files_stack.people.token("alice", flaw="forged"),
    )
    assert send(files_stack.envoy_port, INVOICE, token=alice).status == 200

    files_stack.child("identity-provider").stop()

    port = files_stack.envoy_port
    assert send(port, INVOICE, token=alice).status == 200
    assert send(port, "/demo/people/bob/records", token=bob).status == 200
    assert send(port, INVOICE, token=bob).status == 403
    assert send(port, INVOICE, token=forged).status == 401


def test_a_key_that_cannot_be_fetched_is_503_and_never_401(files_stack: Stack) -> None:
    # `iat` counts whole seconds: a token of the second in which keys were fetched may be older than that.
    second = int(time.time())
    await_true(lambda: int(time.time()) > second, what="the next second")
    files_stack.people.rotate_keys()
    unseen = files_stack.people.token("alice")
    files_stack.child("identity-provider").stop()

    answer = send(files_stack.envoy_port, INVOICE, token=unseen)

    assert (answer.status, answer.reason) == (503, "keys_unavailable")


def test_an_unreachable_upstream_changes_no_decision(files_stack: Stack) -> None:
    # The last test with this stack, in which an upstream that has ended is not started again.
    alice, bob = files_stack.people.token("alice"), files_stack.people.token("bob")
    files_stack.child("upstream").kill()

    assert send(files_stack.envoy_port, INVOICE, token=alice).status == 503
    assert send(files_stack.envoy_port, INVOICE, token=bob).status == 403


def test_all_of_extauthz_killed_denies_and_a_new_one_finds_the_policies_in_the_database(
    own_stack: Stack,
) -> None:
    alice, bob = own_stack.people.token("alice"), own_stack.people.token("bob")

    before, after = break_under_load(own_stack, bob, own_stack.child("extauthz").kill)

    assert before <= {403, 503}
    assert after == {503}
    assert send(own_stack.envoy_port, PUBLIC_PATH).status == 503

    own_stack.start_extauthz()
    await_status(own_stack, 200, within_s=5)
    assert send(own_stack.envoy_port, INVOICE, token=alice).status == 200
    assert send(own_stack.envoy_port, "/demo/invoices/sealed-4", token=alice).status == 403
    assert send(own_stack.envoy_port, INVOICE, token=bob).status == 403
