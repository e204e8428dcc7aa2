"""Shapes and policies for the tests of replay: the requests of a shop, and documents that decide them."""

from typing import Any

from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.reasons import Reason
from extauthz.recording.shape import CredentialState, Shape, literal
from tests.compiled_policies import compiled
from tests.user_shapes import user_shape

Document = dict[str, Any]
HOUR = 1_767_607_200.0
"""2026-01-05T10:00:00Z."""

ORDERS: Document = {
    "name": "shop:orders",
    "serviceName": "shop",
    "routes": [{"methods": ["GET"], "path": "/orders/{id}", "action": "read"}],
}
CLERKS: Document = {
    "id": "clerks", "sub": "clerk", "sub_kind": "role", "dom": "*", "obj": "shop:orders", "act": "*",
    "effect": "allow",
}  # fmt: skip


def snapshot_of(**documents: list[Document]) -> Snapshot:
    """Compile documents by their kinds."""
    parsed = parse_policy_set(documents, Reading(condition_headers=frozenset({"x-region"})))
    assert not isinstance(parsed, list), parsed
    return compiled(parsed)


def policy(name: str, effect: str, *conditions: Document, **members: object) -> Document:
    """Return an attribute policy on orders whose conditions must all hold."""
    return {
        "id": name,
        "name": name,
        "resource": "shop:orders",
        "effect": effect,
        "rule_data": {"type": "AND", "conditions": [*conditions]} if conditions else {"type": "ALWAYS"},
        **members,
    }


def condition(attribute: str, operator: str, value: object) -> Document:
    """Return one condition."""
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def order(identifier: str = '"17"', *roles: str, subject: str = '"alice"', **slots: str) -> Shape:
    """Return the shape of a user's GET of an order, which was denied; slots by name, `__` for a dot."""
    given = {
        "request.host": literal("shop.example"),
        "request.method": literal("GET"),
        "request.source.principal": "absent",
        "user.id": subject,
        "{id}": identifier,
        **{name.replace("__", "."): text for name, text in slots.items()},
    }
    return user_shape(given, own_roles=roles, template="/orders/{id}")


def without_credential(shape: Shape, refused: Reason | None = None) -> Shape:
    """Return the shape of the same request without a credential, or with one that was refused."""
    return shape._replace(
        credential=CredentialState.NONE if refused is None else CredentialState.REFUSED,
        kind=None,
        authentication=None,
        token_tenant=None,
        own_roles=(),
        slots=tuple((name, "absent" if name == "user.id" else text) for name, text in shape.slots),
        reason=refused or Reason.TOKEN_MISSING,
    )
