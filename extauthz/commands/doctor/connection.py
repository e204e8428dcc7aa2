"""Examines the connection to the database: pooler, notifications, TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.settings import Pooler, SslMode
from extauthz.storage.connection import open_listener
from extauthz.storage.outcome import DatabaseUnavailable, refusal_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.settings import Settings
    from extauthz.storage.address import DatabaseAddress
    from extauthz.storage.session import Session


def finding(severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding about the database."""
    return Finding(severity=severity, code=code, subject="database", message=message, fix=fix)


async def examine_listener(address: DatabaseAddress) -> list[Finding]:
    """Connect to POSTGRES_LISTEN_HOST as extauthz would, where it is set."""
    if not address.listen:
        return []
    try:
        session = await open_listener(address)
    except Exception as error:  # drivers and sockets raise many kinds; a bug of ours is raised again
        refusal = refusal_of(error)
        if not isinstance(refusal, DatabaseUnavailable):
            raise
        return [
            finding(
                Severity.ERROR,
                "listen-unusable",
                f"POSTGRES_LISTEN_HOST {address.for_notifications.place} cannot be used: {refusal.message}",
                "name PostgreSQL itself, past the pooler; until then changes are found by polling alone",
            )
        ]
    await session.close(timeout=5)
    return []


def examine_connection(session: Session, settings: Settings) -> Iterator[Finding]:
    """Judge the way that a connection to POSTGRES_HOST took."""
    if session.undeclared_pooler:
        yield finding(
            Severity.WARNING,
            "pooler-undeclared",
            f"a connection pooler answers at {session.host}, and POSTGRES_POOLER is not set",
            "set POSTGRES_POOLER to its pool mode (session or transaction)",
        )
    elif session.direct and settings.postgres_pooler is not Pooler.NONE:
        yield finding(
            Severity.WARNING,
            "pooler-absent",
            f"POSTGRES_POOLER={settings.postgres_pooler}, and PostgreSQL itself answers at {session.host}",
            "unset POSTGRES_POOLER, or name the pooler in POSTGRES_HOST",
        )
    if not session.listens and not settings.listen_hosts:
        yield finding(
            Severity.INFO,
            "notifications-polled",
            f"changes are found by polling alone, every {settings.policy_poll_interval:g} s",
            "set POSTGRES_LISTEN_HOST to PostgreSQL itself for notifications past the pooler",
        )
    if settings.postgres_sslmode is SslMode.DISABLE and settings.postgres_sslrootcert is not None:
        yield finding(
            Severity.WARNING,
            "ca-unused",
            "POSTGRES_SSLROOTCERT has no effect with POSTGRES_SSLMODE=disable",
            "set POSTGRES_SSLMODE=verify-full",
        )
