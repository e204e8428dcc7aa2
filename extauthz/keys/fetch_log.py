"""Logs the result of a fetch of an issuer's keys: the cause of a failure, or the changed keys."""

from typing import Final

import structlog

from extauthz.decide.tokens.jwks import IgnoredKey
from extauthz.decide.tokens.keyring import IssuerKeys
from extauthz.keys.fetcher import FetchedKeys, FetchFailed

_log: Final = structlog.get_logger("extauthz.keys")


def report(before: IssuerKeys, after: IssuerKeys, answer: FetchedKeys | FetchFailed, failures: int) -> None:
    """Log a failed fetch, or one that changed the usable keys; an unchanged key set is not logged."""
    issuer = after.config.issuer
    if isinstance(answer, FetchFailed):
        _log.warning(
            "key_fetch_failed",
            issuer=issuer,
            outcome=answer.outcome.value,
            detail=answer.detail,
            ignored=_reasons(answer.ignored),
            failures=failures,
            last_good=after.fetched_at,
        )
    elif after.keys is not before.keys:
        _log.info(
            "keys_changed",
            issuer=issuer,
            usable=[key.kid for key in answer.keys.keys],
            ignored=_reasons(answer.keys.ignored),
        )


def _reasons(ignored: tuple[IgnoredKey, ...]) -> list[str]:
    return [f"{key.kid}: {key.problem}" for key in ignored]
