"""Public resources: the two role rules that `public: true` stands for.

They are written when a resource becomes public and deleted when it no longer is. In between they are role
rules like others: a tenant admin may delete one, and no later declaration of the same resource writes it
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.domain.policy import PUBLIC_SUBJECTS, WILDCARD, default_action
from extauthz.domain.reasons import Effect
from extauthz.storage import role_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document, Stored
    from extauthz.storage.write import Change


def is_public(document: Mapping[str, object]) -> bool:
    """Return whether a resource is declared public."""
    return document.get("public") is True


async def open_all(change: Change, documents: Sequence[Mapping[str, object]]) -> None:
    """Write the rules of those of the resources that are public; an equal rule that exists is kept."""
    rules: list[Document] = [
        {
            "id": change.new_id(),
            "sub": sub,
            "sub_kind": kind.value,
            "dom": WILDCARD,
            "obj": document["name"],
            "act": default_action(str(document["name"])),
            "effect": Effect.ALLOW.value,
        }
        for document in documents
        if is_public(document)
        for sub, kind in PUBLIC_SUBJECTS
    ]
    if not rules:
        return
    stored = await role_rules.TABLE.insert(change.connection, change.tenant, rules, revision=change.revision)
    for rule in rules:
        if rule["id"] in stored:
            change.note("create", role_rules.TABLE.kind, str(rule["id"]), after=rule)


async def close(change: Change, name: str) -> None:
    """Delete the rules that made a resource public."""
    await role_rules.delete_all(change, await _rules(change.connection, change.tenant, [name]))


async def in_force(connection: Connection, tenant: str, rows: Sequence[Stored]) -> frozenset[str]:
    """Return the names of the public resources that have both rules now."""
    names = [str(row.document["name"]) for row in rows if is_public(row.document)]
    if not names:
        return frozenset()
    found = [str(rule.document["obj"]) for rule in await _rules(connection, tenant, names)]
    return frozenset(name for name in names if found.count(name) == len(PUBLIC_SUBJECTS))


async def _rules(connection: Connection, tenant: str, names: Sequence[str]) -> tuple[Stored, ...]:
    subjects = [(name, sub, kind.value) for name in names for sub, kind in PUBLIC_SUBJECTS]
    records = await connection.fetch(
        f"SELECT {role_rules.TABLE.selected_with_marks} FROM role_rules AS r"  # noqa: S608 - our own columns
        " WHERE tenant_id = $1 AND dom = '*' AND effect = 'allow' AND (obj, act, sub, sub_kind) IN"
        " (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])) ORDER BY r.id",
        tenant,
        [name for name, _, _ in subjects],
        [default_action(name) for name, _, _ in subjects],
        [sub for _, sub, _ in subjects],
        [kind for _, _, kind in subjects],
    )
    return tuple(map(role_rules.TABLE.stored, records))
