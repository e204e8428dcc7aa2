"""The typed client of the admin REST API: one method a call."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Self, TypeVar
from urllib.parse import quote

from extauthz_client.answers import Members, entries, revision
from extauthz_client.credentials import Credentials
from extauthz_client.http import ClientResponse, Http
from extauthz_client.models import AttributePolicy, CheckResult, Resource, RoleBinding, RoleRule

_PAGE: Final = 500
_DENIED: Final = 403
_RESOURCES: Final = "/api/v1/resources"
_ROLE_RULES: Final = "/api/v1/resources/policies"
_ROLE_BINDINGS: Final = "/api/v1/role-bindings"
_ATTRIBUTE_POLICIES: Final = "/api/v1/abac/policies"

_Item = TypeVar("_Item")


class ExtauthzClient:
    """An async context manager around one connection pool; entered twice, it closes with the last exit.

    Answers that say "not now" (429, 502, 503, 504), connections that cannot be made and an identity provider
    that is away are tried again, `attempts` times in all, after what `Retry-After` says or twice as long each
    time; a `Retry-After` of more than 10 seconds is not waited for. What could do a thing twice is sent again
    only when it surely was not done.

    Every call raises `ClientError`: `ApiError` when the API refuses, `Unreachable` when no answer arrives,
    `UnexpectedAnswer` when the answer is not the API's.
    """

    def __init__(
        self, base_url: str, credentials: Credentials, *, attempts: int = 4, timeout_s: float = 10.0
    ) -> None:
        """Name the API (without `/api/v1`) and the caller; `timeout_s` is for one attempt.

        Nothing is opened before `async with`. Raises ValueError for a text that is not an HTTP address.
        """
        self._http = Http(base_url, credentials, attempts=attempts, timeout_s=timeout_s)
        self._revision: int | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._http.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection pool."""
        await self._http.close()

    @property
    def policy_revision(self) -> int | None:
        """The revision of the write that was answered last; a `check` with it as `min_revision` sees it."""
        return self._revision

    async def register(self, resources: Sequence[Resource]) -> tuple[Resource, ...]:
        """Register resources with their routes, all or none; registering the same again changes nothing.

        Of a name that is there already, the routes and default roles given here replace the stored ones.
        """
        body = [resource.document() for resource in resources]
        answer = await self._write("POST", f"{_RESOURCES}/list", body=body, repeatable=True)
        return tuple(Resource.read(document) for document in entries(answer.document))

    async def resources(
        self, *, name: str | None = None, service_name: str | None = None
    ) -> tuple[Resource, ...]:
        """Return the resources, filtered by what is given."""
        return await self._all(_RESOURCES, Resource.read, name=name, serviceName=service_name)

    async def delete_resource(self, resource_id: str, *, cascade: bool = False) -> None:
        """Delete a resource; other rules that name it are a conflict, or deleted too with `cascade`."""
        query = {"cascade": "true"} if cascade else None
        await self._write("DELETE", f"{_RESOURCES}/{_segment(resource_id)}", query=query, repeatable=True)

    async def role_rules(
        self, *, obj: str | None = None, sub: str | None = None, dom: str | None = None
    ) -> tuple[RoleRule, ...]:
        """Return the role rules, filtered by what is given."""
        return await self._all(_ROLE_RULES, RoleRule.read, obj=obj, sub=sub, dom=dom)

    async def create_role_rule(self, rule: RoleRule) -> RoleRule:
        """Create a role rule and return it with its id."""
        return RoleRule.read((await self._write("POST", _ROLE_RULES, body=rule.document())).document)

    async def replace_role_rule(self, rule: RoleRule) -> RoleRule:
        """Replace the role rule that has this id."""
        path = f"{_ROLE_RULES}/{_id(rule)}"
        return RoleRule.read((await self._write("PUT", path, body=rule.document(), repeatable=True)).document)

    async def delete_role_rule(self, rule_id: str) -> None:
        """Delete a role rule."""
        await self._write("DELETE", f"{_ROLE_RULES}/{_segment(rule_id)}", repeatable=True)

    async def role_bindings(self) -> tuple[RoleBinding, ...]:
        """Return the role bindings."""
        return await self._all(_ROLE_BINDINGS, RoleBinding.read)

    async def create_role_binding(self, binding: RoleBinding) -> RoleBinding:
        """Create a role binding and return it with its id."""
        return RoleBinding.read((await self._write("POST", _ROLE_BINDINGS, body=binding.document())).document)

    async def delete_role_binding(self, binding_id: str) -> None:
        """Delete a role binding."""
        await self._write("DELETE", f"{_ROLE_BINDINGS}/{_segment(binding_id)}", repeatable=True)

    async def attribute_policies(self, *, resource: str | None = None) -> tuple[AttributePolicy, ...]:
        """Return the attribute policies that are not deleted, of one resource when it is given."""
        return await self._all(_ATTRIBUTE_POLICIES, AttributePolicy.read, resource=resource)

    async def create_attribute_policy(self, policy: AttributePolicy) -> AttributePolicy:
        """Create an attribute policy and return it with its id and what the API warns of."""
        answer = await self._write("POST", _ATTRIBUTE_POLICIES, body=policy.document())
        return AttributePolicy.read(answer.document)

    async def replace_attribute_policy(self, policy: AttributePolicy) -> AttributePolicy:
        """Replace the attribute policy that has this id."""
        path = f"{_ATTRIBUTE_POLICIES}/{_id(policy)}"
        answer = await self._write("PUT", path, body=policy.document(), repeatable=True)
        return AttributePolicy.read(answer.document)

    async def delete_attribute_policy(self, policy_id: str) -> None:
        """Delete an attribute policy; it can be restored."""
        await self._write("DELETE", f"{_ATTRIBUTE_POLICIES}/{_segment(policy_id)}", repeatable=True)

    async def restore_attribute_policy(self, policy_id: str) -> AttributePolicy:
        """Bring a deleted attribute policy back."""
        path = f"{_ATTRIBUTE_POLICIES}/{_segment(policy_id)}/restore"
        return AttributePolicy.read((await self._write("POST", path, repeatable=True)).document)

    async def check(
        self,
        *,
        resource: str,
        action: str,
        subject: str | None = None,
        subject_kind: Literal["user", "service", "workload"] | None = None,
        domain: str | None = None,
        attributes: Mapping[str, Mapping[str, object]] | None = None,
        min_revision: int | None = None,
    ) -> CheckResult:
        """Ask for a decision; a denial is a result, not an error.

        `subject` None is the caller itself; only a service key can ask about others. `attributes` has
        `resource` (route parameters) and, for a service key, `user` (claims, with `roles`). `min_revision`
        waits a moment until the policies are that new.
        """
        body = _given(
            subject=subject,
            subject_kind=subject_kind,
            resource=resource,
            action=action,
            domain=domain,
            attributes=attributes,
            min_revision=min_revision,
        )
        answer = await self._http.call(
            "POST", "/api/v1/check", body=body, repeatable=True, also=frozenset({_DENIED})
        )
        if answer.status == _DENIED and not _has_decision(answer):
            raise answer.problem
        return CheckResult.read(answer.document, status=answer.status)

    async def _all(
        self, path: str, read: Callable[[object], _Item], **filters: str | None
    ) -> tuple[_Item, ...]:
        return tuple([read(document) async for document in self._pages(path, filters)])

    async def _pages(self, path: str, filters: Mapping[str, str | None]) -> AsyncIterator[object]:
        query = {name: value for name, value in filters.items() if value is not None}
        cursor: str | None = None
        while True:
            page = {**query, "limit": str(_PAGE)} | ({"cursor": cursor} if cursor is not None else {})
            answer = Members((await self._http.call("GET", path, query=page, repeatable=True)).document)
            for document in answer.entries("items"):
                yield document
            cursor = answer.optional_text("next_cursor")
            if cursor is None:
                return

    async def _write(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = False,
    ) -> ClientResponse:
        answer = await self._http.call(method, path, query=query, body=body, repeatable=repeatable)
        written = revision(answer.headers.get("x-policy-revision", ""))
        if written is not None:
            self._revision = written
        return answer


def _has_decision(answer: ClientResponse) -> bool:
    return isinstance(answer.document, Mapping) and "decision" in answer.document


def _given(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


def _id(stored: RoleRule | AttributePolicy) -> str:
    if stored.id is None:
        raise ValueError("what is to be replaced has the id that the API gave it")
    return _segment(stored.id)


def _segment(text: str) -> str:
    """Return an id as a segment of a path. Raises ValueError for those that RFC 3986 5.2.4 removes."""
    if text in {"", ".", ".."}:
        raise ValueError(f"an id is not {text!r}")
    return quote(text, safe="")
