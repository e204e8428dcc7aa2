"""`extauthz demo`: the whole stack on this machine, its table of calls, and its end."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from extauthz.demo import example_calls, replayed_changes
from extauthz.demo.accounts import ADMIN_CLIENT
from extauthz.demo.first_policies import ROLE_RULES
from extauthz.demo.identity_provider import AUDIENCE
from extauthz.demo.processes import ProcessFailedError, StoppedError
from extauthz.demo.report import ReportLine
from extauthz.demo.rest import ADMIN_KEY, SERVICE_KEY
from extauthz.demo.stack import Stack
from extauthz.demo.stopping import Stopping
from extauthz.demo.tenants import Tenant
from extauthz.domain.tenancy import TenancyMode

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM)


def run(*, check: bool, ready_file: Path | None, mode: str) -> int:
    """Run the demo and return the exit status.

    With `check`, end after the table: 0 if every call came out as expected, else 1. Without, run until
    SIGINT or SIGTERM and return 0; SIGHUP reopens the decision log. `ready_file` is written once everything
    answers and removed at the end.
    """
    if mode not in list(TenancyMode):
        print(f"demo: unknown mode {mode!r}; choose {' or '.join(TenancyMode)}", file=sys.stderr)
        return 2
    try:
        with (
            _until_asked_to_end() as stopping,
            Stack(stopping=stopping, mode=TenancyMode(mode)) as stack,
            _reopening_on_hangup(stack, stopping),
        ):
            return _run(stack, stopping, check=check, ready_file=ready_file)
    except StoppedError:
        return 1 if check else 0
    except (ProcessFailedError, OSError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1


def _run(stack: Stack, stopping: Stopping, *, check: bool, ready_file: Path | None) -> int:
    with contextlib.ExitStack() as leftovers:
        begun = time.monotonic()
        stack.start(lambda step: _tell(f"{time.monotonic() - begun:4.1f} s  starting {step}"))
        _tell(f"{time.monotonic() - begun:4.1f} s  started")
        if check:
            _announce(stack, ready_file, leftovers)
            return 0 if _print_table(stack, stopping, with_story=True) else 1
        _describe(stack)
        # The ready file is written after the table, which rotates keys and changes policies, has ended.
        _print_table(stack, stopping)
        _announce(stack, ready_file, leftovers)
        _say(f"\nReady: {stack.envoy_url}. Ctrl-C ends everything and removes its files.")
        _watch(stack, stopping)
        return 0


@contextlib.contextmanager
def _until_asked_to_end() -> Iterator[Stopping]:
    """Turn the signals that ask for an end into an event, which every wait of the stack watches."""
    stopping = Stopping()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in _ENDINGS}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _reopening_on_hangup(stack: Stack, stopping: Stopping) -> Iterator[None]:
    """Pass SIGHUP on to extauthz, which reopens its log; a terminal that has gone ends the demo."""
    had_terminal = _has_terminal()

    def hangup(*_: object) -> None:
        if had_terminal and not _has_terminal():
            stopping.set()
        else:
            stack.reopen_decision_log()

    before = signal.signal(signal.SIGHUP, hangup)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _print_table(stack: Stack, stopping: Stopping, *, with_story: bool = False) -> bool:
    agreed = total = 0
    for line in _lines(stack, with_story=with_story and stack.postgres is not None):
        if stopping.is_set():
            raise StoppedError
        _say(str(line))
        total += 1
        agreed += line.agrees
    _say(f"{agreed} of {total} calls came out as expected")
    return agreed == total


def _lines(stack: Stack, *, with_story: bool) -> Iterator[ReportLine]:
    """Yield the lines of the table; the story's requests are recorded while the other calls are made."""
    asked = replayed_changes.ask(stack) if with_story else None
    yield from example_calls.outcomes(stack)
    if asked is not None:
        yield from replayed_changes.outcomes(stack, asked)


def _describe(stack: Stack) -> None:
    rows: dict[str, object] = {
        "Envoy": stack.envoy_url,
        "admin REST API": f"{stack.rest_url}/docs",
        "sidecar (gRPC)": stack.grpc_target,
        "sidecar (health, metrics)": f"{stack.sidecar_url}/healthz/ready",
    }
    if stack.mode is TenancyMode.SELFHOST:
        rows["identity provider"] = stack.issuer
    for tenant in stack.tenants if stack.mode is TenancyMode.SAAS else ():
        rows[f"{tenant.slug}: identity provider"] = f"{tenant.people.issuer}, host {tenant.host}"
    rows |= {
        "PostgreSQL": stack.postgres_dsn,
        "decision log": stack.decision_log,
        "Envoy's access log": stack.folder / "envoy.log",
    }
    for what, place in rows.items():
        _say(f"{what:<26} {place}")
    tenant = stack.tenants[0]
    host = "" if tenant.host is None else f"-H 'Host: {tenant.host}' "
    header, key = (ADMIN_KEY, stack.admin_api_key) if tenant.key is None else (SERVICE_KEY, tenant.key)
    _say(
        f"\na token:  curl -s -d grant_type=password -d username=alice -d password=alice {stack.token_url}\n"
        f'a call:   curl -i {host}-H "Authorization: Bearer $TOKEN" {stack.envoy_url}/demo/invoices/17\n'
        f"the rules: curl -s -H '{header}: {key}' {stack.rest_url}{ROLE_RULES}\n"
    )


def facts(stack: Stack) -> dict[str, object]:
    """Return what the ready file tells of a running stack; `tenants` is there with `--mode saas`."""
    told: dict[str, object] = {
        "envoy_url": stack.envoy_url,
        "upstream": stack.upstream,
        "rest_url": stack.rest_url,
        "grpc_target": stack.grpc_target,
        "sidecar_url": stack.sidecar_url,
        "issuer": stack.issuer,
        "jwks_uri": stack.people.jwks_uri,
        "token_url": stack.token_url,
        "audience": AUDIENCE,
        "admin_api_key": stack.admin_api_key,
        "admin_client_id": ADMIN_CLIENT.name,
        "admin_client_secret": ADMIN_CLIENT.secret,
        "policy_public_keys": stack.policy_public_keys,
        "postgres_dsn": stack.postgres_dsn,
        "decision_log": str(stack.decision_log),
        "tokens": stack.tokens(),
    }
    if stack.mode is TenancyMode.SAAS:
        told["tenants"] = {tenant.slug: _facts_of(tenant) for tenant in stack.tenants}
    return told


def _facts_of(tenant: Tenant) -> dict[str, object]:
    return {
        "host": tenant.host,
        "issuer": tenant.people.issuer,
        "jwks_uri": tenant.people.jwks_uri,
        "token_url": tenant.people.token_url,
        "bootstrap_key": tenant.key,
    }


def _announce(stack: Stack, ready_file: Path | None, leftovers: contextlib.ExitStack) -> None:
    """Write the ready file atomically: a reader sees all of it or none."""
    if ready_file is None:
        return
    draft = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    leftovers.callback(draft.unlink, missing_ok=True)
    # It holds secrets.
    with open(draft, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        json.dump(facts(stack), stream, indent=2)
    leftovers.callback(ready_file.unlink, missing_ok=True)
    draft.replace(ready_file)


def _watch(stack: Stack, stopping: Stopping) -> None:
    """Wait for the end; a process that dies is reported, and Envoy goes on denying without it."""
    reported: set[str] = set()
    while not stopping.wait(0.5):
        for name, last_lines in stack.ended().items():
            if name not in reported:
                reported.add(name)
                print(f"demo: {name} has ended:\n{last_lines}", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(text, flush=True)


def _tell(text: str) -> None:
    """Print a line of progress: stdout is for what the demo found."""
    print(text, file=sys.stderr, flush=True)
