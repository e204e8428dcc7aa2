"""Finds the target of a request: the tenant that owns it, and the resource and action of its route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.compile.directory import Directory
from extauthz.compile.routes.mcp_messages import McpRoutes
from extauthz.compile.routes.route_tree import Match, RouteEntry
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.mcp import POST
from extauthz.domain.path import CanonicalPath, PathRejected
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.preflight import OPTIONS
from extauthz.domain.reasons import Reason
from extauthz.domain.request import ContextTarget, RequestFacts
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.domain.verdict import Target

_NO_PARAMETERS: Final[Mapping[str, object]] = {}
# Looked up in its class, a member of an enumeration costs a call.
_SELFHOST: Final = TenancyMode.SELFHOST
_REQUIRED: Final = AuthenticationRequirement.REQUIRED
_NONE: Final = AuthenticationRequirement.NONE


@dataclass(frozen=True, slots=True)
class Unmapped:
    """No resource stands behind the request, and why. A credential is still required of it."""

    reason: Reason = Reason.UNMAPPED_ROUTE


_AMBIGUOUS: Final = Unmapped(Reason.PATH_AMBIGUOUS)


Place = tuple[str | None, Snapshot | None, str, Target | Unmapped | None]
"""Where a request leads: the owner, its policies, the method that decides, and the target there.

The owner is None where trusted configuration names none; policies and target are None where the owner has no
policies. A plain tuple: a check makes one, and a named tuple takes ten times as long to make.
"""


def is_unauthenticated(found: Target | Unmapped | None) -> bool:
    """Whether no credential is read at a target (`authentication: none`)."""
    return isinstance(found, Target) and found.authentication is _NONE


def locate(
    directory: Directory,
    request: RequestFacts,
    binding: TenantBinding,
    unmapped: UnmappedPolicy,
    token_tenant: str | None = None,
) -> Place:
    """Return where a request leads; `token_tenant` is None before its credential is judged."""
    owner = owner_of(directory, request.context, request.host, binding, token_tenant)
    snapshot = None if owner is None else directory.snapshots.get(owner)
    method = decided_method(request.method)
    found = None if snapshot is None else resolve(snapshot, request, method, unmapped)
    return owner, snapshot, method, found


def decided_method(method: str) -> str:
    """Return the method that decides: HEAD is GET for everything but the log."""
    return "GET" if method == "HEAD" else method


def owner_of(
    directory: Directory,
    context: ContextTarget,
    host: str,
    binding: TenantBinding,
    token_tenant: str | None,
) -> str | None:
    """Return the tenant that owns the target, None when trusted configuration names none.

    Only configuration speaks: the proxy's route, the host, or the operator's `TENANT_BINDING=token`.
    """
    if context.tenant is not None:
        known = context.tenant in directory.snapshots or directory.awaits_policies(context.tenant)
        return context.tenant if known else None
    if directory.mode is _SELFHOST:
        return DEFAULT_TENANT
    owner = directory.hosts.get(host)
    if owner is not None:
        return owner
    return token_tenant if binding is TenantBinding.TOKEN else None


def resolve(
    snapshot: Snapshot, request: RequestFacts, method: str, unmapped: UnmappedPolicy
) -> Target | Unmapped:
    """Return the target of a request in its owner's routes; `method` is the one that decides."""
    context = request.context
    if context.resource is not None or context.action is not None:
        return _named(snapshot, request, method)
    found = snapshot.routes.best(request.host, request.path)
    if found is not None:
        if found.respelt:
            return _AMBIGUOUS
        if found.leaf.messages is not None and method == POST:
            return _of_message(snapshot, found, found.leaf.messages, request)
        entry = found.leaf.for_method(method)
        if entry is not None:
            return _target(snapshot, found, entry)
    if unmapped is UnmappedPolicy.PATH:
        return target_by_name(snapshot, request.path.text, method.lower())
    return Unmapped()


def _of_message(
    snapshot: Snapshot, found: Match, messages: McpRoutes[RouteEntry], request: RequestFacts
) -> Target | Unmapped:
    """Return the target of the message in the body. INVARIANT: no other route of the path takes its place."""
    message = None if request.body is None else request.body.message()
    covered = None if message is None else messages.covered(message)
    if covered is None:
        return Unmapped()
    target = _target(snapshot, found, covered.entry)
    if not covered.parameters:
        return target
    return target._replace(parameters={**target.parameters, **covered.parameters})


def preflight_target(snapshot: Snapshot, request: RequestFacts, asked: str) -> Target | None:
    """Return the target of the method that a CORS preflight asks about.

    None where that method has no route at this path, where a route there covers OPTIONS, so that it decides,
    and where the proxy's configuration names the target.
    """
    context = request.context
    if context.resource is not None or context.action is not None:
        return None
    found = snapshot.routes.best(request.host, request.path)
    if found is None or found.respelt or found.leaf.for_method(OPTIONS) is not None:
        return None
    method = decided_method(asked)
    entry = found.leaf.for_method(method)
    if entry is None and method == POST and found.leaf.messages is not None:
        # The message comes with the request that the preflight asks about.
        entry = found.leaf.entries[0]
    return None if entry is None else _target(snapshot, found, entry)


def _target(snapshot: Snapshot, found: Match, entry: RouteEntry) -> Target:
    parameters = found.parameters(entry) if entry.names else _NO_PARAMETERS
    denied_as = _denied_as(snapshot, entry.resource) if entry.resource.startswith("/") else ()
    # By position: with names it takes twice the time.
    return Target(
        snapshot.tenant,
        entry.resource,
        entry.action,
        entry.service,
        parameters,
        entry.authentication,
        denied_as,
        entry.forwarding,
        entry.require_bound,
        entry.route.path,
    )


def target_by_name(
    snapshot: Snapshot,
    resource: str,
    action: str,
    *,
    parameters: Mapping[str, object] = _NO_PARAMETERS,
    authentication: AuthenticationRequirement = _REQUIRED,
    template: str | None = None,
    action_properties: Mapping[str, object] = _NO_PARAMETERS,
    context: Mapping[str, object] = _NO_PARAMETERS,
) -> Target:
    """Return the target that is named: a resource, registered or not, and an action.

    A name may be a path (`UNMAPPED=path`); then denies on its other spellings hold for it too.
    """
    registered = snapshot.resources_by_name.get(resource)
    return Target(
        tenant=snapshot.tenant,
        resource=resource,
        action=action,
        service=None if registered is None else registered.service,
        parameters=parameters,
        authentication=authentication,
        denied_as=_denied_as(snapshot, resource) if resource.startswith("/") else (),
        forwarding=None if registered is None else registered.forwarding,
        require_bound=registered is not None and registered.require_bound,
        template=template,
        action_properties=action_properties,
        context=context,
    )


def _denied_as(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Return the further names on which denies count, where the name is a canonical path."""
    names = snapshot.path_denies.other_spellings(name)
    if not names:
        return ()
    path = CanonicalPath.parse(name)
    return () if isinstance(path, PathRejected) or path.text != name else names


def _named(snapshot: Snapshot, request: RequestFacts, method: str) -> Target | Unmapped:
    """The proxy's configuration names resource and action; only that resource's routes add to it."""
    context = request.context
    if not context.resource or not context.action:
        return Unmapped()
    resource = snapshot.resources_by_name.get(context.resource)
    if resource is None:
        return Unmapped()
    found = snapshot.routes_of(resource).best(request.host, request.path)
    if found is not None and found.respelt:
        return _AMBIGUOUS
    entry = found.leaf.for_method(method) if found is not None else None
    if found is None or entry is None:
        return target_by_name(snapshot, resource.name, context.action)
    return target_by_name(
        snapshot,
        resource.name,
        context.action,
        parameters=found.parameters(entry),
        authentication=entry.authentication,
        template=entry.route.path,
    )
