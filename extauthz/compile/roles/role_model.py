"""Compiles the Casbin model that pycasbin has read, such as `policies/model.conf`.

What can be compiled is the model of docs/reference/policy-language.md#the-model and narrower ones: the same
request and policy shape, the
deny-override effect, and for every field the alternatives that the shipped model names, or fewer of them.
Everything else is refused, naming the part, because a matcher that was understood only partly could allow.
"""

from dataclasses import dataclass
from typing import Final

import casbin

from extauthz.compile.conditions.expression import (
    Conjunction,
    Disjunction,
    Expression,
    ExpressionInvalid,
    parse,
    unparse,
)
from extauthz.domain.policy import WILDCARD

_REQUEST: Final = ["r_sub", "r_dom", "r_obj", "r_act"]
_POLICY: Final = ["p_sub", "p_dom", "p_obj", "p_act", "p_eft"]
_SECTIONS: Final = {
    "r": "request_definition",
    "p": "policy_definition",
    "g": "role_definition",
    "e": "policy_effect",
    "m": "matchers",
}
_SHOWN: Final = 200
_EFFECT: Final = "some(where (p_eft == allow)) && !some(where (p_eft == deny))"


def _expression(source: str) -> Expression:
    expression = parse(source)
    assert not isinstance(expression, ExpressionInvalid)
    return expression


_ROLE: Final = _expression("g(r_sub, p_sub, r_dom)")
_EVERYONE: Final = _expression('p_sub == "*" && (r_sub != "anonymous" || p_eft == "deny")')
_SAME: Final = {
    field: (_expression(f"p_{field} == r_{field}"), _expression(f"r_{field} == p_{field}"))
    for field in ("dom", "obj", "act")
}
_WILD: Final = {field: _expression(f'p_{field} == "*"') for field in ("dom", "obj", "act")}


@dataclass(frozen=True, slots=True)
class RoleModel:
    """What the model lets match: which fields know the wildcard, and whether `*` is a subject."""

    everyone: bool = True
    wild_domain: bool = True
    wild_object: bool = True
    wild_action: bool = True

    def domains(self, dom: str | None) -> tuple[str, ...]:
        """Return the rule domains that match a request in `dom`; without one only `*` does."""
        if dom is None:
            return (WILDCARD,) if self.wild_domain else ()
        return (dom, WILDCARD) if self.wild_domain else (dom,)

    def objects(self, obj: str) -> tuple[str, ...]:
        """Return the rule objects that match."""
        return (obj, WILDCARD) if self.wild_object else (obj,)

    def actions(self, act: str) -> tuple[str, ...]:
        """Return the rule actions that match."""
        return (act, WILDCARD) if self.wild_action else (act,)


@dataclass(frozen=True, slots=True)
class ModelInvalid:
    """Why a model cannot be compiled, naming the part of it."""

    message: str


def compile_model(text: str) -> RoleModel | ModelInvalid:
    """Compile the text of a Casbin model file."""
    model = casbin.Model()
    try:
        model.load_model_from_text(text)
    except Exception as error:  # noqa: BLE001  # anything it raises for a text that is not a model
        return ModelInvalid(f"pycasbin cannot read the model: {str(error)[:_SHOWN]}")
    for key, section in _SECTIONS.items():
        definitions = list(model[key] or ())
        if definitions != [key]:
            return ModelInvalid(
                f"[{section}] defines {', '.join(definitions) or 'nothing'}, one definition {key!r} is needed"
            )
    tokens = {key: model[key][key].tokens for key in ("r", "p")}
    groups = model["g"]["g"].value
    effect, matcher = model["e"]["e"].value, model["m"]["m"].value
    if tokens["r"] != _REQUEST:
        return ModelInvalid("[request_definition] is not 'r = sub, dom, obj, act'")
    if tokens["p"] != _POLICY:
        return ModelInvalid("[policy_definition] is not 'p = sub, dom, obj, act, eft'")
    if [part.strip() for part in groups.split(",")] != ["_", "_", "_"]:
        return ModelInvalid("[role_definition] is not 'g = _, _, _'")
    if "".join(effect.split()) != "".join(_EFFECT.split()):
        return ModelInvalid(f"[policy_effect] {effect!r} is not deny-override ({_EFFECT.replace('_', '.')})")
    return _compile_matcher(matcher)


def _compile_matcher(source: str) -> RoleModel | ModelInvalid:
    expression = parse(source)
    if isinstance(expression, ExpressionInvalid):
        return ModelInvalid(f"[matchers] at character {expression.position}: {expression.message}")
    clauses = _conjuncts(expression)
    seen: dict[str, bool] = {}
    for clause in clauses:
        found = _classify(clause)
        if found is None:
            return ModelInvalid(f"[matchers] has a part that cannot be compiled: {unparse(clause)}")
        field, wild = found
        if field in seen:
            return ModelInvalid(f"[matchers] has two parts about {field}")
        seen[field] = wild
    missing = [field for field in ("sub", "dom", "obj", "act") if field not in seen]
    if missing:
        return ModelInvalid(f"[matchers] has no part about {', '.join(missing)}")
    return RoleModel(
        everyone=seen["sub"], wild_domain=seen["dom"], wild_object=seen["obj"], wild_action=seen["act"]
    )


def _conjuncts(expression: Expression) -> tuple[Expression, ...]:
    if not isinstance(expression, Conjunction):
        return (expression,)
    return tuple(part for operand in expression.operands for part in _conjuncts(operand))


def _classify(clause: Expression) -> tuple[str, bool] | None:
    """Return the field that a clause of the matcher is about, and whether it knows the wildcard."""
    alternatives = set(clause.operands) if isinstance(clause, Disjunction) else {clause}
    if _ROLE in alternatives and alternatives <= {_ROLE, _EVERYONE}:
        return "sub", _EVERYONE in alternatives
    for field, same in _SAME.items():
        if alternatives & set(same) and alternatives <= {*same, _WILD[field]}:
            return field, _WILD[field] in alternatives
    return None
