"""`extauthz token explain`: what the settings of a service make of one token, check by check.

The token is on stdin and is never printed; claims are named, and shown only as far as a rule sees them. Each
check is judged by itself, so that several faults show at once. The verdict is that of a request
(`decide.introspected_token.judge_bearer`).
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from extauthz.commands.status import FAILED, OK, print_json
from extauthz.commands.token_introspection import AskedIssuer, introspecting_tenants, judged
from extauthz.commands.token_issuers import Service, fetched, ring_of, with_service
from extauthz.decide.introspected_token import answer_problem
from extauthz.decide.tokens.certificate_binding import confirmation
from extauthz.decide.tokens.claims import (
    ClaimRejected,
    administered_domains,
    all_roles,
    first_domain,
    is_service,
    token_subject,
)
from extauthz.decide.tokens.introspection import is_opaque
from extauthz.decide.tokens.jwks import VerificationKey
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import (
    NO_KEY,
    Rejected,
    UnverifiedToken,
    choose_key,
    judge_claims,
    read_payload,
    read_registered,
    read_token,
    unexpected_algorithm,
)
from extauthz.domain.one_line import one_line
from extauthz.domain.principal import Principal
from extauthz.keys.fetcher import FetchedKeys, FetchFailed
from extauthz.keys.introspection_request import IntrospectionFailed

_PREFIX: Final = "bearer "
NO_EXPIRY: Final = 253402300799
"""`exp` of an answer without one, the last second that a date may name."""
_MAX_READ: Final = 2 * 1024 * 1024
_PASSED, _REFUSED, _SKIPPED = "ok", "refused", "not judged"


class TokenCheck(NamedTuple):
    """One check: its name, how it came out, and in words what was found."""

    check: str
    verdict: str
    detail: str


class TokenExplanation(NamedTuple):
    """Every check in order, and the verdict of a request; `principal` is None for a refused token."""

    steps: list[TokenCheck]
    accepted: bool
    reason: str
    principal: Mapping[str, object] | None


def run(settings: Path | None, providers: Path | None, *, tenant: str | None = None, as_json: bool) -> int:
    """Explain the token on stdin; return OK for one that is accepted, else FAILED.

    `settings` and `providers` see `with_service`. `tenant` owns the target: its provider introspects.
    """
    return with_service(settings, providers, lambda service: _run(service, tenant, as_json=as_json))


def _run(service: Service, tenant: str | None, *, as_json: bool) -> int:
    text = sys.stdin.buffer.read(_MAX_READ).decode("utf-8", "replace").strip()
    if text[: len(_PREFIX)].lower() == _PREFIX:
        text = text[len(_PREFIX) :].lstrip(" ")
    explained = explain(text, service, tenant=tenant)
    if as_json:
        document = {**explained._asdict(), "steps": [step._asdict() for step in explained.steps]}
        return print_json(explained.accepted, **document)
    sys.stdout.write(_as_text(explained))
    return OK if explained.accepted else FAILED


def explain(
    text: str, service: Service, *, tenant: str | None = None, now: float | None = None
) -> TokenExplanation:
    """Judge a token by each check of the service; its own issuer alone is asked, for keys or about the token.

    `now` is POSIX seconds, None for the present. `tenant` None: the only one that introspects.
    """
    now = time.time() if now is None else now
    tenants = introspecting_tenants(service)
    if tenant is None and len(tenants) == 1:
        tenant = tenants[0]
    issuer = _issuer(text, service)
    source = None if issuer is None else service.source_of(issuer)
    answers = {} if source is None or not source.config.has_keys else fetched(service, (source,))
    ring = ring_of(service.sources, answers, now)
    judgement = judged(text, service, ring, tenant=tenant, now=now)
    found = judgement.verdict
    explained = _Explained(text, service, answers, now, judgement.asked)
    if tenants and is_opaque(text):
        steps = list(explained.of_opaque(tenant, tenants))
        source = None if judgement.asked is None else judgement.asked.source
    else:
        steps = list(explained.steps())
    if isinstance(found, Rejected):
        return TokenExplanation(steps, False, f"{found.reason.value}: {found.detail}", None)
    assert source is not None
    return TokenExplanation(steps, True, "accepted", _principal(found, source.config))


def _issuer(text: str, service: Service) -> str | None:
    token = _read_token(text, service)
    claims = token if isinstance(token, Rejected) else read_payload(token)
    issuer = None if isinstance(claims, Rejected) else claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def _read_token(text: str, service: Service) -> UnverifiedToken | Rejected:
    return read_token(
        text.encode("ascii", "replace"),
        max_bytes=service.policy.max_bytes,
        algorithms=ring_of(service.sources, {}).algorithms,
    )


class _Explained:
    """The checks of one token, in the order of a request."""

    def __init__(
        self,
        text: str,
        service: Service,
        answers: Mapping[str, FetchedKeys | FetchFailed],
        now: float,
        asked: AskedIssuer | None,
    ) -> None:
        self._text = text
        self._service = service
        self._answers = answers
        self._now = now
        self._asked = asked

    def of_opaque(self, tenant: str | None, tenants: Sequence[str]) -> Iterator[TokenCheck]:
        """Yield each check of a token that is not a JWT, where the tenants introspect."""
        if self._asked is None and tenant in tenants:
            yield TokenCheck(
                "form", _REFUSED, "an opaque token that no issuer has written (RFC 6750 2.1), or too long"
            )
            return
        yield TokenCheck("form", _PASSED, f"opaque, {len(self._text)} characters")
        if self._asked is None:
            shown = ", ".join(tenants)
            detail = f"the tenant of the target is not known: say --tenant, one of {shown}"
            if tenant is not None:
                detail = f"no provider of tenant {tenant!r} introspects; one of {shown} does"
            yield TokenCheck("provider", _REFUSED, detail)
            return
        config = self._asked.source.config
        yield TokenCheck(
            "provider", _PASSED, f"{config.issuer} of tenant {config.tenant!r}, which introspects"
        )
        yield from self._of_answer(self._asked)

    def _of_answer(self, asked: AskedIssuer) -> Iterator[TokenCheck]:
        client = asked.source.introspection
        assert client is not None
        place = f"{asked.endpoint} as client {client.client_id!r} by {client.method.value}"
        if isinstance(asked.answer, IntrospectionFailed):
            detail = f"{asked.answer.outcome.value}: {asked.answer.detail}; asked {place}"
            yield TokenCheck("introspection", _REFUSED, detail)
            return
        active = asked.answer.get("active")
        if active is not True:
            shown = "not active" if active is False else "neither active nor not active"
            yield TokenCheck("introspection", _REFUSED, f"{shown}; asked {place}")
            return
        yield TokenCheck("introspection", _PASSED, f"active; asked {place}")
        yield TokenCheck("claims", _PASSED, f"named: {', '.join(sorted(asked.answer))}")
        problem = answer_problem(asked.answer, asked.source.config)
        kind = "its issuer and an access token" if problem is None else problem.detail
        yield TokenCheck("answer", _PASSED if problem is None else _REFUSED, kind)
        said = {name: value for name, value in asked.answer.items() if value is not None}
        claims: dict[str, object] = {"iss": asked.source.config.issuer, "exp": NO_EXPIRY, **said}
        yield from self._of_claims(claims, asked.source.config)

    def steps(self) -> Iterator[TokenCheck]:
        """Yield each check; behind one without which the others mean nothing they end."""
        token = _read_token(self._text, self._service)
        if isinstance(token, Rejected):
            yield TokenCheck("form", _REFUSED, token.detail)
            return
        kid = "no kid" if token.kid is None else f"kid {token.kid[:80]!r}"
        yield TokenCheck("form", _PASSED, f"{token.algorithm}, {kid}, typ {token.kind or 'is missing'}")
        claims = read_payload(token)
        if isinstance(claims, Rejected):
            yield TokenCheck("claims", _REFUSED, claims.detail)
            return
        yield TokenCheck("claims", _PASSED, f"named: {', '.join(sorted(claims))}")
        issuer = claims.get("iss")
        source = self._service.source_of(issuer) if isinstance(issuer, str) else None
        if source is None:
            known = ", ".join(name for each in self._service.sources for name in each.config.names)
            shown = repr(issuer[:200]) if isinstance(issuer, str) else "missing, or not a string"
            yield TokenCheck("provider", _REFUSED, f"iss is {shown}; known are {known or 'none'}")
            return
        config = source.config
        alias = "" if issuer == config.issuer else f", by its alias {issuer!r}"
        yield TokenCheck("provider", _PASSED, f"{config.issuer} of tenant {config.tenant!r}{alias}")
        yield from self._of_header(token, config)
        if not config.has_keys:
            yield TokenCheck("signature", _SKIPPED, "the issuer is asked about every token")
            if self._asked is not None:
                yield from self._of_answer(self._asked)
            return
        yield from self._of_key(token, self._answers[config.issuer])
        yield from self._of_claims(claims, config)

    def _of_header(self, token: UnverifiedToken, config: IssuerConfig) -> Iterator[TokenCheck]:
        if token.algorithm in config.algorithms:
            yield TokenCheck("algorithm", _PASSED, f"{token.algorithm} is configured")
        else:
            yield TokenCheck(
                "algorithm", _REFUSED, unexpected_algorithm(token.algorithm, config.algorithms).detail
            )
        if config.required_type is not None:
            fits = token.kind == config.required_type
            yield TokenCheck("type", _PASSED if fits else _REFUSED, f"typ has to be {config.required_type}")

    def _of_key(self, token: UnverifiedToken, answer: FetchedKeys | FetchFailed) -> Iterator[TokenCheck]:
        if isinstance(answer, FetchFailed):
            yield TokenCheck("keys", _REFUSED, f"{answer.outcome.value}: {answer.detail}")
            yield TokenCheck("signature", _SKIPPED, "without keys")
            return
        place = answer.jwks_uri or "the configuration"
        ignored = "".join(f"; {key.kid!r} is ignored: {key.problem}" for key in answer.keys.ignored)
        yield TokenCheck("keys", _PASSED, f"{len(answer.keys.keys)} of {place}{ignored}")
        key = choose_key(token, answer.keys)
        if not isinstance(key, VerificationKey):
            detail = "the issuer has no such key" if key is NO_KEY else str(getattr(key, "detail", ""))
            yield TokenCheck("key", _REFUSED, detail)
            yield TokenCheck("signature", _SKIPPED, "without a key")
            return
        yield TokenCheck("key", _PASSED, f"{key.kid!r}, {key.algorithm}")
        good = key.verifies(token.signing_input, token.signature)
        yield TokenCheck(
            "signature", *((_PASSED, "it verifies") if good else (_REFUSED, "the signature does not verify"))
        )

    def _of_claims(self, claims: Mapping[str, object], config: IssuerConfig) -> Iterator[TokenCheck]:
        subject = token_subject(claims, config.subject_claims)
        yield _read("subject", subject, f"from {' or '.join(config.subject_claims)}")
        registered = read_registered(
            claims, subject_claims=config.subject_claims, audience_claim=config.audience_claim
        )
        policy = self._service.policy
        if isinstance(registered, Rejected):
            if not isinstance(subject, ClaimRejected):
                yield TokenCheck("registered claims", _REFUSED, registered.detail)
        else:
            named = registered.audiences or ()
            accepted = config.audiences is None or not set(config.audiences).isdisjoint(named)
            wanted = "any" if config.audiences is None else ", ".join(config.audiences)
            detail = f"{config.audience_claim} names {', '.join(named) or 'none'}; accepted: {wanted}"
            yield TokenCheck("audience", _PASSED if accepted else _REFUSED, detail)
            # The audience is judged above: the first of several faults would hide the others.
            dates = judge_claims(
                registered,
                audiences=None,
                now=self._now,
                leeway=policy.leeway if config.leeway is None else config.leeway,
                max_lifetime=policy.max_lifetime if config.max_lifetime is None else config.max_lifetime,
            )
            yield TokenCheck(
                "dates", *((_PASSED, "valid now") if dates is None else (_REFUSED, dates.detail))
            )
        roles = all_roles(claims, config.roles, excluded=config.excluded_roles)
        places = ", ".join(f"{each.claim} ({each.shape.value})" for each in config.roles) or "no claim"
        yield _read("roles", roles, f"from {places}")
        domain = first_domain(claims, config.domain_claims)
        yield _read("domain", domain, f"from {' or '.join(each.claim for each in config.domain_claims)}")
        bound = confirmation(claims, required=config.require_bound)
        if isinstance(bound, ClaimRejected):
            yield TokenCheck("binding", _REFUSED, bound.problem)
        elif bound is not None:
            yield TokenCheck("binding", _PASSED, "accepted only from the holder of its certificate")


def _read(check: str, value: object, place: str) -> TokenCheck:
    if isinstance(value, ClaimRejected):
        return TokenCheck(check, _REFUSED, value.problem)
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return TokenCheck(check, _PASSED, f"{shown or 'none'} {place}")


def _principal(principal: Principal, config: IssuerConfig) -> dict[str, object]:
    """Return what rules and conditions see of the principal."""
    administers = administered_domains(
        principal.claims, principal.roles, config.admin_domain_claim, config.admin_roles
    )
    return {
        "user.kind": principal.kind.value,
        "user.id": principal.id,
        "user.tenant": principal.tenant,
        "user.domain": principal.domain,
        "user.roles": list(principal.roles),
        "administers": sorted(administers),
        "is_service": is_service(principal.claims, config.service_claim),
        "needs_certificate": principal.confirmation is not None,
    }


def _as_text(explained: TokenExplanation) -> str:
    width = max(len(step.check) for step in explained.steps)
    lines = [f"{step.check:{width}}  {step.verdict:10}  {one_line(step.detail)}" for step in explained.steps]
    if explained.principal is None:
        lines.append(f"\nrefused: {one_line(explained.reason)}")
    else:
        lines.append("\naccepted; a rule sees:")
        lines += [f"  {name} = {orjson.dumps(value).decode()}" for name, value in explained.principal.items()]
    return "\n".join(lines) + "\n"
