"""One worker of the sidecar: a process with its own listener, keys, policies and decision log.

Input: `Settings`, the index, the socket to the supervisor. Output: answered checks until SIGTERM. Errors:
`StartRefusedError`.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from extauthz.check.assertions import Assertions
from extauthz.check.credentials import CredentialSources
from extauthz.check.http_server import HttpAuthzServer
from extauthz.check.service import CheckService
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys.assertion_file import AssertionFile
from extauthz.keys.schedule import Schedule
from extauthz.publish.source import Publisher
from extauthz.recording.bounds import MAX_HELD_SHAPES
from extauthz.runtime.assertion_keys import assertion_file
from extauthz.runtime.composition import SharedParts, shared_parts
from extauthz.runtime.control_channel import ControlPlaneChannel, control_plane
from extauthz.runtime.grpc_transport import Transport, grpc_server
from extauthz.runtime.listener import listen
from extauthz.runtime.policies import publisher
from extauthz.runtime.readiness import WorkerReadiness
from extauthz.runtime.reporting import Reported, Reporting
from extauthz.runtime.revision_reports import Reporter, RevisionReports
from extauthz.runtime.shape_batches import ShapeBatches
from extauthz.runtime.signed_keys import take_over
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.runtime.tls_files import InvalidCertificateError
from extauthz.settings import CorsPreflight, Settings
from extauthz.telemetry.check_trace import CheckTracing

if TYPE_CHECKING:
    from collections.abc import Coroutine

DRAIN_S: Final = 5.0
NOTICE_S: Final = 2.0
"""Seconds in which proxies notice that a worker drains; shipped Envoy configurations check every second."""
ORPHAN_DRAIN_S: Final = 1.0
_LOG_CLOSE_S: Final = 1.5
_FIRST_KEYS_S: Final = 5.0
_LAST_REPORT_S: Final = 1.0
_LAST_FLUSH_S: Final = 0.25

_log = structlog.get_logger("extauthz.worker")


def credential_sources(settings: Settings) -> CredentialSources | None:
    """Return the additional places of credentials in a request; None if there are no additional ones."""
    sources = CredentialSources(
        token_header=settings.token_header,
        token_cookie=settings.token_cookie,
        jwt_metadata=settings.trust_jwt_authn_metadata,
        workloads=settings.mtls_principals,
    )
    return None if sources == CredentialSources() else sources


@dataclass(slots=True)
class _Parts:
    """The parts of a worker, all built before one is started."""

    shared: SharedParts
    publisher: Publisher
    service: CheckService
    server: Transport
    http_server: HttpAuthzServer | None
    channel: ControlPlaneChannel | None
    keys_fetched: asyncio.Event
    assertion_keys: AssertionFile | None


def _build(settings: Settings, index: int, lock_fd: int | None, *, again: bool) -> _Parts:
    keys_fetched = asyncio.Event()
    server_address = control_plane(settings, os.environ)
    shared = shared_parts(
        settings,
        worker=index,
        lock_fd=lock_fd,
        schedule=Schedule(max_staleness=settings.jwks_max_staleness),
        wait_for_file=again,
        on_fetch=keys_fetched.set,
        record=server_address is not None,
    )
    tracing = None if shared.traces is None else shared.traces.tracing
    source = publisher(
        settings,
        shared.current,
        on_failure=shared.counts.policy_refresh_failed,
        on_refusal=shared.counts.policy_head_refused,
        on_issuers=shared.issuers.register,
        on_keys=partial(take_over, shared.cache),
        tracing=tracing,
    )
    # Decision ids are unique, not secret; a system call per id would cost more than the decision.
    random_bytes = random.Random(os.urandom(32)).randbytes  # noqa: S311
    assertion_keys = assertion_file(settings, wait=again)
    assertions = None
    if assertion_keys is not None and settings.assertion_issuer is not None:
        assertions = Assertions(settings.assertion_issuer, assertion_keys)
    service = CheckService(
        policies=shared.current,
        keys=shared.cache,
        policy=shared.policy,
        recorder=Recorder(shared.decision_log, shared.counts, random_bytes=random_bytes),
        condition_headers=settings.condition_headers,
        longest_body=settings.condition_body_max,
        sources=credential_sources(settings),
        claim_headers=settings.claim_headers,
        introspector=shared.introspector,
        preflights=settings.cors_preflight is CorsPreflight.POLICY,
        assertions=assertions,
        tracing=None if tracing is None else CheckTracing(tracing),
    )
    server = grpc_server(settings, service, index)
    http_server = None
    if settings.http_authz_port is not None:
        http_server = HttpAuthzServer(
            service.answer_http, service.refuse_http, path_prefix=settings.http_authz_path_prefix or ""
        )
        service.while_waiting["http"] = http_server.while_waiting
    channel = None
    if server_address is not None:
        channel = ControlPlaneChannel(replace(server_address, tracing=tracing))
    return _Parts(shared, source, service, server, http_server, channel, keys_fetched, assertion_keys)


def _revision_reports(parts: _Parts, settings: Settings) -> RevisionReports | None:
    """Return the reports to the control plane; None without one."""
    if parts.channel is None:
        return None
    selfhost = settings.mode is TenancyMode.SELFHOST
    tenants = (DEFAULT_TENANT,) if selfhost else tuple(settings.tenants)
    reporter = Reporter(str(parts.shared.instance), tenants, parts.shared.counts)
    service = parts.service
    return RevisionReports(
        parts.channel, reporter, parts.shared.current, service.used_keys, bodies=service.bodies
    )


def _shape_batches(parts: _Parts, settings: Settings) -> ShapeBatches | None:
    """Return what sends the shapes of requests to the control plane; None: they are not recorded."""
    if parts.channel is None or parts.shared.shapes is None:
        return None
    return ShapeBatches(
        parts.channel,
        parts.shared.shapes,
        parts.shared.counts,
        instance=str(parts.shared.instance),
        max_shapes=MAX_HELD_SHAPES // settings.workers // 2,
    )


def _http_listener(settings: Settings, index: int) -> socket.socket | None:
    port = settings.http_authz_port
    return None if port is None else listen(settings.grpc_host, port + index)


async def run_worker(
    settings: Settings, index: int, *, report_fd: int, lock_fd: int | None, again: bool = False
) -> None:
    """Run until SIGTERM or until the supervisor ends, then drain.

    `again`: this process replaces an earlier one. Then the worker waits for invalid policy files to be
    corrected, as a running worker does; at the first start it refuses to start with them.

    Raises:
        StartRefusedError: the operator has to correct the settings or the environment.
    """
    loop = asyncio.get_running_loop()
    try:
        parts = _build(settings, index, lock_fd, again=again)
    except InvalidCertificateError as error:
        raise StartRefusedError(str(error)) from error
    except OSError as error:
        raise StartRefusedError(f"{error.filename}: {error.strerror or error}") from error
    loop.add_signal_handler(signal.SIGHUP, parts.shared.decision_log.reopen)
    # The supervisor started this process with SIGHUP blocked, because without a handler it ends the process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    to_supervisor = socket.socket(fileno=report_fd)
    with contextlib.ExitStack() as owned:
        owned.callback(to_supervisor.close)
        async with parts.shared.fetcher, parts.channel or contextlib.nullcontext():
            await _work(parts, settings, index, to_supervisor, owned, again=again)


async def _work(
    parts: _Parts,
    settings: Settings,
    index: int,
    to_supervisor: socket.socket,
    owned: contextlib.ExitStack,
    *,
    again: bool,
) -> None:
    reader, writer = await asyncio.open_connection(sock=to_supervisor)
    reporting = Reporting(
        Reported(
            parts.shared.current,
            parts.shared.cache,
            parts.shared.introspector,
            parts.shared.counts,
            parts.service,
            WorkerReadiness(
                parts.shared.current,
                parts.shared.cache,
                parts.publisher,
                settings,
                parts.shared.decision_log,
                parts.shared.issuers,
                parts.assertion_keys,
            ),
        ),
        writer,
        on_ready=lambda ready: parts.server.set_serving(serving=ready),
    )
    parts.publisher.on_busy = reporting.busy
    if parts.shared.traces is not None:
        parts.shared.traces.exporter.start()
    revisions, batches = _revision_reports(parts, settings), _shape_batches(parts, settings)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as background:
        tasks = [
            background.create_task(reporting.run()),
            background.create_task(_stop_without_supervisor(reader, stop)),
        ]
        try:
            await _prepare(parts, settings, stop, owned, again=again)
            tasks += [
                background.create_task(work)
                for work in (
                    parts.shared.cache.run(),
                    parts.shared.introspector.run(),
                    parts.shared.issuers.follow(),
                    parts.publisher.run(),
                )
            ]
            if parts.assertion_keys is not None:
                tasks.append(background.create_task(parts.assertion_keys.follow()))
            # The control plane knows of this worker before its first decision, where it can be reached.
            await asyncio.gather(_first_keys(parts, stop), *([revisions.first()] if revisions else []))
            await _listen(parts, settings, index)
            reports = None if revisions is None else background.create_task(revisions.run())
            recording = None if batches is None else background.create_task(batches.run())
        except StartRefusedError:
            for task in tasks:
                task.cancel()
            raise
        reporting.listening(parts.server, *((parts.http_server,) if parts.http_server is not None else ()))
        await stop.wait()
        reporting.draining()
        if reader.at_eof():
            _log.warning("supervisor_gone", worker=index, message="the worker ends too")
            await asyncio.to_thread(parts.server.drain, ORPHAN_DRAIN_S)
        else:
            await asyncio.to_thread(parts.server.drain, DRAIN_S, notice_s=NOTICE_S)
        if parts.http_server is not None:
            await parts.http_server.stop()
        last: list[Coroutine[Any, Any, object]] = []
        if batches is not None and recording is not None:
            recording.cancel()
            last.append(_send_last_shapes(parts, batches))
        if revisions is not None and reports is not None:
            reports.cancel()
            last.append(revisions.last())
        if parts.shared.traces is not None:
            last.append(asyncio.to_thread(parts.shared.traces.exporter.close))
        await asyncio.gather(*last)
        reporting.send()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_LAST_REPORT_S):
                await writer.drain()
        for task in tasks:
            task.cancel()
    writer.close()


async def _send_last_shapes(parts: _Parts, batches: ShapeBatches) -> None:
    """Send the shapes of the checks that were answered last."""
    assert parts.shared.shapes is not None
    parts.shared.shapes.end()
    async with batches.ending():
        # Written decisions are counted, and handed over before the next flush is reached.
        for _ in range(2):
            await asyncio.to_thread(parts.shared.decision_log.flush, _LAST_FLUSH_S)


async def _prepare(
    parts: _Parts, settings: Settings, stop: asyncio.Event, owned: contextlib.ExitStack, *, again: bool
) -> None:
    """Load policy files before listening, and start the decision log. Raises StartRefusedError."""
    parts.publisher.on_busy(True)
    problems = await asyncio.to_thread(parts.publisher.load_first)
    parts.publisher.on_busy(False)
    if problems and not again:
        raise StartRefusedError("the policy files cannot be used: " + "; ".join(map(str, problems)))
    # The handlers are set before the log starts, so that SIGTERM always writes the end of a started log.
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        parts.shared.decision_log.start()
    except OSError as error:
        place = error.filename or settings.decision_log
        raise StartRefusedError(f"{place}: {error.strerror or error}") from error
    owned.callback(parts.shared.decision_log.close, _LOG_CLOSE_S)


async def _listen(parts: _Parts, settings: Settings, index: int) -> None:
    try:
        http_listener = await asyncio.to_thread(_http_listener, settings, index)
        await asyncio.to_thread(parts.server.start)
        if parts.http_server is not None and http_listener is not None:
            await parts.http_server.start(http_listener)
    except OSError as error:
        raise StartRefusedError(str(error)) from error


async def _first_keys(parts: _Parts, stop: asyncio.Event) -> None:
    """Wait up to `_FIRST_KEYS_S` for the first fetch of keys; the listener opens also without keys."""
    if not any(keys.config.has_keys for keys in parts.shared.cache.current().issuers.values()):
        return
    waiting = [asyncio.create_task(event.wait()) for event in (parts.keys_fetched, stop)]
    await asyncio.wait(waiting, timeout=_FIRST_KEYS_S, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


async def _stop_without_supervisor(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    """Set `stop` when the supervisor ends: it never writes, so the first read returns the end of stream."""
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
    stop.set()
