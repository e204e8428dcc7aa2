"""The admin REST API, one method a call, each as steps; `client.py` has the classes that perform them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import quote

from extauthz_client.answers import Members, entries, revision
from extauthz_client.exchange import Steps
from extauthz_client.http import ClientResponse, Http
from extauthz_client.models import AttributePolicy, CheckResult, Resource, RoleBinding, RoleRule

if TYPE_CHECKING:
    from extauthz_client.credentials import Credentials

_PAGE: Final = 500
_DENIED: Final = 403
_RESOURCES: Final = "/api/v1/resources"
_ROLE_RULES: Final = "/api/v1/resources/policies"
_ROLE_BINDINGS: Final = "/api/v1/role-bindings"
_ATTRIBUTE_POLICIES: Final = "/api/v1/abac/policies"

_Item = TypeVar("_Item")


class Api:
    """The calls. `revision` is that of the write that was answered last."""

    def __init__(self, base_url: str, credentials: "Credentials", *, attempts: int) -> None:
        """Name the API and the caller. Raises ValueError for a text that is not an HTTP address."""
        self._http = Http(base_url, credentials, attempts=attempts)
        self.revision: int | None = None

    def register(self, resources: Sequence[Resource]) -> Steps[tuple[Resource, ...]]:
        """Register resources with their routes, all or none; registering the same again changes nothing.

        Of a name that is there already, the routes and default roles given here replace the stored ones.
        """
        body = [resource.document() for resource in resources]
        answer = yield from self._write("POST", f"{_RESOURCES}/list", body=body, repeatable=True)
        return tuple(Resource.read(document) for document in entries(answer.document))

    def resources(
        self, *, name: str | None = None, service_name: str | None = None
    ) -> Steps[tuple[Resource, ...]]:
        """Return the resources, filtered by what is given."""
        return (yield from self._all(_RESOURCES, Resource.read, name=name, serviceName=service_name))

    def delete_resource(self, resource_id: str, *, cascade: bool = False) -> Steps[None]:
        """Delete a resource; other rules that name it are a conflict, or deleted too with `cascade`."""
        query = {"cascade": "true"} if cascade else None
        yield from self._write(
            "DELETE", f"{_RESOURCES}/{_segment(resource_id)}", query=query, repeatable=True
        )

    def role_rules(
        self, *, obj: str | None = None, sub: str | None = None, dom: str | None = None
    ) -> Steps[tuple[RoleRule, ...]]:
        """Return the role rules, filtered by what is given."""
        return (yield from self._all(_ROLE_RULES, RoleRule.read, obj=obj, sub=sub, dom=dom))

    def create_role_rule(self, rule: RoleRule) -> Steps[RoleRule]:
        """Create a role rule and return it with its id."""
        answer = yield from self._write("POST", _ROLE_RULES, body=rule.document())
        return RoleRule.read(answer.document)

    def replace_role_rule(self, rule: RoleRule) -> Steps[RoleRule]:
        """Replace the role rule that has this id."""
        path = f"{_ROLE_RULES}/{_id(rule)}"
        answer = yield from self._write("PUT", path, body=rule.document(), repeatable=True)
        return RoleRule.read(answer.document)

    def delete_role_rule(self, rule_id: str) -> Steps[None]:
        """Delete a role rule."""
        yield from self._write("DELETE", f"{_ROLE_RULES}/{_segment(rule_id)}", repeatable=True)

    def role_bindings(self) -> Steps[tuple[RoleBinding, ...]]:
        """Return the role bindings."""
        return (yield from self._all(_ROLE_BINDINGS, RoleBinding.read))

    def create_role_binding(self, binding: RoleBinding) -> Steps[RoleBinding]:
        """Create a role binding and return it with its id."""
        answer = yield from self._write("POST", _ROLE_BINDINGS, body=binding.document())
        return RoleBinding.read(answer.document)

    def delete_role_binding(self, binding_id: str) -> Steps[None]:
        """Delete a role binding."""
        yield from self._write("DELETE", f"{_ROLE_BINDINGS}/{_segment(binding_id)}", repeatable=True)

    def attribute_policies(self, *, resource: str | None = None) -> Steps[tuple[AttributePolicy, ...]]:
        """Return the attribute policies that are not deleted, of one resource when it is given."""
        return (yield from self._all(_ATTRIBUTE_POLICIES, AttributePolicy.read, resource=resource))

    def create_attribute_policy(self, policy: AttributePolicy) -> Steps[AttributePolicy]:
        """Create an attribute policy and return it with its id and what the API warns of."""
        answer = yield from self._write("POST", _ATTRIBUTE_POLICIES, body=policy.document())
        return AttributePolicy.read(answer.document)

    def replace_attribute_policy(self, policy: AttributePolicy) -> Steps[AttributePolicy]:
        """Replace the attribute policy that has this id."""
        path = f"{_ATTRIBUTE_POLICIES}/{_id(policy)}"
        answer = yield from self._write("PUT", path, body=policy.document(), repeatable=True)
        return AttributePolicy.read(answer.document)

    def delete_attribute_policy(self, policy_id: str) -> Steps[None]:
        """Delete an attribute policy; it can be restored."""
        yield from self._write("DELETE", f"{_ATTRIBUTE_POLICIES}/{_segment(policy_id)}", repeatable=True)

    def restore_attribute_policy(self, policy_id: str) -> Steps[AttributePolicy]:
        """Bring a deleted attribute policy back."""
        path = f"{_ATTRIBUTE_POLICIES}/{_segment(policy_id)}/restore"
        answer = yield from self._write("POST", path, repeatable=True)
        return AttributePolicy.read(answer.document)

    def check(
        self,
        *,
        resource: str,
        action: str,
        subject: str | None = None,
        subject_kind: Literal["user", "service", "workload"] | None = None,
        domain: str | None = None,
        attributes: Mapping[str, Mapping[str, object]] | None = None,
        min_revision: int | None = None,
    ) -> Steps[CheckResult]:
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
        answer = yield from self._http.call(
            "POST", "/api/v1/check", body=body, repeatable=True, also=frozenset({_DENIED})
        )
        if answer.status == _DENIED and not _has_decision(answer):
            raise answer.problem
        return CheckResult.read(answer.document, status=answer.status)

    def _all(
        self, path: str, read: Callable[[object], _Item], **filters: str | None
    ) -> Steps[tuple[_Item, ...]]:
        """Return the entries of every page."""
        query = {name: value for name, value in filters.items() if value is not None}
        found: list[_Item] = []
        cursor: str | None = None
        while True:
            page = {**query, "limit": str(_PAGE)} | ({"cursor": cursor} if cursor is not None else {})
            answer = yield from self._http.call("GET", path, query=page, repeatable=True)
            members = Members(answer.document)
            found += [read(document) for document in members.entries("items")]
            cursor = members.optional_text("next_cursor")
            if cursor is None:
                return tuple(found)

    def _write(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = False,
    ) -> Steps[ClientResponse]:
        answer = yield from self._http.call(method, path, query=query, body=body, repeatable=repeatable)
        written = revision(answer.headers.get("x-policy-revision", ""))
        if written is not None:
            self.revision = written
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
