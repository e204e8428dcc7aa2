"""The faults: how each begins and ends, and whether requests may be unavailable meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.demo.processes import http_answers
from tests.faults.postgres_faults import (
    close_sidecar_sessions,
    corrupt_policy,
    fill_connections,
    hold_tables,
    missing_change_records,
    new_epoch,
    read_only_database,
    revision_put_back,
    stopped_processes,
    stopped_sidecar_sessions,
    wrong_password,
)
from tests.faults.provider_faults import (
    NOT_JSON,
    REDIRECT,
    SERVER_ERROR,
    SYMMETRIC_KEYS,
    TOO_LARGE,
    provider_answers,
)
from tests.faults.resource_faults import busy_processors, no_file_descriptors, no_space_for_the_log
from tests.faults.traffic_faults import broken_frames, noise, sends, silent_connections, writes_without_pause
from tests.stopped_processes import stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tests.faults.mesh import FaultyStack

RECOVERS_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. `stays_up`: no request is unavailable while it lasts, which is `lasts_s` or more."""

    name: str
    injected: Callable[[FaultyStack], AbstractContextManager[None]]
    stays_up: bool
    lasts_s: float = 2.0
    recovers_s: float = RECOVERS_S


@contextlib.contextmanager
def _killed(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def _terminated_in_turn(stack: FaultyStack) -> Iterator[None]:
    for pid in stack.workers_pids():
        os.kill(pid, signal.SIGTERM)
        _await_replaced(stack, pid)
    yield


def _await_replaced(stack: FaultyStack, pid: int) -> None:
    child = stack.child("extauthz")
    child.wait_ready(
        lambda: pid not in child.family() and http_answers(stack.sidecar_port, "/healthz/ready"),
        timeout_s=RECOVERS_S,
    )


@contextlib.contextmanager
def _extauthz_killed(stack: FaultyStack) -> Iterator[None]:
    stack.child("extauthz").kill()
    yield
    stack.start_extauthz()


@contextlib.contextmanager
def _provider_gone(stack: FaultyStack) -> Iterator[None]:
    stack.provider_gate.refuse()
    yield
    stack.provider_gate.open()


@contextlib.contextmanager
def _provider_hangs(stack: FaultyStack) -> Iterator[None]:
    stack.provider_gate.cut()
    yield
    stack.provider_gate.open()


@contextlib.contextmanager
def _database_gone(stack: FaultyStack) -> Iterator[None]:
    stack.database_gate.refuse()
    yield
    stack.database_gate.open()


@contextlib.contextmanager
def _database_cut(stack: FaultyStack) -> Iterator[None]:
    stack.database_gate.cut()
    yield
    stack.database_gate.open()


@contextlib.contextmanager
def _database_stalls(stack: FaultyStack) -> Iterator[None]:
    stack.database_gate.drop_connections()
    stack.database_gate.stall_after(2_000)
    yield
    stack.database_gate.open()


@contextlib.contextmanager
def _database_connections_drop(stack: FaultyStack) -> Iterator[None]:
    stack.database_gate.drop_connections()
    yield


@contextlib.contextmanager
def _database_crashes(stack: FaultyStack) -> Iterator[None]:
    assert stack.postgres is not None
    stack.postgres.kill()
    yield
    stack.postgres.start()


@contextlib.contextmanager
def _database_shut_down(stack: FaultyStack) -> Iterator[None]:
    assert stack.postgres is not None
    stack.postgres.stop()
    yield
    stack.postgres.start()


@contextlib.contextmanager
def _log_removed(stack: FaultyStack) -> Iterator[None]:
    stack.decision_log.rename(stack.decision_log.with_suffix(".1"))
    yield
    stack.child("extauthz").send(signal.SIGHUP)


@contextlib.contextmanager
def _envoy_restarted(stack: FaultyStack) -> Iterator[None]:
    stack.child("envoy").kill()
    yield
    stack.start_envoy()


@contextlib.contextmanager
def _keys_rotated(stack: FaultyStack) -> Iterator[None]:
    stack.people.rotate_keys()
    yield


def _postgres_stopped(stack: FaultyStack) -> AbstractContextManager[None]:
    assert stack.postgres is not None
    return stopped_processes(stack.postgres)


FAULTS: Final = (
    Fault("one worker is killed", lambda s: _killed(s.workers_pids()[:1]), stays_up=False),
    Fault("every worker is killed", lambda s: _killed(s.workers_pids()), stays_up=False),
    Fault("one worker is stopped", lambda s: stopped(s.workers_pids()[:1]), stays_up=False, lasts_s=5.0),
    Fault("every worker is stopped", lambda s: stopped(s.workers_pids()), stays_up=False, lasts_s=5.0),
    Fault("workers end in turn (SIGTERM)", _terminated_in_turn, stays_up=False),
    Fault("all of extauthz is killed", _extauthz_killed, stays_up=False),
    Fault("extauthz is stopped", lambda s: stopped(s.child("extauthz").family()), stays_up=False),
    Fault("the identity provider refuses connections", _provider_gone, stays_up=True),
    Fault("the identity provider hangs", _provider_hangs, stays_up=True),
    Fault("the identity provider rotates its keys", _keys_rotated, stays_up=True),
    Fault("PostgreSQL refuses connections", _database_gone, stays_up=True),
    Fault("the network to PostgreSQL drops packets", _database_cut, stays_up=True),
    Fault("an answer of PostgreSQL stalls", _database_stalls, stays_up=True),
    Fault("connections to PostgreSQL are reset", _database_connections_drop, stays_up=True),
    Fault("PostgreSQL crashes", _database_crashes, stays_up=True),
    Fault("PostgreSQL is shut down", _database_shut_down, stays_up=True),
    Fault("PostgreSQL is stopped (SIGSTOP)", _postgres_stopped, stays_up=True),
    Fault("the sidecars' sessions are stopped", stopped_sidecar_sessions, stays_up=True),
    Fault("the sidecars' sessions are terminated", close_sidecar_sessions, stays_up=True),
    Fault("PostgreSQL becomes read-only", read_only_database, stays_up=True),
    Fault("PostgreSQL has no connection left", fill_connections, stays_up=True),
    Fault("the password is refused", wrong_password, stays_up=True),
    Fault("another session locks the tables", hold_tables, stays_up=True),
    Fault("a revision is put back", revision_put_back, stays_up=True),
    Fault("change records are missing", missing_change_records, stays_up=True),
    Fault("the epoch changes", new_epoch, stays_up=True),
    Fault("a stored policy is corrupt", corrupt_policy, stays_up=True),
    Fault("the key set is not JSON", provider_answers(NOT_JSON), stays_up=True),
    Fault("the key set is answered 500", provider_answers(SERVER_ERROR), stays_up=True),
    Fault("the key set is redirected", provider_answers(REDIRECT), stays_up=True),
    Fault("the key set is 8 MiB", provider_answers(TOO_LARGE), stays_up=True),
    Fault("the key set holds symmetric keys", provider_answers(SYMMETRIC_KEYS), stays_up=True),
    Fault("the decision log is moved away", _log_removed, stays_up=True),
    Fault("the decision log cannot grow", no_space_for_the_log, stays_up=True),
    Fault("no file descriptor is left", no_file_descriptors, stays_up=False),
    Fault("other processes take the processors", busy_processors, stays_up=True),
    Fault("silent connections", silent_connections, stays_up=True),
    Fault("noise on the workers' ports", sends(noise), stays_up=True),
    Fault("broken frames on the workers' ports", sends(broken_frames), stays_up=True),
    Fault("rules are written without pause", writes_without_pause, stays_up=True),
    Fault("Envoy is restarted", _envoy_restarted, stays_up=False),
)
