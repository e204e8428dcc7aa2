"""The long-running commands as functions of the environment: load settings, run, return an exit status."""

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from typing import Final

from extauthz.runtime.policies import StartRefusedError
from extauthz.settings import Settings
from extauthz.telemetry import logs

BAD_SETTINGS: Final = 2


def sidecar(environ: Mapping[str, str]) -> int:
    """Run `extauthz sidecar`."""
    settings = _settings(environ)
    if settings is None:
        return BAD_SETTINGS
    from extauthz.runtime.sidecar import run_sidecar

    return _run(run_sidecar(settings))


def control_plane(environ: Mapping[str, str], *, with_workers: bool) -> int:
    """Run `extauthz control-plane`, or `extauthz serve` with the sidecar's workers."""
    settings = _settings(environ)
    if settings is None:
        return BAD_SETTINGS
    from extauthz.runtime.control_plane import run_control_plane

    return _run(run_control_plane(settings, with_workers=with_workers))


def migrate(environ: Mapping[str, str], *, only_status: bool, with_new_epoch: bool) -> int:
    """Run `extauthz migrate`."""
    settings = _settings(environ, serving=False)
    if settings is None:
        return BAD_SETTINGS
    from extauthz.runtime.migrations import run_migrate

    return _run(run_migrate(settings, only_status=only_status, with_new_epoch=with_new_epoch))


def worker(environ: Mapping[str, str], index: int, *, report_fd: int, lock_fd: int) -> int:
    """Run one worker under its supervisor."""
    settings = _settings(environ)
    if settings is None:
        return BAD_SETTINGS
    from extauthz.runtime.worker import run_worker

    return _run(run_worker(settings, index, report_fd=report_fd, lock_fd=lock_fd))


def _settings(environ: Mapping[str, str], *, serving: bool = True) -> Settings | None:
    settings = Settings.load(environ, serving=serving)
    if isinstance(settings, Settings):
        logs.configure(settings.log_level, settings.log_format)
        return settings
    print("extauthz: " + "; ".join(settings), file=sys.stderr)
    return None


def _run(main: Coroutine[object, object, None]) -> int:
    try:
        asyncio.run(main)
    except StartRefusedError as refused:
        print(f"extauthz: {refused}", file=sys.stderr)
        return BAD_SETTINGS
    except BaseExceptionGroup as group:
        refused_group = group.subgroup(StartRefusedError)
        if refused_group is None:
            raise
        print(f"extauthz: {_first(refused_group)}", file=sys.stderr)
        return BAD_SETTINGS
    return 0


def _first(group: BaseExceptionGroup[StartRefusedError]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
