"""Tenants that use the same names, and the decisions that each of them wants.

All tenants have the same key id, users, roles, resources, rules, robots, paths and audience. Only the
decisions differ: a rule, a binding, a key or a route of the wrong tenant gives an answer not in `ORDERS`.
`mallory` allows all that a tenant can allow; `dormant` would allow every request, and is suspended.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from extauthz.demo.rest import RestApi
from tests.key_server import KeyServer
from tests.tokens import AUDIENCE, SigningKey

FIRMS = ("acme", "globex", "initech")
OPEN, DORMANT = "mallory", "dormant"
ALL_TENANTS = (*FIRMS, OPEN, DORMANT)
KID = "key"
ALLOW, DENY, NOTHING = "allow", "rule_matched", "no_matching_rule"

PEOPLE: Mapping[str, Mapping[str, object]] = {
    "alice": {}, "bob": {}, "carol": {}, "erin": {}, "dave": {"roles": ["manager"]},
    "fran": {"roles": ["auditor"]},
}  # fmt: skip
MEMBERS = (*PEOPLE, "robot")
ORDERS: Mapping[str, Mapping[str, str]] = {
    "acme": {
        "alice": ALLOW, "bob": DENY, "carol": NOTHING,  # by rules on users
        "erin": ALLOW, "dave": NOTHING, "fran": NOTHING,  # by roles
        "robot": ALLOW,
    },
    "globex": {
        "alice": NOTHING, "bob": ALLOW, "carol": DENY,
        "erin": NOTHING, "dave": ALLOW, "fran": NOTHING,
        "robot": DENY,
    },
    "initech": {
        "alice": DENY, "bob": NOTHING, "carol": ALLOW,
        "erin": NOTHING, "dave": NOTHING, "fran": ALLOW,
        "robot": ALLOW,
    },
    OPEN: dict.fromkeys(MEMBERS, ALLOW),
    DORMANT: dict.fromkeys(MEMBERS, "tenant_suspended"),
}  # fmt: skip
NOTICES = {
    "acme": ALLOW, "globex": DENY, "initech": NOTHING, OPEN: ALLOW, DORMANT: "tenant_suspended",
}  # fmt: skip
"""The expected answer to a request without a credential at an optional route."""
DEPARTMENTS = {"acme": "finance", "globex": "sales", "initech": "legal"}
"""Whose `department` each firm's attribute policy lets at reports."""

NAMING = (
    "tenant", "tenant_id", "tenantId", "tid", "org", "org_id", "organization", "azp", "client_id", "realm",
    "owner", "x-auth-tenant", "dom",
)  # fmt: skip
"""Claims that may be mistaken for the name of a tenant."""

BOUND = {
    "acme": [("user", "erin", "clerk")],
    "globex": [("user", "erin", "auditor"), ("role", "manager", "clerk")],
    "initech": [],
    OPEN: [],
    DORMANT: [],
}  # fmt: skip
RULED = {
    "acme": [("user", "alice", "allow"), ("user", "bob", "deny"), ("role", "robots", "allow")],
    "globex": [("user", "bob", "allow"), ("user", "carol", "deny"), ("role", "robots", "deny")],
    "initech": [
        ("user", "carol", "allow"), ("user", "alice", "deny"), ("role", "auditor", "allow"),
        ("role", "robots", "allow"),
    ],
}  # fmt: skip

STATUS = {
    "rule_matched": 403, "no_matching_rule": 403, "unmapped_route": 403, "tenant_mismatch": 403,
    "tenant_suspended": 403, "token_missing": 401, "token_malformed": 401, "token_bad_signature": 401,
    "token_unknown_issuer": 401, "token_unknown_key": 401, "token_claims_invalid": 401,
    "api_key_invalid": 401, "credentials_conflict": 401,
}  # fmt: skip


class Seen(NamedTuple):
    """The answer to a client, and the tenant and subject that the upstream received."""

    status: int
    reason: str | None
    tenant: str | None = None
    subject: str | None = None


def granted(tenant: str, subject: str | None) -> Seen:
    return Seen(200, None, tenant, subject)


def refused(reason: str) -> Seen:
    return Seen(STATUS[reason], reason)


@dataclass
class Firm:
    """A tenant: its provider and signing key, its administrator's API, its robot's key, its rules' ids."""

    slug: str
    signing: SigningKey
    provider: KeyServer
    rest: RestApi
    bootstrap: str
    robot: str = ""
    robot_id: str = ""
    revision: int = 0
    rules: set[str] = field(default_factory=set)

    @property
    def host(self) -> str:
        return f"{self.slug}.local"

    def token(self, person: str = "alice", *, signing: SigningKey | None = None, **changes: Any) -> str:
        """Return a token; of `changes`, `header_` ones are to its header."""
        now = int(time.time())
        header = {
            name.removeprefix("header_"): changes.pop(name) for name in list(changes) if "header_" in name
        }
        claims = {
            "iss": self.provider.issuer, "sub": person, "aud": AUDIENCE, "iat": now - 600, "exp": now + 600,
        } | dict(PEOPLE.get(person, {}))  # fmt: skip
        return (signing or self.signing).sign(claims | changes, **header)

    def credential(self, member: str, **changes: Any) -> bytes:
        """Return the header line of a person's token, or of the robot's key."""
        if member == "robot":
            return b"x-service-api-key: " + self.robot.encode()
        return b"authorization: Bearer " + self.token(member, **changes).encode()

    def orders(self, member: str) -> Seen:
        """Return the expected answer to a member of the tenant at its own orders."""
        verdict = ORDERS[self.slug][member]
        subject = self.robot_id if member == "robot" else member
        return granted(self.slug, subject) if verdict == ALLOW else refused(verdict)

    def create(self, path: str, document: object) -> str:
        made = self.rest.create(f"/api/v1/{path}", document)
        self.revision = max(self.revision, made.revision or 0)
        return made.id

    def rule(self, obj: str, sub: str, kind: str, effect: str) -> None:
        document = {"sub": sub, "sub_kind": kind, "dom": "*", "obj": obj, "act": "read", "effect": effect}
        self.rules.add(self.create("resources/policies", document))

    def open_shop(self) -> None:
        """Write what all tenants have, and the rules of this one."""
        for name, authentication in (("order", "required"), ("notice", "optional"), ("report", "required")):
            path = f"/{name}s/{{id}}"
            route = {"methods": ["GET"], "path": path, "action": "read", "authentication": authentication}
            document = {"name": f"{name}:read", "serviceName": "shop", "routes": [route]}
            self.create("resources", document)
        key = self.rest.create("/api/v1/service-api-keys", {"name": "robot", "scopes": ["identity"]})
        self.robot, self.robot_id = key.document["key"], key.id
        for kind, member, role in [*BOUND[self.slug], ("service", self.robot_id, "robots")]:
            self.create("role-bindings", {"user": member, "user_kind": kind, "role": role, "dom": "*"})
        self.rule("order:read", "clerk", "role", "allow")
        for kind, sub, effect in RULED.get(self.slug, [("any", "*", "allow")]):
            self.rule("order:read", sub, kind, effect)
        if NOTICES[self.slug] != NOTHING:
            effect = "deny" if NOTICES[self.slug] == DENY else "allow"
            self.rule("notice:read", "anonymous", "role", effect)
        if self.slug in DEPARTMENTS:
            own = {
                "type": "CONDITION", "attribute": "user.department", "operator": "eq",
                "value": DEPARTMENTS[self.slug],
            }  # fmt: skip
            policy = {"name": "department", "resource": "report:read", "effect": "allow", "rule_data": own}
            self.rules.add(self.create("abac/policies", policy))
        if self.slug == "acme":
            self.create("resources", {"name": "only-acme:read", "serviceName": "shop", "routes": []})
            self.rule("only-acme:read", "*", "any", "allow")

    def open_everything(self, hosts: list[str]) -> None:
        """Claim the hosts of all tenants and every path, without a credential, for every principal."""
        for number, host in enumerate([*hosts, "*.local", "*.globex.local", None]):
            at: dict[str, Any] = {} if host is None else {"host": host}
            routes = [
                {"methods": ["*"], "path": path, "authentication": "optional"} | at
                for path in ("/**", "/orders/{id}", "/notices/{id}", "/reports/{id}", "/claimed")
                # The routes that all tenants have exist already.
                if host is not None or path in {"/**", "/claimed"}
            ]
            self.create("resources", {"name": f"all-{number}:read", "serviceName": "shop", "routes": routes})
        self.rule("*", "*", "any", "allow")
        self.rule("*", "anonymous", "role", "allow")


def at_orders(caller: Firm, owner: str, member: str) -> Seen:
    """Return the expected answer to a member of one tenant at the orders of another."""
    return caller.orders(member) if caller.slug == owner else refused("tenant_mismatch")
