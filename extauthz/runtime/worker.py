"""One sidecar worker: a process with its own listener, its own keys, policies and decision log."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from extauthz.admin.health import listen
from extauthz.check.credential_sources import CredentialSources
from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.http_server import HttpAuthzServer
from extauthz.check.service import CheckService
from extauthz.compile.directory import DEFAULT_TENANT, TenancyMode
from extauthz.decide.identity import TokenPolicy
from extauthz.decide.judge import CheckPolicy
from extauthz.decide.keyring import IssuerConfig
from extauthz.decisionlog.log import DecisionLog
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.schedule import Schedule
from extauthz.keys.source import IssuerSource
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.source import Publisher
from extauthz.runtime.issuers import follow_issuers
from extauthz.runtime.policies import StartRefusedError, publisher
from extauthz.runtime.readiness import WorkerReadiness
from extauthz.runtime.reports import REPORT_EVERY_S, Report
from extauthz.runtime.tls_files import UnusableCertificateError, grpc_tls
from extauthz.settings import Settings, StaleAction
from extauthz.telemetry.counts import Counts, FetchOutcome

DRAIN_S: Final = 5.0
NOTICE_S: Final = 2.0
"""In which proxies notice that a worker drains: the shipped configurations ask for health every second."""
ORPHAN_DRAIN_S: Final = 1.0
_LOG_CLOSE_S: Final = 1.5
_FIRST_KEYS_S: Final = 5.0
_YOUNG_OBJECTS: Final = 10_000
"""How many new objects start a collection: what waits for the decision log is not garbage, and is many."""

_log = structlog.get_logger("extauthz.worker")


def issuer_sources(settings: Settings) -> Iterator[IssuerSource]:
    """Yield the issuers that the operator's own settings register."""
    if not settings.oidc_enabled or settings.mode is not TenancyMode.SELFHOST:
        return
    if settings.auth_server_url is None:
        return
    yield IssuerSource(
        config=IssuerConfig(
            issuer=settings.auth_server_url,
            tenant=DEFAULT_TENANT,
            audiences=settings.oidc_audience,
            roles_claim=settings.roles_claim,
            domain_claim=settings.domain_claim,
            admin_domain_claim=settings.admin_domain_claim,
            excluded_roles=frozenset(settings.excluded_roles),
        ),
        jwks_uri=settings.jwks_uri,
        operator_configured=True,
    )


def key_fetcher(settings: Settings) -> KeyFetcher:
    """Return what fetches keys. Raises StartRefusedError: OIDC_CA_FILE is of no use."""
    ca_file = None if settings.oidc_ca_file is None else str(settings.oidc_ca_file)
    try:
        return KeyFetcher(allow_hosts=settings.jwks_allow_hosts, ca_file=ca_file)
    except ssl.SSLError as error:
        raise StartRefusedError(f"OIDC_CA_FILE {ca_file!r} holds no certificate") from error
    except OSError as error:
        raise StartRefusedError(f"OIDC_CA_FILE {ca_file!r} cannot be read: {error.strerror}") from error


def check_policy(settings: Settings) -> CheckPolicy:
    """Return what the settings demand of every check."""
    return CheckPolicy(
        token=TokenPolicy(
            oidc_enabled=settings.oidc_enabled,
            leeway=settings.token_leeway,
            max_bytes=settings.token_max_bytes,
            max_lifetime=settings.token_max_lifetime,
        ),
        unmapped=settings.unmapped,
        binding=settings.tenant_binding,
        max_staleness=(
            None if settings.policy_stale_action is StaleAction.SERVE else settings.policy_max_staleness
        ),
    )


def credential_sources(settings: Settings) -> CredentialSources | None:
    """Return where credentials may stand beside the usual places, None for nowhere."""
    sources = CredentialSources(
        token_header=settings.token_header,
        token_cookie=settings.token_cookie,
        jwt_metadata=settings.trust_jwt_authn_metadata,
        workloads=settings.mtls_principals,
    )
    return None if sources == CredentialSources() else sources


@dataclass(slots=True)
class _Parts:
    """Everything that a worker is made of, built before anything starts."""

    current: CurrentPolicies
    publisher: Publisher
    cache: JwksCache
    fetcher: KeyFetcher
    decision_log: DecisionLog
    counts: Counts
    service: CheckService
    server: GrpcioServer
    http_server: HttpAuthzServer | None
    keys_fetched: asyncio.Event


def _build(settings: Settings, index: int, lock_fd: int | None) -> _Parts:
    instance = uuid.uuid4()
    counts = Counts(str(instance))
    current = CurrentPolicies()
    keys_fetched = asyncio.Event()

    def fetched(outcome: str) -> None:
        counts.jwks_fetched(FetchOutcome(outcome))
        keys_fetched.set()

    fetcher = key_fetcher(settings)
    cache = JwksCache(
        fetcher,
        schedule=Schedule(max_staleness=settings.jwks_max_staleness),
        on_fetch=fetched,
    )
    cache.configure(issuer_sources(settings))
    source = publisher(
        settings,
        current,
        on_failure=counts.policy_refresh_failed,
        on_issuers=follow_issuers(settings, cache),
    )
    decision_log = DecisionLog(
        settings.decision_log,
        worker=index,
        instance=instance,
        on_overflow=settings.decision_log_on_overflow,
        lock_fd=lock_fd,
        on_loss=counts.lost,
    )
    service = CheckService(
        policies=current,
        keys=cache,
        policy=check_policy(settings),
        log=decision_log,
        counts=counts,
        # Unique, not secret: seeded once, for a system call each would cost more than deciding.
        random_bytes=random.Random(os.urandom(32)).randbytes,  # noqa: S311
        condition_headers=settings.condition_headers,
        sources=credential_sources(settings),
    )
    server = GrpcioServer(
        service.answer,
        [_address(settings, index)],
        tls=grpc_tls(settings),
        refuse=service.refuse_stranger,
    )
    http_server = None
    if settings.http_authz_port is not None:
        http_server = HttpAuthzServer(service.answer_http, service.refuse_http)
    return _Parts(
        current, source, cache, fetcher, decision_log, counts, service, server, http_server, keys_fetched
    )


def _address(settings: Settings, index: int) -> str:
    if settings.grpc_uds_dir is not None:
        return f"unix:{settings.grpc_uds_dir}/worker-{index}.sock"
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{settings.grpc_port + index}"


def _http_listener(settings: Settings, index: int) -> socket.socket | None:
    port = settings.http_authz_port
    return None if port is None else listen(settings.grpc_host, port + index)


async def run_worker(settings: Settings, index: int, *, report_fd: int, lock_fd: int | None) -> None:
    """Run until SIGTERM or until the supervisor is gone, then drain.

    Raises:
        StartRefusedError: something the operator has to mend stands against starting.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        parts = _build(settings, index, lock_fd)
        problems = parts.publisher.load_first()
        if problems:
            raise StartRefusedError("the policy files cannot be used: " + "; ".join(map(str, problems)))
        # Before the log begins: a log that has begun is ended.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        parts.decision_log.start()
    except UnusableCertificateError as error:
        raise StartRefusedError(str(error)) from error
    except OSError as error:
        place = error.filename or settings.decision_log
        raise StartRefusedError(f"{place}: {error.strerror or error}") from error
    loop.add_signal_handler(signal.SIGHUP, parts.decision_log.reopen)
    channel = socket.socket(fileno=report_fd)
    try:
        async with parts.fetcher:
            await _serve(parts, settings, index, channel, stop)
    finally:
        channel.close()
        parts.decision_log.close(_LOG_CLOSE_S)


async def _serve(
    parts: _Parts, settings: Settings, index: int, channel: socket.socket, stop: asyncio.Event
) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    readiness = WorkerReadiness(parts.current, parts.cache, parts.publisher, settings)
    async with asyncio.TaskGroup() as background:
        tasks = [
            background.create_task(parts.cache.run()),
            background.create_task(parts.publisher.run()),
            background.create_task(_leash(reader, stop)),
        ]
        await _first_keys(parts, stop)
        try:
            http_listener = _http_listener(settings, index)
            await asyncio.to_thread(parts.server.start)
            if parts.http_server is not None and http_listener is not None:
                await parts.http_server.start(http_listener)
        except OSError as error:
            for task in tasks:
                task.cancel()
            raise StartRefusedError(str(error)) from error
        tasks.append(background.create_task(_report(parts, readiness, writer, stop)))
        await stop.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(_now(parts, readiness, draining=True).encode())
            await writer.drain()
        if reader.at_eof():
            await asyncio.to_thread(parts.server.drain, ORPHAN_DRAIN_S)
        else:
            await asyncio.to_thread(parts.server.drain, DRAIN_S, notice_s=NOTICE_S)
        if parts.http_server is not None:
            await parts.http_server.stop()
        with contextlib.suppress(ConnectionError):
            writer.write(_now(parts, readiness, draining=True).encode())
            await writer.drain()
        for task in tasks:
            task.cancel()
    writer.close()


async def _first_keys(parts: _Parts, stop: asyncio.Event) -> None:
    """Give the identity provider a moment before the listener opens; without keys it opens all the same."""
    if not parts.cache.current().issuers:
        return
    waiting = [asyncio.create_task(event.wait()) for event in (parts.keys_fetched, stop)]
    await asyncio.wait(waiting, timeout=_FIRST_KEYS_S, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


async def _leash(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    """Drain when the supervisor is gone: it never writes, so whatever is read is the end."""
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
    stop.set()


async def _report(
    parts: _Parts, readiness: WorkerReadiness, writer: asyncio.StreamWriter, stop: asyncio.Event
) -> None:
    was_ready = False
    while not stop.is_set():
        report = _now(parts, readiness, draining=False)
        if report.ready != was_ready:
            if report.ready:
                spare_collector()
            parts.server.set_serving(serving=report.ready)
            was_ready = report.ready
        with contextlib.suppress(ConnectionError):
            writer.write(report.encode())
            await writer.drain()
        await asyncio.sleep(REPORT_EVERY_S if report.ready else 0.05)


def spare_collector() -> None:
    """Take what is loaded out of the cyclic garbage collector's sight; before the first request is let in.

    A full collection looks at every object there is: with 100,000 rules it stops all threads for longer than
    Envoy waits for an answer. Policies live long and have no cycles, so looking at them finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def _now(parts: _Parts, readiness: WorkerReadiness, *, draining: bool) -> Report:
    checks = readiness.checks()
    ages = [age for age in parts.cache.ages().values() if age is not None]
    directory = parts.current.current()
    selfhost = directory is not None and directory.mode is TenancyMode.SELFHOST
    snapshot = directory.snapshots.get(DEFAULT_TENANT) if directory is not None and selfhost else None
    counts = parts.counts.snapshot(
        policy_revision=None if snapshot is None else snapshot.revision,
        policy_age_s=None if directory is None else max(0.0, time.time() - directory.worst_confirmed()),
        jwks_age_s=max(ages, default=None),
    )
    counts["token_cache_hits"] = parts.service.tokens.hits
    counts["token_cache_misses"] = parts.service.tokens.misses
    return Report(
        ready=readiness.gate(checks) and not draining,
        ready_but_for_keys=readiness.gate_but_for_keys(checks) and not draining,
        checks=checks,
        counts=counts,
        problems=readiness.problems(),
    )
