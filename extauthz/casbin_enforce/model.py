"""Any Casbin model, as pycasbin reads it: its tokens, role definitions, effect and matcher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import casbin
from casbin.config import Config

from extauthz.casbin_enforce.effects import PolicyEffect
from extauthz.casbin_enforce.matcher import Matcher, MatcherInvalid, parse_matcher

_NEEDED: Final = {
    "r": "request_definition",
    "p": "policy_definition",
    "e": "policy_effect",
    "m": "matchers",
}


@dataclass(frozen=True, slots=True)
class RoleDefinition:
    """A `g`: how many fields its lines have, whether one is a domain, how many a condition takes."""

    width: int
    with_domain: bool
    parameters: int


@dataclass(frozen=True, slots=True)
class PlainModel:
    """What decides a request without an enforce context; tokens as pycasbin names them (`r_sub`, `p_eft`)."""

    request: tuple[str, ...]
    policy: tuple[str, ...]
    roles: Mapping[str, RoleDefinition]
    effect: PolicyEffect
    matcher: Matcher

    @property
    def widths(self) -> dict[str, int]:
        """The kinds of policy lines that count, with their number of fields."""
        return {"p": len(self.policy)} | {kind: role.width for kind, role in self.roles.items()}

    def token(self, name: str) -> int | None:
        """Return the place of a policy field, None when the model has none of that name."""
        return self.policy.index(name) if name in self.policy else None


@dataclass(frozen=True, slots=True)
class CasbinModelInvalid:
    """Why pycasbin cannot run a model."""

    message: str


def read_model(text: str) -> PlainModel | CasbinModelInvalid:
    """Read the text of a model file."""
    model = casbin.Model()
    try:
        model.load_model_from_text(text)
        missing = [section for key, section in _NEEDED.items() if key not in (model[key] or {})]
        if missing:
            return CasbinModelInvalid(
                f"it does not define {', '.join(f'[{section}]' for section in missing)}"
            )
        # pycasbin rewrites the matcher, its string literals too; here it is read as it was written.
        written = Config.new_config_from_text(text).get("matchers::m")
        request, policy = (tuple(model[section][section].tokens) for section in ("r", "p"))
        effect = PolicyEffect(model["e"]["e"].value)
        roles = {kind: _role(kind, found) for kind, found in (model["g"] or {}).items()}
    except (KeyError, ValueError, IndexError, RuntimeError, AttributeError, TypeError) as error:
        return CasbinModelInvalid(f"pycasbin cannot run it: {error}")
    matcher = parse_matcher(written)
    if isinstance(matcher, MatcherInvalid):
        return CasbinModelInvalid(f"its matcher {matcher.message}")
    if effect.by_subject and "g" not in roles:
        return CasbinModelInvalid("subjectPriority needs a role definition")
    return PlainModel(request, policy, roles, effect, matcher)


def _role(kind: str, definition: casbin.model.Assertion) -> RoleDefinition:
    width, names, parameters = (
        definition.value.count("_"),
        len(definition.tokens),
        len(definition.params_tokens),
    )
    if width != names + parameters or not 2 <= names <= 3:
        raise ValueError(f"{kind} = {definition.value} is not of two names and at most one domain")
    return RoleDefinition(width, names == 3, parameters)
