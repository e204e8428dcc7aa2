"""The typed client of the admin REST API: one method a call, retries, problems as exceptions."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote

import aiohttp

from extauthz.client.credentials import Credentials
from extauthz.client.errors import ApiError, Unreachable
from extauthz.client.models import AttributePolicy, CheckResult, Resource, RoleRule

_RETRIED: Final = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_PAGE: Final = 500


class ExtauthzClient:
    """An async context manager around one connection pool.

    Answers that say "not now" (429, 502, 503, 504) and connections that could not be made are tried again,
    at most `attempts` times, waiting as `Retry-After` says or twice as long each time. A connection lost on
    the way is tried again only where that cannot do a thing twice.
    """

    def __init__(
        self, base_url: str, credentials: Credentials, *, attempts: int = 4, timeout_s: float = 10.0
    ) -> None:
        """Name the API and the caller; nothing is opened before `async with`."""
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._attempts = max(1, attempts)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def register(self, resources: Sequence[Resource]) -> tuple[Resource, ...]:
        """Register resources with their routes, all or none; registering the same again changes nothing."""
        body = [resource.document() for resource in resources]
        answer = await self._call("POST", "/api/v1/resources/list", body=body, repeatable=True)
        return tuple(Resource.read(document) for document in _objects(answer))

    async def resources(self) -> tuple[Resource, ...]:
        """Return every resource."""
        return tuple([Resource.read(document) async for document in self._pages("/api/v1/resources", {})])

    async def delete_resource(self, resource_id: str) -> None:
        """Delete a resource that no policy names."""
        await self._call("DELETE", f"/api/v1/resources/{_segment(resource_id)}", repeatable=True)

    async def role_rules(
        self, *, obj: str | None = None, sub: str | None = None, dom: str | None = None
    ) -> tuple[RoleRule, ...]:
        """Return the role rules, filtered by what is given."""
        query = {
            name: value for name, value in (("obj", obj), ("sub", sub), ("dom", dom)) if value is not None
        }
        found = self._pages("/api/v1/resources/policies", query)
        return tuple([RoleRule.read(document) async for document in found])

    async def create_role_rule(self, rule: RoleRule) -> RoleRule:
        """Create a role rule and return it with its id."""
        return RoleRule.read(
            _object(await self._call("POST", "/api/v1/resources/policies", body=rule.document()))
        )

    async def delete_role_rule(self, rule_id: str) -> None:
        """Delete a role rule."""
        await self._call("DELETE", f"/api/v1/resources/policies/{_segment(rule_id)}", repeatable=True)

    async def attribute_policies(self) -> tuple[AttributePolicy, ...]:
        """Return the attribute policies that are not deleted."""
        found = self._pages("/api/v1/abac/policies", {})
        return tuple([AttributePolicy.read(document) async for document in found])

    async def create_attribute_policy(self, policy: AttributePolicy) -> AttributePolicy:
        """Create an attribute policy and return it with its id and what the API warns of."""
        answer = await self._call("POST", "/api/v1/abac/policies", body=policy.document())
        return AttributePolicy.read(_object(answer))

    async def delete_attribute_policy(self, policy_id: str) -> None:
        """Delete an attribute policy; it can be restored."""
        await self._call("DELETE", f"/api/v1/abac/policies/{_segment(policy_id)}", repeatable=True)

    async def check(
        self,
        *,
        subject: str,
        resource: str,
        action: str,
        subject_kind: Literal["user", "service"] | None = None,
        domain: str | None = None,
        attributes: Mapping[str, Mapping[str, object]] | None = None,
        min_revision: int | None = None,
    ) -> CheckResult:
        """Ask for a decision; a denial is a result, not an error."""
        members = {
            "subject": subject,
            "subject_kind": subject_kind,
            "resource": resource,
            "action": action,
            "domain": domain,
            "attributes": attributes,
            "min_revision": min_revision,
        }
        body = {name: value for name, value in members.items() if value is not None}
        answer = await self._call("POST", "/api/v1/check", body=body, repeatable=True, denial=True)
        return CheckResult.read(_object(answer))

    async def _pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Mapping[str, object]]:
        cursor: str | None = None
        while True:
            page = {**query, "limit": str(_PAGE)} | ({"cursor": cursor} if cursor is not None else {})
            answer = _object(await self._call("GET", path, query=page, repeatable=True))
            for document in _objects(answer.get("items")):
                yield document
            following = answer.get("next_cursor")
            if following is None:
                return
            cursor = str(following)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = False,
        denial: bool = False,
    ) -> object:
        """Send one request until it is answered; `denial` takes a 403 with a decision for an answer."""
        assert self._session is not None, "use the client in `async with`"
        url, pause, renewed = self._base_url + path, _FIRST_PAUSE_S, False
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                headers = await self._credentials.headers(self._session)
                async with self._session.request(
                    method, url, params=query, json=body, headers=headers, allow_redirects=False
                ) as response:
                    document = await _document(response)
                    if response.status < 300:
                        return document
                    if denial and response.status == 403 and _is_decision(document):
                        return document
                    if response.status == 401 and not renewed and not last:
                        renewed = True
                        self._credentials.forget()
                        continue
                    if response.status not in _RETRIED or last:
                        raise _problem(response.status, response.reason, document)
                    wait = _retry_after(response.headers.get("retry-after")) or pause
            except (aiohttp.ClientError, TimeoutError) as error:
                # Only a connection that was never made has surely done nothing.
                safe = repeatable or isinstance(error, aiohttp.ClientConnectorError)
                if last or not safe:
                    raise Unreachable(f"{method} {url}: {str(error) or type(error).__name__}") from error
                wait = pause
            await asyncio.sleep(min(wait, _LONGEST_PAUSE_S) * (0.5 + random.random() / 2))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")


async def _document(response: aiohttp.ClientResponse) -> object:
    if response.status == 204:
        return None
    try:
        return await response.json(content_type=None)
    except ValueError:
        return None


def _is_decision(document: object) -> bool:
    return isinstance(document, Mapping) and document.get("decision") in ("allow", "deny")


def _problem(status: int, reason: str | None, document: object) -> ApiError:
    if not isinstance(document, Mapping):
        return ApiError(status, reason or "error", "")
    errors = document.get("errors")
    return ApiError(
        status,
        str(document.get("title", reason or "error")),
        str(document.get("detail", "")),
        tuple(errors) if isinstance(errors, list) else (),
    )


def _retry_after(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _object(document: object) -> Mapping[str, object]:
    if not isinstance(document, Mapping):
        raise Unreachable("the API did not answer with an object")
    return document


def _objects(document: object) -> list[Mapping[str, object]]:
    if not isinstance(document, list):
        raise Unreachable("the API did not answer with a list")
    return [entry for entry in document if isinstance(entry, Mapping)]


def _segment(text: str) -> str:
    return quote(text, safe="")
