"""Subjects that a tenant's rows know, and actions that they name: what AuthZEN's searches look through.

Subjects are members of role bindings and principals of recorded requests. Every query names its tenant;
`domains` are those that the caller may see (None: all of them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from extauthz.domain.policy import WILDCARD
from extauthz.storage.conditions import EveryDomain
from extauthz.storage.encoding import decode_stored

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from extauthz.storage.pool import Connection

MAX_RECORDED: Final = 100_000
"""The recorded shapes that one search reads: those of the latest days, of one day at least."""
MAX_NAMES: Final = 10_000
_MAX_ROLE_SETS: Final = 8
SubjectPlace = tuple[str, str]
"""The id and the domain of a subject, which order a search; the domain is empty where there is none."""

# A binding for `*` holds in every domain, so its member is one without a domain of its own.
_SUBJECTS: Final = """
WITH bound AS (
    SELECT DISTINCT member AS id, CASE dom WHEN '*' THEN '' ELSE dom::text END COLLATE "C" AS dom
    FROM role_bindings
    WHERE tenant_id = $1 AND member_kind = $2 AND member >= $3
      AND (member, CASE dom WHEN '*' THEN '' ELSE dom::text END COLLATE "C") > ($3, $6)
      AND ($7::text[] IS NULL OR CASE dom WHEN '*' THEN '' ELSE dom::text END = ANY($7::text[]))
      AND (member_kind <> 'workload' OR right(member, 3) <> '/**')
      AND (expires_at IS NULL OR expires_at > now())
    ORDER BY id, dom LIMIT $8
), recorded AS (
    SELECT CASE WHEN left(text, 1) = '"' THEN text::json #>> '{}' END AS id, dom, roles
    FROM (
        SELECT DISTINCT split_part(s.slots, E'\\n', slot.number::int) AS text,
            coalesce(c.document ->> 'domain', '') AS dom, (c.document -> 'own_roles')::text AS roles
        FROM recorded_contexts AS c
        CROSS JOIN LATERAL json_array_elements_text(c.document -> 'slots')
            WITH ORDINALITY AS slot (name, number)
        JOIN recorded_shapes AS s ON s.day = c.day AND s.tenant_id = c.tenant_id AND s.context = c.id
        WHERE c.tenant_id = $1 AND s.tenant_id = $1 AND c.day = ANY($4::date[]) AND s.day = ANY($4::date[])
          AND slot.name = 'user.id' AND c.document ->> 'credential' = 'verified'
          AND c.document ->> 'kind' = $2
    ) AS found
), known AS (
    SELECT id::text COLLATE "C" AS id, dom COLLATE "C" AS dom, NULL AS roles FROM bound
    UNION ALL
    SELECT id COLLATE "C", dom COLLATE "C", roles FROM recorded WHERE id IS NOT NULL
)
SELECT id, dom, bool_or(roles IS NULL) AS is_bound,
    (array_agg(DISTINCT roles) FILTER (WHERE roles IS NOT NULL))[1:$5] AS role_sets
FROM known
WHERE (id, dom) > ($3, $6) AND ($7::text[] IS NULL OR dom = ANY($7::text[]))
GROUP BY id, dom ORDER BY id, dom LIMIT $8
"""


@dataclass(frozen=True, slots=True)
class KnownSubject:
    """A subject in a domain (None: without one).

    `is_bound`: a binding names it. `role_sets` are the roles that its recorded credentials had.
    """

    id: str
    domain: str | None
    is_bound: bool
    role_sets: tuple[tuple[str, ...], ...]

    @property
    def place(self) -> SubjectPlace:
        """Where it is in the order of a search."""
        return self.id, self.domain or ""


async def recorded_days(connection: Connection, tenant: str) -> list[date]:
    """Return the latest days that hold `MAX_RECORDED` shapes together, one day at least."""
    records = await connection.fetch(
        "SELECT day, shapes FROM recording_days WHERE tenant_id = $1 ORDER BY day DESC", tenant
    )
    days: list[date] = []
    shapes = 0
    for record in records:
        shapes += record["shapes"]
        if days and shapes > MAX_RECORDED:
            break
        days.append(record["day"])
    return days


async def subjects(
    connection: Connection,
    tenant: str,
    kind: str,
    *,
    domains: Collection[str] | EveryDomain | None,
    after: SubjectPlace = ("", ""),
    limit: int,
) -> list[KnownSubject]:
    """Return known subjects of a kind in the order of ids and domains; fewer than `limit`: the last ones.

    A caller with a domain of its own does not see subjects of bindings for `*`, for which the empty domain
    stands.
    """
    records = await connection.fetch(
        _SUBJECTS,
        tenant,
        kind,
        after[0],
        await recorded_days(connection, tenant),
        _MAX_ROLE_SETS,
        after[1],
        None if domains is None or isinstance(domains, EveryDomain) else list(domains),
        limit,
    )
    return [
        KnownSubject(
            record["id"],
            record["dom"] or None,
            record["is_bound"],
            tuple(map(_roles, record["role_sets"] or ())),
        )
        for record in records
    ]


def _roles(text: str) -> tuple[str, ...]:
    return tuple(cast("list[str]", decode_stored(text)))


async def actions_of(connection: Connection, tenant: str, resource: str) -> set[str]:
    """Return the actions that role rules and attribute policies on a resource, or on all, name."""
    records = await connection.fetch(
        "(SELECT DISTINCT act::text AS name FROM role_rules WHERE tenant_id = $1 AND obj = ANY($2) LIMIT $3)"
        " UNION (SELECT DISTINCT unnest(actions)::text FROM attribute_policies"
        " WHERE tenant_id = $1 AND resource = ANY($2) AND deleted_at IS NULL LIMIT $3)",
        tenant,
        [resource, WILDCARD],
        MAX_NAMES,
    )
    return {record["name"] for record in records} - {WILDCARD}


async def names_below(connection: Connection, tenant: str, prefix: str) -> set[str]:
    """Return what follows a prefix in the names of resources, and in those that rules are about."""
    records = await connection.fetch(
        "(SELECT name::text FROM resources WHERE tenant_id = $1 AND starts_with(name, $2) LIMIT $3)"
        " UNION (SELECT DISTINCT obj::text FROM role_rules"
        " WHERE tenant_id = $1 AND starts_with(obj, $2) LIMIT $3)"
        " UNION (SELECT DISTINCT resource::text FROM attribute_policies"
        " WHERE tenant_id = $1 AND starts_with(resource, $2) AND deleted_at IS NULL LIMIT $3)",
        tenant,
        prefix,
        MAX_NAMES,
    )
    return {record["name"].removeprefix(prefix) for record in records} - {""}
