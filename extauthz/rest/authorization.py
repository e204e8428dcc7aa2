"""What a caller may do: permissions of operations, domains of rows, bounds of new keys.

`is_permitted` judges the kind of operation before anything of the request is read. The `require_*` functions
judge rows and documents, and raise `ProblemError` 403. Tenant admins pass all of them.
"""

from enum import Enum
from typing import TYPE_CHECKING, Final, cast

from extauthz.compile.documents.policy_documents import Reading, parse_attribute_policy
from extauthz.compile.roles.role_dependence import ROLES, depends_on_roles, with_inherited
from extauthz.compile.routes.route_prefixes import read_prefixes
from extauthz.domain.policy import WILDCARD, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.domain.service_key import Scope
from extauthz.domain.time_text import instant, rfc3339
from extauthz.rest.authentication import Caller, CallerKind
from extauthz.rest.context import RequestContext
from extauthz.rest.problems import ProblemError, forbidden
from extauthz.storage import attribute_policies, role_bindings, role_rules
from extauthz.storage.rows import Document, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.storage.service_keys import KeyGrant
    from extauthz.storage.write import Change


class Permission(Enum):
    """What an operation needs; the value names the callers that have it. docs/rest.md has the table."""

    CHECK = "callers with a token, tenant admins, and service keys with the scope `check`"
    EVALUATE = (
        "callers with a token, about themselves, the admin key in selfhost, and service keys with the scope "
        "`check`"
    )
    SEARCH_ACTIONS = "service keys with the scope `check`, and the admin key in selfhost"
    SEARCH_SUBJECTS = (
        "service keys with the scopes `check` and `policies:read`, and the admin key in selfhost"
    )
    OWN_ACCESS = "callers with a token"
    POLICIES_READ = (
        "domain admins, for rows of their domains, tenant admins, service keys with `policies:read`"
    )
    POLICIES_WRITE = (
        "domain admins, for rows of their domains, tenant admins, service keys with `policies:write`"
    )
    RESOURCES_WRITE = "tenant admins, and registrars: service keys with `resources:write`, for their service"
    KEYS_WRITE = "tenant admins, and service keys with `keys:write`, for keys of their own"
    AUDIT_READ = "tenant admins, and service keys with `audit:read`"
    DECISIONS_READ = (
        "tenant admins, service keys with `audit:read`, and domain admins, for decisions in their domains"
    )
    TENANT = "tenant admins"
    DRAFTS_APPROVE = "tenant admins with a token: keys identify no person"
    OPERATOR = "the operator: the admin key or a session"
    ADMIN_KEY = "the operator's admin key"

    @property
    def of_operator(self) -> bool:
        """Whether only the operator has it. The operator acts in the tenant that the path names."""
        return self in {Permission.OPERATOR, Permission.ADMIN_KEY}


_SERVICE_SCOPES: Final = frozenset({Scope.RESOURCES_WRITE})
_DOMAIN_SCOPES: Final = frozenset({Scope.IDENTITY, Scope.POLICIES_READ, Scope.POLICIES_WRITE})


def is_permitted(caller: Caller, permission: Permission) -> bool:
    """Tell whether a caller has a permission."""
    match permission:
        case Permission.OWN_ACCESS:
            return caller.principal is not None
        case Permission.OPERATOR:
            return caller.kind in {CallerKind.OPERATOR, CallerKind.SESSION}
        case Permission.ADMIN_KEY:
            return caller.kind is CallerKind.OPERATOR
        case Permission.DRAFTS_APPROVE:
            return caller.is_tenant_admin and caller.kind is CallerKind.TOKEN
        case Permission.SEARCH_ACTIONS | Permission.SEARCH_SUBJECTS if caller.principal is not None:
            return False
        case _ if caller.is_tenant_admin:
            return True
        case Permission.SEARCH_ACTIONS:
            return caller.has(Scope.CHECK)
        case Permission.SEARCH_SUBJECTS:
            return caller.has(Scope.CHECK) and caller.has(Scope.POLICIES_READ)
        case Permission.EVALUATE:
            return caller.principal is not None or caller.has(Scope.CHECK)
        case Permission.CHECK if caller.principal is not None:
            return True
        case Permission.POLICIES_READ | Permission.POLICIES_WRITE | Permission.DECISIONS_READ if (
            caller.is_domain_admin
        ):
            return True
        case Permission.DECISIONS_READ:
            return caller.has(Scope.AUDIT_READ)
        case _:
            # Service keys have the permissions that their scopes name.
            return permission.name in Scope.__members__ and caller.has(Scope[permission.name])


def not_permitted(caller: Caller, permission: Permission) -> ProblemError:
    """Return 403 for a caller without a permission."""
    if caller.kind is CallerKind.SESSION:
        return forbidden(f"a session of the operator is for '/admin' only; this is for {permission.value}")
    if caller.kind is CallerKind.OPERATOR and not caller.is_tenant_admin:
        return forbidden(
            f"in MODE=saas the admin key does not administer a tenant; this is for {permission.value}"
        )
    return forbidden(f"this is for {permission.value} only")


def require_domain(ctx: RequestContext, domain: str) -> None:
    """Refuse to write into a domain that the caller does not administer."""
    if ctx.caller.administers_domain(domain):
        return
    if domain == WILDCARD:
        raise forbidden("only tenant admins write for the domain '*'")
    raise forbidden(f"you do not administer the domain {domain!r}")


def require_may_inherit(ctx: RequestContext, user_kind: object) -> None:
    """Refuse inheritance between roles, a binding of the kind `role`, to all but tenant admins."""
    if user_kind == SubjectKind.ROLE and not ctx.caller.is_tenant_admin:
        raise forbidden("only tenant admins write inheritance between roles")


def recorded_domains(caller: Caller) -> frozenset[str] | None:
    """Return the domains of principals whose decisions a caller with `DECISIONS_READ` sees; None: all."""
    if caller.is_tenant_admin or caller.has(Scope.AUDIT_READ):
        return None
    # Service keys have the scope; a token names each domain that it administers.
    return caller.administers if isinstance(caller.administers, frozenset) else frozenset()


def sees_decisions_of(caller: Caller, domain: str | None) -> bool:
    """Tell whether a caller with `DECISIONS_READ` sees decisions about principals of a domain."""
    domains = recorded_domains(caller)
    return domains is None or domain in domains


async def require_tenant_admin(ctx: RequestContext, _: "Change", stored: Stored) -> None:
    """Refuse a domain admin to change a row of another domain, or a deny that a tenant admin wrote.

    A domain admin can never lift a tenant admin's deny at priority 0 or above; deleting or rewriting the deny
    would lift it.
    """
    if ctx.caller.is_tenant_admin:
        return
    document = stored.document
    require_domain(ctx, str(document["dom"] if "dom" in document else document["domain"]))
    priority = document.get("priority", 0)
    assert isinstance(priority, int)
    if not stored.by_domain_admin and document["effect"] == Effect.DENY.value and priority >= 0:
        raise forbidden("a tenant admin wrote this deny, and only a tenant admin may change it")


def require_delegable(grant: "KeyGrant", document: Document) -> None:
    """Refuse a new key that may do more than the key that creates it; a left out member means everything.

    Service and domain may be left out where no scope of the new key is bounded by them. A principal without a
    domain is of no domain, not of every one: rules of a domain do not apply to it, nor to keys it creates.
    """
    problems: list[Problem] = []
    scopes = cast("Sequence[str]", document["scopes"])
    for index, scope in enumerate(scopes):
        if scope not in grant.scopes:
            problems.append(Problem(f"/scopes/{index}", "is not a scope of the calling key"))
    bounds = (("service_name", grant.service_name, _SERVICE_SCOPES), ("domain", grant.domain, _DOMAIN_SCOPES))
    for member, own, bounded in bounds:
        concerned = document[member] is not None or bounded.intersection(map(Scope, scopes))
        if own is not None and concerned and document[member] != own:
            problems.append(Problem(f"/{member}", f"must be {own!r}, as for the calling key"))
    if grant.domain is None and document["domain"] is not None and Scope.IDENTITY in scopes:
        problems.append(Problem("/domain", "must be left out: the calling key is a principal without domain"))
    own_prefixes = read_prefixes(grant.prefixes)
    for index, prefix in enumerate(read_prefixes(cast("Sequence[str]", document["prefixes"]))):
        if not any(own_prefix.covers(prefix) for own_prefix in own_prefixes):
            problems.append(Problem(f"/prefixes/{index}", "is not under a prefix of the calling key"))
    expires_at = document["expires_at"]
    if grant.expires_at is not None and (expires_at is None or instant(str(expires_at)) > grant.expires_at):
        latest = rfc3339(grant.expires_at)
        problems.append(Problem("/expires_at", f"must be at most {latest}, when the calling key expires"))
    if problems:
        raise forbidden("a key creates keys only within its own permissions", errors=problems)


async def require_removable_binding(ctx: RequestContext, change: "Change", stored: Stored) -> None:
    """Refuse a domain admin to lift a tenant admin's deny by deleting the binding on which it depends."""
    if ctx.caller.is_tenant_admin or stored.by_domain_admin:
        return
    domain = str(stored.document["dom"])
    links = [
        (str(link["user"]), str(link["role"]), str(link["dom"]))
        for link in await role_bindings.inheritance(change)
    ]
    roles = with_inherited(str(stored.document["role"]), domain, links)
    denied = await role_rules.denied_by_tenant_admins(change.connection, change.tenant, roles, domain)
    if not denied:
        policies = await attribute_policies.denies_of_tenant_admins(
            change.connection, change.tenant, domain, naming=ROLES
        )
        # An unreadable policy is treated as depending on the role.
        reading = Reading(condition_headers=ctx.services.condition_headers)
        read = (parse_attribute_policy(document, "", [], reading) for document in policies)
        denied = any(policy is None or depends_on_roles(policy.condition, roles) for policy in read)
    if denied:
        raise forbidden(
            "a tenant admin wrote this binding and a deny that depends on it: only a tenant admin deletes it"
        )
