"""Ways in which a stored row may have been damaged outside the API: its kind, and the SQL that does it.

In the SQL `:row` stands for the row's id.
"""

import json
from typing import Final


def condition(**members: object) -> dict[str, object]:
    return {"type": "CONDITION", "attribute": "user.id", "operator": "eq", "value": "x"} | members


def _rule_data(rule_data: object) -> str:
    text = json.dumps(rule_data).replace("'", "''")
    return f"UPDATE attribute_policies SET rule_data = '{text}' WHERE id = ':row'"


def _nested(levels: int) -> object:
    tree: object = {"type": "ALWAYS"}
    for _ in range(levels):
        tree = {"type": "NOT", "condition": tree}
    return tree


def _routes(routes: object) -> str:
    return f"UPDATE resources SET routes = '{json.dumps(routes)}' WHERE id = ':row'"


def _drop(table: str, *constraints: str) -> str:
    return f"ALTER TABLE {table} " + ", ".join(f"DROP CONSTRAINT {name}" for name in constraints)


_POLICIES: Final = "attribute_policies"
_POLICY_DAMAGES: Final = {
    "an unknown operator": [_rule_data(condition(operator="resembles"))],
    "no type": [_rule_data({})],
    "a number for a tree": [_drop(_POLICIES, "attribute_policies_rule_data_shape"), _rule_data(7)],
    "a member of a later version": [_rule_data({"type": "ALWAYS", "until": "2030"})],
    "an invisible character in an attribute": [_rule_data(condition(attribute="user.a\u200bb"))],
    "a header that is not forwarded": [_rule_data(condition(attribute="request.headers.x-gone"))],
    "nesting beyond all bounds": [_rule_data(_nested(400))],
    "a number of 5,000 digits": [
        f"UPDATE {_POLICIES} SET rule_data = jsonb_build_object('n', 10::numeric ^ 5000) WHERE id = ':row'",
    ],
    "a notation of a later version": [
        _drop(_POLICIES, "attribute_policies_format_check", "attribute_policies_rule_data_shape"),
        f"UPDATE {_POLICIES} SET format = 'rego' WHERE id = ':row'",
    ],
    "a check that no longer holds": [
        _drop(_POLICIES, "attribute_policies_mode_check"),
        f"UPDATE {_POLICIES} SET mode = 'audit' WHERE id = ':row'",
        f"ALTER TABLE {_POLICIES} ADD CONSTRAINT modes CHECK (mode IN ('enforce', 'shadow')) NOT VALID",
    ],
    "an invalid effect": [
        _drop(_POLICIES, "attribute_policies_effect_check", "attribute_policies_allow_band"),
        f"UPDATE {_POLICIES} SET effect = 'perhaps' WHERE id = ':row'",
    ],
}
_RULE_DAMAGES: Final = {
    "a rule with an invalid effect": [
        _drop("role_rules", "role_rules_effect_check", "role_rules_named_any_denies"),
        "UPDATE role_rules SET effect = 'perhaps' WHERE id = ':row'",
    ],
    "a name with an invisible character": [
        "UPDATE role_rules SET sub = U&'fin\\034Fance' WHERE id = ':row'",
    ],
}
_RESOURCE_DAMAGES: Final = {
    "a broken template": [_routes([{"path": "no-slash", "methods": ["*"]}])],
    "routes that are not objects": [_routes([7])],
    "the route of another resource": [_routes([{"path": "/invoices/{n}", "methods": ["*"]}])],
}
_BINDING_DAMAGES: Final = {
    "a cycle of roles": [
        "UPDATE role_bindings SET member = 'reader', role = 'clerk' WHERE id = ':row'",
    ],
}
DAMAGES: Final = {
    name: (kind, statements)
    for kind, damages in (
        ("attribute_policy", _POLICY_DAMAGES),
        ("role_rule", _RULE_DAMAGES),
        ("resource", _RESOURCE_DAMAGES),
        ("role_binding", _BINDING_DAMAGES),
    )
    for name, statements in damages.items()
}


def damaging(damage: str, row_id: str) -> list[str]:
    """Return the SQL that damages the row of this id."""
    return [statement.replace(":row", row_id) for statement in DAMAGES[damage][1]]
