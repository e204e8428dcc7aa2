"""The changes of one tenant while the demo runs (`--mode saas`); the other tenant is not affected."""

from collections.abc import Callable, Iterator
from typing import Final

from extauthz.demo.calls import CallResult, send
from extauthz.demo.changes import BOB_READS, INVOICE
from extauthz.demo.first_policies import ROLE_RULES
from extauthz.demo.report import ReportLine, awaited
from extauthz.demo.rest import SERVICE_KEY
from extauthz.demo.stack import PUBLIC_PATH, Stack
from extauthz.demo.tenants import Tenant

_SERVICE_KEYS: Final = "/api/v1/service-api-keys"


def rules_kept_apart(stack: Stack) -> Iterator[ReportLine]:
    """Let acme's bob read invoices: globex's bob still may not, and globex does not even see the rule."""
    acme, globex = stack.tenants
    admins = {tenant.slug: tenant.people.token("admin") for tenant in stack.tenants}
    read = _reading(stack, "bob")
    created = stack.rest.ask("POST", ROLE_RULES, BOB_READS, token=admins[acme.slug])
    path = f"{ROLE_RULES}/{created.id}"
    yield awaited(
        "acme lets its bob read: he may, globex's bob may not", "200 and 403 no_matching_rule", read
    )
    seen = [stack.rest.ask("GET", path, token=admins[tenant.slug]).status for tenant in (acme, globex)]
    yield ReportLine("acme's administrator sees the rule, globex's does not", "200 and 404", _statuses(seen))
    gone = [stack.rest.ask("DELETE", path, token=admins[tenant.slug]).status for tenant in (globex, acme)]
    yield ReportLine("globex's administrator cannot delete it, acme's can", "404 and 204", _statuses(gone))
    refused = stack.rest.ask("POST", ROLE_RULES, BOB_READS)
    yield ReportLine("the operator's key writes no tenant's rules", "403", str(refused.status))
    denied = "403 no_matching_rule and 403 no_matching_rule"
    yield awaited("the rule is deleted: neither bob may", denied, read)


def keys_kept_apart(stack: Stack) -> Iterator[ReportLine]:
    """Give a service of acme a key: it is good at acme, not at globex, and nowhere once it is revoked."""
    acme, globex = stack.tenants
    created = acme.rest.create(_SERVICE_KEYS, {"name": "Demo", "scopes": ["identity"]})
    headers = {SERVICE_KEY: created.document["key"]}

    def at(tenant: Tenant) -> str:
        return _shown(send(stack.envoy_port, PUBLIC_PATH, host=tenant.host, headers=headers))

    yield awaited("a service reads acme's notices with acme's key", "200", lambda: at(acme))
    yield ReportLine("the same key at globex", "403 tenant_mismatch", at(globex))
    acme.rest.ask("DELETE", f"{_SERVICE_KEYS}/{created.id}")
    yield awaited("the key is revoked", "401 api_key_invalid", lambda: at(acme))


def suspended(stack: Stack) -> Iterator[ReportLine]:
    """Suspend globex, and let it go on: acme never notices."""
    _, globex = stack.tenants
    read = _reading(stack, "alice")
    path = f"/admin/tenants/{globex.slug}"
    stack.rest.ask("PATCH", path, {"status": "suspended"})
    yield awaited("globex is suspended: only acme's alice reads", "200 and 403 tenant_suspended", read)
    stack.rest.ask("PATCH", path, {"status": "active"})
    yield awaited("globex goes on: both alices read", "200 and 200", read)


def outcomes(stack: Stack) -> Iterator[ReportLine]:
    """Make every change that concerns both tenants."""
    yield from rules_kept_apart(stack)
    yield from keys_kept_apart(stack)
    yield from suspended(stack)


def _reading(stack: Stack, name: str) -> Callable[[], str]:
    """Return how to ask what each tenant's person of that name gets for an invoice of its own tenant."""
    named = [(tenant.host, tenant.people.token(name)) for tenant in stack.tenants]

    def read() -> str:
        answers = [send(stack.envoy_port, INVOICE, host=host, token=token) for host, token in named]
        return " and ".join(map(_shown, answers))

    return read


def _statuses(found: list[int]) -> str:
    return " and ".join(map(str, found))


def _shown(answer: CallResult) -> str:
    return " ".join([str(answer.status), *([answer.reason] if answer.reason else [])])
