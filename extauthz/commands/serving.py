"""The commands that serve, and `migrate`: load the settings, run, return the exit status."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from functools import partial

import structlog

from extauthz.commands.imports import uninterrupted
from extauthz.commands.status import BAD_USAGE, FAILED, OK, print_json
from extauthz.domain.one_line import one_line
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import Settings, load_settings, misspelt
from extauthz.telemetry import logs

_log = structlog.get_logger("extauthz.runtime")


def sidecar(environ: Mapping[str, str]) -> int:
    """Run `extauthz sidecar`."""
    _ignore_hangups()
    settings = _settings(environ)
    if settings is None:
        return BAD_USAGE
    _warn_of_misspelt(environ)
    with uninterrupted():
        from extauthz.runtime.sidecar import run_sidecar

    return _run(run_sidecar(settings))


def control_plane(environ: Mapping[str, str], *, with_workers: bool) -> int:
    """Run `extauthz control-plane`, or `extauthz serve` with the sidecar's workers."""
    _ignore_hangups()
    settings = _settings(environ)
    if settings is None:
        return BAD_USAGE
    _warn_of_misspelt(environ)
    with uninterrupted():
        from extauthz.runtime.control_plane import run_control_plane

    return _run(run_control_plane(settings, with_workers=with_workers))


def migrate(
    environ: Mapping[str, str], *, only_status: bool, with_new_epoch: bool, as_json: bool = False
) -> int:
    """Run `extauthz migrate`."""
    settings = _settings(environ, serving=False)
    if settings is None:
        return BAD_USAGE
    with uninterrupted():
        from extauthz.runtime.migrations import run_migrate

    answer = partial(print_json, True) if as_json else None
    return _run(run_migrate(settings, only_status=only_status, with_new_epoch=with_new_epoch, answer=answer))


def worker(
    environ: Mapping[str, str], index: int, *, report_fd: int, lock_fd: int, again: bool = False
) -> int:
    """Run one worker under its supervisor, which is told why the worker cannot start and says it once.

    `again`: it takes the place of one that served.
    """
    settings = _settings(environ)
    if settings is None:
        return BAD_USAGE
    with uninterrupted():
        from extauthz.runtime.reports import StartRefused
        from extauthz.runtime.worker import run_worker

    # The worker closes its own end when it is done.
    channel = os.dup(report_fd)
    refused = _refusal(run_worker(settings, index, report_fd=report_fd, lock_fd=lock_fd, again=again))
    if refused is None:
        return OK
    with contextlib.suppress(OSError):
        os.write(channel, StartRefused(str(refused)).encode())
    return BAD_USAGE


def _ignore_hangups() -> None:
    """Let SIGHUP end no process that is still starting; later it reopens the decision log."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _settings(environ: Mapping[str, str], *, serving: bool = True) -> Settings | None:
    settings = load_settings(environ, serving=serving)
    if isinstance(settings, Settings):
        logs.configure(settings.log_level, settings.log_format)
        return settings
    hints = [f"{name} is set: {meant}" for name, meant in misspelt(environ).items()]
    print(f"extauthz: {one_line('; '.join([*settings, *hints]))}", file=sys.stderr)
    return None


def _warn_of_misspelt(environ: Mapping[str, str]) -> None:
    for name, meant in misspelt(environ).items():
        _log.warning("unknown_variable", name=name, problem=f"it is not read; {meant}")


def _run(main: Coroutine[object, object, None]) -> int:
    refused = _refusal(main)
    if refused is None:
        return OK
    print(f"extauthz: {one_line(str(refused))}", file=sys.stderr)
    return FAILED if refused.may_pass else BAD_USAGE


def _refusal(main: Coroutine[object, object, None]) -> StartRefusedError | None:
    """Run a command to its end; return what stood against its start, if anything did."""
    try:
        asyncio.run(main)
    except StartRefusedError as refused:
        return refused
    except BaseExceptionGroup as group:
        refused_group = group.subgroup(StartRefusedError)
        if refused_group is None:
            raise
        return _first(refused_group)
    return None


def _first(group: BaseExceptionGroup[StartRefusedError]) -> StartRefusedError:
    found: StartRefusedError | BaseExceptionGroup[StartRefusedError] = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
