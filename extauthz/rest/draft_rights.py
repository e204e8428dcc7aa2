"""The rights to publish a draft: its publisher, and the author of each change, may write what it writes.

A change was permitted to its author when it was made. It is judged again at publication, because keys are
revoked and tenant admins add denies meanwhile. A token is not there any more: its domains are those of then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from extauthz.domain.policy import MAX_ALLOW_PRIORITY
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.rest import authorization, registrars
from extauthz.rest.authentication import Caller, CallerKind
from extauthz.rest.authorization import Permission, is_permitted
from extauthz.rest.context import RequestContext
from extauthz.rest.problems import ProblemError, forbidden
from extauthz.storage import resources, service_keys
from extauthz.storage.conditions import EveryDomain
from extauthz.storage.draft_writes import DraftChange
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Actor, Change

_NAMED: Final = 20
Live = Mapping[tuple[str, str], Stored]


async def require_rights(
    ctx: RequestContext, change: Change, changes: Sequence[DraftChange], live: Live
) -> None:
    """Refuse a publication that the publisher or an author may not make; 403 names the changes.

    `live` are the rows that the draft replaces, by kind and id. The tables have those of the draft.
    """
    authors: dict[str, Caller | None] = {}
    problems: list[Problem] = []
    for each in changes:
        key = repr(sorted((name, repr(value)) for name, value in each.author.items() if name != "permission"))
        if key not in authors:
            authors[key] = await _author(change, each.author)
        permission = Permission[str(each.author["permission"])]
        for part, caller in (("the publisher", ctx.caller), ("the author", authors[key])):
            problem = await _problem(ctx, change, caller, permission, each, live)
            if problem is not None:
                named = each.author["actor"]["id"] if part == "the author" else ctx.caller.actor.id
                written = each.written
                pointer = f"/{written.kind}/{written.id}"
                problems.append(Problem(pointer, f"{part} {named!r} may not {written.action} it: {problem}"))
        if len(problems) >= _NAMED:
            break
    if problems:
        raise forbidden(
            "the draft has changes that its publisher or their author may not make", errors=problems
        )


async def _author(change: Change, author: Mapping[str, Any]) -> Caller | None:
    """Return the author of a change as a caller; None if its key is not valid any more."""
    actor = Actor(str(author["actor"]["kind"]), str(author["actor"]["id"]), author["actor"]["domain"])
    administers = EveryDomain.NAMED if author["administers"] is None else frozenset(author["administers"])
    kind = CallerKind[str(author["caller"])]
    if author["key"] is None:
        return Caller(kind, change.tenant, actor, None, administers)
    grant = await service_keys.grant_of(change.connection, change.tenant, str(author["key"]))
    return None if grant is None else Caller(kind, change.tenant, actor, None, administers, grant)


async def _problem(
    ctx: RequestContext,
    change: Change,
    caller: Caller | None,
    permission: Permission,
    each: DraftChange,
    live: Live,
) -> str | None:
    """Return why a caller may not make a change; None if it may."""
    if caller is None:
        return "its service key was revoked or has expired"
    if caller.is_tenant_admin:
        return None
    if each.written.kind == resources.TABLE.kind:
        # A list of changes is made with the permission for policies, and its resources with their own.
        permission = Permission.RESOURCES_WRITE
    # The permission that a token had is not in the draft's record of its author; its domains are.
    if (caller.principal is not None or caller.grant is not None) and not is_permitted(caller, permission):
        return f"this is for {permission.value} only"
    written = each.written
    stored = live.get((written.kind, written.id))
    documents = [each for each in (written.before, written.after) if each is not None]
    try:
        if permission is Permission.RESOURCES_WRITE:
            _require_resource(caller, stored, documents, written.after)
        elif permission is Permission.POLICIES_WRITE:
            await _require_policy(replace(ctx, caller=caller), change, stored, documents, written.after)
        else:
            return f"this is for {permission.value} only"
    except ProblemError as refused:
        return refused.detail
    return None


def _require_resource(
    caller: Caller, stored: Stored | None, documents: Sequence[Document], after: Document | None
) -> None:
    """Refuse a resource that a registrar may not declare; the rules of default roles come with it."""
    declared = [each for each in documents if "serviceName" in each]
    registrars.require_service(caller, [(str(each["serviceName"]), "") for each in declared])
    if not declared:
        return
    if after is None:
        if stored is not None:
            registrars.require_removal(caller, stored)
        return
    registrars.require_document_declarable(caller, after, stored)


async def _require_policy(
    ctx: RequestContext,
    change: Change,
    stored: Stored | None,
    documents: Sequence[Document],
    after: Document | None,
) -> None:
    """Refuse a row of another domain, and what only tenant admins write or lift."""
    for document in documents:
        authorization.require_domain(ctx, str(document["dom"] if "dom" in document else document["domain"]))
        authorization.require_may_inherit(ctx, document.get("user_kind"))
    if after is not None and "priority" in after:
        highest = 0 if after["effect"] == Effect.ALLOW.value else MAX_ALLOW_PRIORITY
        priority = after["priority"]
        assert isinstance(priority, int)
        if priority > highest:
            raise forbidden(f"its priority is above {highest}")
    if stored is None:
        return
    if "user_kind" in stored.document:
        if after is None:
            await authorization.require_removable_binding(ctx, change, stored)
    else:
        await authorization.require_tenant_admin(ctx, change, stored)
