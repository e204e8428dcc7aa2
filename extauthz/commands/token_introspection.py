"""Asks an issuer about one token, for the commands that judge tokens by the settings of a service."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from extauthz.commands.token_issuers import Service, ServiceSettingsInvalidError
from extauthz.decide.introspected_token import judge_bearer, read_answer
from extauthz.decide.needs import Needs, NeedsIntrospection
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.introspection import Introspected, IntrospectedTokens
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.keys.introspection_request import IntrospectionFailed, IntrospectionRequests
from extauthz.keys.source import IssuerSource
from extauthz.runtime.issuers import key_fetcher
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.telemetry.counts import IntrospectionOutcome


@dataclass(frozen=True, slots=True)
class AskedIssuer:
    """What an issuer said of a token: members of its answer, or why there are none; `endpoint` was asked."""

    source: IssuerSource
    endpoint: str
    answer: Mapping[str, object] | IntrospectionFailed


@dataclass(frozen=True, slots=True)
class JudgedToken:
    """The verdict about a bearer token; `asked` is None where no issuer was asked."""

    verdict: Principal | Rejected
    asked: AskedIssuer | None


def introspecting_tenants(service: Service) -> list[str]:
    """Return the tenants whose opaque tokens are introspected."""
    return sorted({each.config.tenant for each in service.sources if each.introspection is not None})


def judged(text: str, service: Service, ring: KeyRing, *, tenant: str | None, now: float) -> JudgedToken:
    """Judge a bearer token as a request does whose target `tenant` owns; the issuer is asked where needed.

    Raises:
        ServiceSettingsInvalidError: OIDC_CA_FILE cannot be used.
    """
    remembered = IntrospectedTokens(os.urandom(32))
    asked, answer = None, None
    found: Principal | Rejected | Needs
    for _ in range(2):
        found = judge_bearer(
            text,
            ring,
            VerifiedTokens(),
            now,
            service.policy,
            owner=tenant,
            introspected=remembered,
            answer=answer,
        )
        if not isinstance(found, NeedsIntrospection) or asked is not None:
            break
        source = service.source_of(found.config.issuer)
        assert source is not None
        asked = ask_issuer(service, source, found.token)
        answer = _introspected(found, asked.answer, now)
    return JudgedToken(found.otherwise if isinstance(found, Needs) else found, asked)


def ask_issuer(service: Service, source: IssuerSource, token: str) -> AskedIssuer:
    """Ask an issuer about a token once. Raises ServiceSettingsInvalidError."""
    client = source.introspection
    assert client is not None

    async def ask() -> AskedIssuer:
        async with key_fetcher(service.settings) as fetcher:
            requests = IntrospectionRequests(fetcher.http)
            endpoint = client.endpoint or "the discovered endpoint"
            try:
                async with asyncio.timeout(client.timeout):
                    found = await requests.endpoint(source, client)
                    endpoint = endpoint if isinstance(found, IntrospectionFailed) else found
                    return AskedIssuer(source, endpoint, await requests.ask(source, token, time.time()))
            except TimeoutError:
                detail = f"no complete answer within {client.timeout:g} s"
                failed = IntrospectionFailed(IntrospectionOutcome.UNREACHABLE, detail)
                return AskedIssuer(source, endpoint, failed)

    try:
        return asyncio.run(ask())
    except StartRefusedError as refused:
        raise ServiceSettingsInvalidError(str(refused)) from None


def _introspected(
    needs: NeedsIntrospection, answer: Mapping[str, object] | IntrospectionFailed, now: float
) -> Introspected:
    if isinstance(answer, IntrospectionFailed):
        why = Rejected(Reason.INTROSPECTION_UNAVAILABLE, f"{answer.outcome.value}: {answer.detail}")
        return Introspected(needs.key, needs.config, why, now, now)
    return read_answer(needs.key, answer, needs.config, now)
