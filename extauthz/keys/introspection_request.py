"""Asks an issuer about one token (RFC 7662), with limits.

Input: an `IssuerSource` with an `IntrospectionClient`, a token. Output: the members of the answer, or
`IntrospectionFailed` with the cause. Neither token nor secret is in any text.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from yarl import URL

from extauthz.domain.claims import value_kind
from extauthz.domain.strict_json import JsonRejected, read_object
from extauthz.keys.client_authentication import ClientInvalidError, client_credentials, form_of
from extauthz.keys.introspection_client import IntrospectionClient
from extauthz.keys.provider_http import REDIRECTS, ProviderHttp, RequestFailed
from extauthz.keys.source import AddressRejected, IssuerSource, discovered_endpoint
from extauthz.telemetry.counts import FetchOutcome, IntrospectionOutcome

MAX_ANSWER_BYTES: Final = 64 * 1024
_READ_STATUSES: Final = frozenset({200, 400, 401, 403})
_OK: Final = 200
_UNAUTHORIZED: Final = frozenset({401, 403})
_MAX_MEMBERS: Final = 1000
_JSON: Final = "application/json"
_ERRORS: Final = frozenset(
    {
        *("invalid_client", "invalid_request", "unauthorized_client", "access_denied", "invalid_token"),
        *("unsupported_token_type", "insufficient_scope", "server_error", "temporarily_unavailable"),
    }
)
"""Values of `error` (RFC 6749 5.2, RFC 6750 3.1) that a text may show; any other is the sender's own text."""


@dataclass(frozen=True, slots=True)
class IntrospectionFailed:
    """Why the issuer gave no answer about a token; `detail` is safe to log."""

    outcome: IntrospectionOutcome
    detail: str


class IntrospectionRequests:
    """Asks issuers; discovered endpoints are kept until a request to them fails."""

    def __init__(self, http: ProviderHttp, *, new_id: Callable[[], str] = lambda: str(uuid.uuid4())) -> None:
        """Use the connections of `http`; `new_id` returns unique texts."""
        self._http = http
        self._new_id = new_id
        self._discovered: dict[str, str] = {}

    async def ask(
        self, source: IssuerSource, token: str, now: float
    ) -> Mapping[str, object] | IntrospectionFailed:
        """Return the members of the answer; the caller limits the time. `now` is POSIX seconds."""
        client = source.introspection
        if client is None:
            return _failed(IntrospectionOutcome.CLIENT_REFUSED, "the issuer has no introspection configured")
        endpoint = await self.endpoint(source, client)
        if isinstance(endpoint, IntrospectionFailed):
            return endpoint
        try:
            headers, credentials = await asyncio.to_thread(
                client_credentials, client, source.config.issuer, now=now, unique=self._new_id()
            )
        except ClientInvalidError as invalid:
            return _failed(IntrospectionOutcome.CLIENT_REFUSED, str(invalid))
        answer = await self._http.post(
            endpoint,
            source,
            form_of(token, credentials),
            {"Accept": _JSON, **headers},
            accepted=_READ_STATUSES,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if isinstance(answer, RequestFailed):
            self._discovered.pop(source.config.issuer, None)
            return _of_request(answer)
        if answer.status != _OK:
            self._discovered.pop(source.config.issuer, None)
            return _of_status(answer.status, answer.octets)
        if answer.media_type != _JSON and not (
            answer.media_type.startswith("application/") and answer.media_type.endswith("+json")
        ):
            return _failed(IntrospectionOutcome.INVALID, "the answer is not of the type application/json")
        members = read_members(answer.octets)
        if isinstance(members, JsonRejected):
            return _failed(IntrospectionOutcome.INVALID, f"answer: {members.problem}")
        return members

    async def endpoint(self, source: IssuerSource, client: IntrospectionClient) -> str | IntrospectionFailed:
        """Return the URL that is asked: the configured one, or the discovered one."""
        issuer = source.config.issuer
        known = client.endpoint or self._discovered.get(issuer)
        if known is not None:
            return known
        document = await self._http.get(source.discovery_url, source)
        if isinstance(document, RequestFailed):
            failed = _of_request(document)
            return _failed(failed.outcome, f"discovery document: {failed.detail}")
        found = discovered_endpoint(document.octets, issuer, "introspection_endpoint")
        if isinstance(found, AddressRejected):
            return _failed(IntrospectionOutcome.INVALID, found.problem)
        # The request carries a secret and a token: a document does not send them to another origin.
        if _origin(found) != _origin(issuer):
            detail = "discovery document: introspection_endpoint is at another origin than the issuer; "
            return _failed(IntrospectionOutcome.INVALID, detail + "configure it as introspection.endpoint")
        self._discovered[issuer] = found
        return found


def _origin(address: str) -> URL | None:
    try:
        return URL(address).origin()
    except ValueError:
        return None


def read_members(octets: bytes) -> Mapping[str, object] | JsonRejected:
    """Read the members of an answer, strictly."""
    if octets.count(b",") > _MAX_MEMBERS:
        return JsonRejected("more members than an answer has")
    return read_object(octets)


def _failed(outcome: IntrospectionOutcome, detail: str) -> IntrospectionFailed:
    return IntrospectionFailed(outcome, detail)


def _of_request(failed: RequestFailed) -> IntrospectionFailed:
    outcome = {
        FetchOutcome.UNREACHABLE: IntrospectionOutcome.UNREACHABLE,
        FetchOutcome.REFUSED: IntrospectionOutcome.REFUSED,
    }.get(failed.outcome, IntrospectionOutcome.INVALID)
    remedy = "; set introspection.endpoint to the final URL" if failed.status in REDIRECTS else ""
    return IntrospectionFailed(outcome, failed.detail + remedy)


def _of_status(status: int, octets: bytes) -> IntrospectionFailed:
    members = read_members(octets)
    error = None if isinstance(members, JsonRejected) else members.get("error")
    if isinstance(error, str):
        shown = f", error {error}" if error in _ERRORS else ", another error"
    else:
        shown = "" if error is None else f", error is {value_kind(error)}"
    if status in _UNAUTHORIZED:
        detail = (
            f"status {status}{shown}: the provider refused this client; check client_id, auth_method and key"
        )
        return _failed(IntrospectionOutcome.CLIENT_REFUSED, detail)
    return _failed(IntrospectionOutcome.REFUSED, f"status {status}{shown}")
