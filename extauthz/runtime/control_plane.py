"""`extauthz control-plane` and `extauthz serve`: the admin REST API, without or with the sidecar's workers.

Input: `Settings`. Output: a running process until SIGTERM. Errors: `StartRefusedError`.
"""

import asyncio
import ipaddress
import os
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.admin.health import health_app
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.ids import RANDOM_BYTES, uuid7
from extauthz.domain.loopback import is_loopback
from extauthz.domain.service_key import ID_PREFIX, SECRET_BYTES, PresentedKey, key_text
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys.assertion_file import AssertionFile
from extauthz.keys.cache import JwksCache
from extauthz.keys.introspector import Introspector
from extauthz.keys.schedule import Schedule
from extauthz.publish.past import History
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.retention import forget_old_history, forget_old_recordings
from extauthz.publish.write_validation import PolicyGate
from extauthz.rest.authentication import KEY_WAIT_S
from extauthz.rest.draft_attributes import DraftAttributes
from extauthz.rest.recording import Recording
from extauthz.rest.services import AdminServices
from extauthz.runtime.announce import announce, worker_addresses
from extauthz.runtime.assertion_keys import assertion_file
from extauthz.runtime.composition import SharedParts, shared_parts
from extauthz.runtime.control_channel import WORKER_KEY, WORKER_URL
from extauthz.runtime.descriptors import descriptor_problem
from extauthz.runtime.http_server import MAX_CONNECTIONS, follower_connections, serve
from extauthz.runtime.issuers import Issuers
from extauthz.runtime.migrations import ServedSchema
from extauthz.runtime.policies import compiler, database, postgres_publisher
from extauthz.runtime.readiness import log_problem, log_takes_decisions, policy_problems
from extauthz.runtime.replays import Replays
from extauthz.runtime.rest_listeners import open_listeners
from extauthz.runtime.signed_providers import SignedAdditions
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.runtime.supervisor import Supervisor, reopen_on_hangup, stop_on_signals
from extauthz.settings import PostgresSource, Settings
from extauthz.storage.pool import DatabaseAddress, open_pool, open_reader
from extauthz.storage.watch import watch
from extauthz.telemetry.exposition import render
from extauthz.telemetry.fleet import merge
from extauthz.telemetry.readiness import Readiness, shown_problems

if TYPE_CHECKING:
    from extauthz.publish.head_signing import HeadSigner
    from extauthz.storage.pool import Pool

POOL_SIZE: Final = 16
_LOG_CLOSE_S: Final = 1.5
_IPV4: Final = 4


def new_ids(clock: Callable[[], float] = time.time) -> Callable[[], str]:
    """Return a function that returns UUIDv7 texts, strictly increasing within this process."""
    last = 0

    def new_id() -> str:
        nonlocal last
        # Lists and the audit log are ordered by id, so ids of one millisecond must increase too.
        last = max(int(clock() * 1000), last + 1)
        return uuid7(last, os.urandom(RANDOM_BYTES))

    return new_id


async def run_control_plane(settings: Settings, *, with_workers: bool) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises:
        StartRefusedError: the operator has to correct the settings or the environment.
    """
    if not isinstance(settings.policy_source, PostgresSource):
        raise StartRefusedError(
            "the control plane keeps policies in PostgreSQL; "
            "with POLICY_SOURCE=files:DIR run 'extauthz sidecar'"
        )
    async with AsyncExitStack() as owned:
        listeners = open_listeners(settings, owned, with_workers=with_workers)
        schema = ServedSchema(settings)
        await schema.prepare()
        own_workers = _OwnWorkers(listeners.workers or listeners.api)
        supervisor = Supervisor(
            settings,
            workers=settings.workers if with_workers else 0,
            environment=own_workers.environment() if with_workers else None,
        )
        stop_on_signals(supervisor)
        addresses = listeners.addresses()
        if with_workers:
            addresses |= worker_addresses(settings)
        owned.callback(supervisor.close)
        plane = await _build(
            settings,
            schema,
            supervisor,
            owned,
            own_workers.key if with_workers else None,
            authzen_base_url(settings, listeners.api),
        )
        connections = MAX_CONNECTIONS if plane.head_signer is None else follower_connections()
        reopen_on_hangup(plane.services.recorder.log.reopen, supervisor.reopen_logs)
        async with asyncio.TaskGroup() as background:
            tasks = [
                background.create_task(work)
                for work in (
                    schema.keep_preparing(),
                    plane.publisher.run(),
                    watch(plane.address, plane.services.pool, schema.database),
                    plane.cache.run(),
                    plane.introspector.run(),
                    plane.issuers.follow(),
                    plane.replays.run(),
                    *listeners.serving(plane.services, max_connections=connections),
                    announce(
                        addresses,
                        listening=supervisor.listening,
                        stopping=supervisor.stopping,
                        readiness=plane.services.readiness,
                    ),
                )
            ]
            tasks.append(background.create_task(plane.forgetting()))
            tasks.append(background.create_task(plane.forgetting_recordings()))
            if plane.head_signer is not None:
                tasks.append(background.create_task(plane.head_signer.run()))
            if plane.assertion_keys is not None:
                tasks.append(background.create_task(plane.assertion_keys.follow()))
            if listeners.health is not None:
                key_set = plane.services.key_set
                health = health_app(supervisor.readiness, plane.sidecar_metrics, key_set)
                tasks.append(background.create_task(serve(health, listeners.health)))
            try:
                await supervisor.run()
            finally:
                plane.services.sidecars.end()
                for task in tasks:
                    task.cancel()


def authzen_base_url(settings: Settings, listener: socket.socket) -> str | None:
    """Return the base URL of AuthZEN metadata; None where clients may reach the API at an unknown address."""
    if settings.authzen_base_url is not None:
        return settings.authzen_base_url
    host, port, *_ = listener.getsockname()
    if not is_loopback(host):
        return None
    scheme = "http" if settings.rest_tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _OwnWorkers:
    """How the workers of this process reach its REST API: an address, and a key that only they get."""

    def __init__(self, listener: socket.socket) -> None:
        host, port, *_ = listener.getsockname()
        ip = ipaddress.ip_address(host.partition("%")[0])
        if ip.is_unspecified:
            host = "127.0.0.1" if ip.version == _IPV4 else "::1"
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        key_id = f"{ID_PREFIX}{uuid.uuid4()}"
        self._text = key_text(key_id, os.urandom(SECRET_BYTES))
        self.key = PresentedKey.parse(self._text)

    def environment(self) -> dict[str, str]:
        """Return what workers are started with."""
        return {WORKER_URL: self._url, WORKER_KEY: self._text}


@dataclass(slots=True)
class _Plane:
    """The parts of a process that serves the REST API."""

    services: AdminServices
    publisher: PostgresPublisher
    cache: JwksCache
    introspector: Introspector
    issuers: Issuers
    replays: Replays
    address: DatabaseAddress
    sidecar_metrics: Callable[[], bytes]
    """The same metrics as `services.metrics`, but `extauthz_ready` is the readiness of the sidecar's port."""
    assertion_keys: AssertionFile | None
    head_signer: "HeadSigner | None"
    forgetting: Callable[[], Coroutine[None, None, None]]
    """Deletes old history, until cancelled."""
    forgetting_recordings: Callable[[], Coroutine[None, None, None]]
    """Deletes old recordings, until cancelled."""


async def _build(
    settings: Settings,
    schema: ServedSchema,
    supervisor: Supervisor,
    owned: AsyncExitStack,
    worker_key: PresentedKey | None,
    authzen_base: str | None,
) -> _Plane:
    """Return the parts; `owned` closes them at the end. Raises StartRefusedError."""
    how = compiler(settings)
    keys = assertion_file(settings)
    shared = shared_parts(
        settings,
        # After the numbers of the workers.
        worker=settings.workers,
        lock_fd=supervisor.lock_fd,
        # A waiting request holds a coroutine here, and a thread in a worker, so it may wait longer here.
        schedule=Schedule(max_staleness=settings.jwks_max_staleness, worth_waiting=KEY_WAIT_S),
    )
    await owned.enter_async_context(shared.fetcher)
    current, counts, decision_log = shared.current, shared.counts, shared.decision_log
    publisher = postgres_publisher(
        settings,
        current,
        how,
        on_failure=counts.policy_refresh_failed,
        on_issuers=shared.issuers.register,
        state=schema.database,
    )
    address = database(settings)
    pool = await owned.enter_async_context(open_pool(address, max_size=POOL_SIZE, state=schema.database))
    _start_log(settings, decision_log, owned)
    if shared.traces is not None:
        shared.traces.exporter.start()
        owned.callback(shared.traces.exporter.close)
    replays = Replays(pool)
    heads = _head_signer(settings, address, pool, publisher, shared)

    def metrics(ready: Callable[[], Readiness]) -> bytes:
        return render(
            merge([supervisor.counts(), counts.snapshot()]),
            ready=ready().ready,
            worker_restarts=supervisor.restarts if supervisor.has_workers else None,
        )

    def readiness() -> Readiness:
        own = {
            "database": schema.prepared and publisher.available and schema.database.loss is None,
            "policies": current.current() is not None,
        }
        workers = supervisor.readiness()
        checks = {
            name: own.get(name, True) and workers.checks.get(name, True)
            for name in dict.fromkeys((*own, *(workers.checks if supervisor.has_workers else ())))
        }
        # `workers.ready` already reflects which checks gate a worker: keys and database do not always.
        problems = [*policy_problems(publisher), *shared.issuers.problems(), *workers.problems]
        if keys is not None and keys.problem is not None:
            problems.append(keys.problem)
        log = decision_log.problem
        if log is not None:
            checks["decision_log"] = False
            problems.append(log_problem(log))
        if (problem := descriptor_problem()) is not None:
            problems.append(problem)
        return Readiness(
            ready=all(own.values()) and workers.ready and log_takes_decisions(decision_log),
            checks=checks,
            problems=shown_problems(problems),
        )

    gate = PolicyGate(how, publisher.state, publisher.sizes, on_override=counts.change_guard_overridden)
    services = AdminServices(
        condition_body_max=settings.condition_body_max,
        mode=settings.mode,
        pool=pool,
        policies=current,
        wait_for=publisher.wait_for,
        validate=gate.validate,
        compiled=gate.compiled,
        unreadable=publisher.unreadable,
        file_issuers=shared.issuers.of_file,
        keys=shared.cache,
        introspector=shared.introspector,
        tokens=VerifiedTokens(),
        token_policy=shared.policy.token,
        admin_api_key=settings.admin_api_key,
        condition_headers=settings.condition_headers,
        claim_headers=settings.claim_headers,
        key_set=None if keys is None else keys.key_set,
        max_staleness=shared.policy.max_staleness,
        recorder=Recorder(decision_log, counts, random_bytes=os.urandom),
        new_id=new_ids(),
        clock=time.time,
        readiness=readiness,
        metrics=lambda: metrics(readiness),
        heads=None if heads is None else heads.head,
        replay_queued=replays.wake,
        history=History(how, publisher.state, publisher.wait_for),
        worker_key=worker_key,
        authzen_base_url=authzen_base,
        tracing=None if shared.traces is None else shared.traces.tracing,
        recording=Recording(
            settings.record,
            settings.record_attributes,
            settings.record_days,
            DraftAttributes(pool, Reading(condition_headers=settings.condition_headers), time.time),
        ),
    )
    return _Plane(
        services,
        publisher,
        shared.cache,
        shared.introspector,
        shared.issuers,
        replays,
        address,
        lambda: metrics(supervisor.readiness),
        keys,
        heads,
        lambda: forget_old_history(
            pool, lambda: _tenants(current.current()), settings.history_days, clock=time.time
        ),
        lambda: forget_old_recordings(
            pool, lambda: _tenants(current.current()), settings.record_days, clock=time.time
        ),
    )


def _tenants(directory: Directory | None) -> list[str]:
    return [] if directory is None else list(directory.snapshots)


def _head_signer(
    settings: Settings,
    address: DatabaseAddress,
    pool: "Pool",
    publisher: PostgresPublisher,
    shared: SharedParts,
) -> "HeadSigner | None":
    """Return what signs policies for followers over HTTP; None without POLICY_SIGNING_KEY."""
    if settings.policy_signing_key is None:
        return None
    # Imported here: without the key nothing needs securesystemslib.
    from extauthz.publish.head_signing import HeadSigner

    selfhost = settings.mode is TenancyMode.SELFHOST
    found = HeadSigner(
        lambda: open_reader(address),
        pool,
        settings.policy_signing_key,
        max_staleness=settings.policy_max_staleness,
        poll_interval=settings.policy_poll_interval,
        tenants=frozenset({DEFAULT_TENANT} if selfhost else ()),
        additions=SignedAdditions(settings, shared.issuers, shared.cache).now,
    )
    publisher.on_revision = found.wake
    return found


def _start_log(settings: Settings, decision_log: DecisionLog, owned: AsyncExitStack) -> None:
    """Start the decision log of `/check`. Raises StartRefusedError."""
    try:
        decision_log.start()
    except OSError as error:
        raise StartRefusedError(
            f"DECISION_LOG {settings.decision_log!r}: {error.strerror or error}"
        ) from error
    owned.callback(decision_log.close, _LOG_CLOSE_S)
