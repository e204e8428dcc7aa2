"""What can be wrong with introspection, asked exactly as a sidecar asks, about a random token."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Final

from extauthz.domain.claims import value_kind
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.introspection_request import IntrospectionFailed, IntrospectionRequests
from extauthz.keys.source import IssuerSource
from extauthz.proxyconfig.findings import Finding, Severity

_TOKEN_BYTES: Final = 32


def finding(severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding about introspection."""
    return Finding(severity=severity, code=code, subject="introspection", message=message, fix=fix)


async def examine_introspection(fetcher: KeyFetcher, source: IssuerSource) -> list[Finding]:
    """Ask once about a random token; the answer has to be that it is not active."""
    client = source.introspection
    if client is None:
        return []
    requests = IntrospectionRequests(fetcher.http)
    issuer = source.config.issuer
    endpoint: str | IntrospectionFailed
    try:
        async with asyncio.timeout(client.timeout):
            endpoint = await requests.endpoint(source, client)
            answer = await requests.ask(source, secrets.token_urlsafe(_TOKEN_BYTES), time.time())
    except TimeoutError:
        return [_unavailable(f"{issuer} gave no complete answer within {client.timeout:g} s")]
    found = list(_plaintext(endpoint))
    if isinstance(answer, IntrospectionFailed):
        return [*found, _unavailable(f"{issuer}: {answer.outcome.value}, {answer.detail}")]
    active = answer.get("active")
    if active is True:
        found.append(
            finding(
                Severity.ERROR,
                "introspection-always-active",
                f"{issuer} says of a random token that it is active, so any text is a token",
                "check introspection.endpoint: it has to be that of RFC 7662",
            )
        )
    elif active is not False:
        shown = "is missing" if active is None else f"is {value_kind(active)}"
        found.append(_unavailable(f"{issuer}: the member active of its answer {shown}, not a boolean"))
    return found


def _plaintext(endpoint: str | IntrospectionFailed) -> Iterator[Finding]:
    if isinstance(endpoint, str) and not endpoint.startswith("https://"):
        yield finding(
            Severity.WARNING,
            "introspection-plaintext",
            "introspection.endpoint is http: an attacker on the network can read tokens and the client's "
            "secret, and say of any token that it is active",
            "use https, with ca_file for a CA of your own",
        )


def _unavailable(message: str) -> Finding:
    return finding(
        Severity.ERROR,
        "introspection-unavailable",
        message,
        "check introspection.endpoint, client_id, auth_method, secret or key, and the way to the provider",
    )
