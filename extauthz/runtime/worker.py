"""One sidecar worker: a process with its own listener, its own keys, policies and decision log."""

import asyncio
import contextlib
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from extauthz.check.grpcio_server import GrpcioServer
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
from extauthz.publish.files import FilesPublisher
from extauthz.runtime.policies import StartRefusedError, files_publisher
from extauthz.runtime.reports import REPORT_EVERY_S, Report
from extauthz.settings import FilesSource, Settings, StaleAction
from extauthz.telemetry.counts import Counts, FetchOutcome

DRAIN_S: Final = 8.0
_LOG_CLOSE_S: Final = 1.5
_FIRST_KEYS_S: Final = 5.0

_log = structlog.get_logger("extauthz.worker")


def issuer_sources(settings: Settings) -> Iterator[IssuerSource]:
    """Yield the issuers that the operator's own settings register."""
    if not settings.oidc_enabled or settings.auth_server_url is None:
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


@dataclass(slots=True)
class _Parts:
    """Everything that a worker is made of, built before anything starts."""

    current: CurrentPolicies
    publisher: FilesPublisher
    cache: JwksCache
    fetcher: KeyFetcher
    decision_log: DecisionLog
    counts: Counts
    service: CheckService
    server: GrpcioServer


def _build(settings: Settings, index: int, lock_fd: int | None) -> _Parts:
    instance = uuid.uuid4()
    counts = Counts(str(instance))
    current = CurrentPolicies()
    assert isinstance(settings.policy_source, FilesSource)
    publisher = files_publisher(
        settings.policy_source, settings, current, on_failure=counts.policy_refresh_failed
    )
    ca_file = None if settings.oidc_ca_file is None else str(settings.oidc_ca_file)
    fetcher = KeyFetcher(allow_hosts=settings.jwks_allow_hosts, ca_file=ca_file)
    cache = JwksCache(
        fetcher,
        schedule=Schedule(max_staleness=settings.jwks_max_staleness),
        on_fetch=lambda outcome: counts.jwks_fetched(FetchOutcome(outcome)),
    )
    cache.configure(issuer_sources(settings))
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
        random_bytes=os.urandom,
        condition_headers=settings.condition_headers,
    )
    server = GrpcioServer(service.answer, [_address(settings, index)])
    return _Parts(current, publisher, cache, fetcher, decision_log, counts, service, server)


def _address(settings: Settings, index: int) -> str:
    if settings.grpc_uds_dir is not None:
        return f"unix:{settings.grpc_uds_dir}/worker-{index}.sock"
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{settings.grpc_port + index}"


async def run_worker(settings: Settings, index: int, *, report_fd: int, lock_fd: int | None) -> None:
    """Run until SIGTERM or until the supervisor is gone, then drain.

    Raises:
        StartRefusedError: something the operator has to mend stands against starting.
    """
    try:
        parts = _build(settings, index, lock_fd)
        problems = parts.publisher.load_first()
        if problems:
            raise StartRefusedError("the policy files cannot be used: " + "; ".join(map(str, problems)))
        parts.decision_log.start()
    except OSError as error:
        place = error.filename or settings.decision_log
        raise StartRefusedError(f"{place}: {error.strerror or error}") from error
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, parts.decision_log.reopen)
    channel = socket.socket(fileno=report_fd)
    try:
        async with parts.fetcher:
            await _serve(parts, settings, channel, stop)
    finally:
        channel.close()
        parts.decision_log.close(_LOG_CLOSE_S)


async def _serve(parts: _Parts, settings: Settings, channel: socket.socket, stop: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    readiness = Readiness(parts.current, parts.cache, settings)
    async with asyncio.TaskGroup() as background:
        tasks = [
            background.create_task(parts.cache.run()),
            background.create_task(parts.publisher.watch()),
            background.create_task(_leash(reader, stop)),
        ]
        await _first_keys(readiness, stop)
        try:
            await asyncio.to_thread(parts.server.start)
        except OSError as error:
            for task in tasks:
                task.cancel()
            raise StartRefusedError(str(error)) from error
        tasks.append(background.create_task(_report(parts, readiness, writer, stop)))
        await stop.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(_now(parts, readiness, draining=True).encode())
            await writer.drain()
        await asyncio.to_thread(parts.server.drain, DRAIN_S)
        with contextlib.suppress(ConnectionError):
            writer.write(_now(parts, readiness, draining=True).encode())
            await writer.drain()
        for task in tasks:
            task.cancel()
    writer.close()


async def _first_keys(readiness: "Readiness", stop: asyncio.Event) -> None:
    """Give the identity provider a moment before the listener opens; without keys it opens all the same."""
    deadline = time.monotonic() + _FIRST_KEYS_S
    while not readiness.keys_usable() and time.monotonic() < deadline and not stop.is_set():
        await asyncio.sleep(0.02)


async def _leash(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    """Drain when the supervisor is gone: it never writes, so whatever is read is the end."""
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
    stop.set()


async def _report(
    parts: _Parts, readiness: "Readiness", writer: asyncio.StreamWriter, stop: asyncio.Event
) -> None:
    was_ready = False
    while not stop.is_set():
        report = _now(parts, readiness, draining=False)
        if report.ready != was_ready:
            parts.server.set_serving(serving=report.ready)
            was_ready = report.ready
        with contextlib.suppress(ConnectionError):
            writer.write(report.encode())
            await writer.drain()
        await asyncio.sleep(REPORT_EVERY_S if report.ready else 0.05)


def _now(parts: _Parts, readiness: "Readiness", *, draining: bool) -> Report:
    checks = readiness.checks()
    ages = [age for age in parts.cache.ages().values() if age is not None]
    directory = parts.current.current()
    snapshot = None if directory is None else directory.snapshots.get(DEFAULT_TENANT)
    counts = parts.counts.snapshot(
        policy_revision=None if snapshot is None else snapshot.revision,
        policy_age_s=None if directory is None else max(0.0, time.time() - directory.confirmed_at),
        jwks_age_s=max(ages, default=None),
    )
    counts["token_cache_hits"] = parts.service.tokens.hits
    counts["token_cache_misses"] = parts.service.tokens.misses
    return Report(readiness.gate(checks) and not draining, checks, counts)


class Readiness:
    """Whether a worker should be sent requests; `checks` by the names of the health endpoint."""

    def __init__(self, current: CurrentPolicies, cache: JwksCache, settings: Settings) -> None:
        self._current = current
        self._cache = cache
        self._settings = settings
        self._had_keys = False

    def keys_usable(self) -> bool:
        """Tell whether tokens can be verified, or need not be."""
        issuers = self._cache.current().issuers.values()
        return all(keys.keys_at(time.time()) is not None for keys in issuers)

    def checks(self) -> dict[str, bool]:
        """Return each check's outcome; one that does not apply is left out."""
        directory = self._current.current()
        checks = {"casbin": directory is not None, "policies": self._fresh()}
        if self._settings.mode is TenancyMode.SELFHOST and self._settings.oidc_enabled:
            checks["jwks"] = self.keys_usable()
        return checks

    def gate(self, checks: dict[str, bool]) -> bool:
        """Tell whether these checks let requests in: keys gate the first start only."""
        self._had_keys = self._had_keys or checks.get("jwks", True)
        return checks["casbin"] and checks["policies"] and self._had_keys

    def _fresh(self) -> bool:
        directory = self._current.current()
        if directory is None:
            return False
        if self._settings.policy_stale_action is StaleAction.SERVE:
            return True
        return time.time() - directory.confirmed_at <= self._settings.policy_max_staleness
