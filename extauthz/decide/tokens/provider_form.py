"""Reads an identity provider's document: the members that the file of `IDENTITY_PROVIDERS` and REST share.

Input: the `Fields` of a document. Output: a `ProviderReading`; each problem is added to the fields with its
JSON pointer. `keys.provider_documents` adds the members of the file alone, and
`decide.tokens.registered_provider` those of REST alone.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from extauthz.compile.documents.claim_headers import parse_forwarding
from extauthz.compile.fields import Fields, shown
from extauthz.decide.tokens.jwks import ALGORITHMS, DEFAULT_ALGORITHMS, JwksRejected, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.provider_fields import ProviderFields
from extauthz.decide.tokens.reader import MAX_LEEWAY
from extauthz.domain.claim_readings import AdminRole, DomainClaim, RoleClaim, RoleShape, ServiceClaim
from extauthz.domain.problem import Problem
from extauthz.domain.provider_settings import audience_problem, excluded_role_problem, issuer_problem

MAX_ISSUERS: Final = 1000
"""Most aliases, and most values of a template, of one provider."""
MAX_ISSUER_OCTETS: Final = 2000
ANY_AUDIENCE: Final = "any"
"""The value that accepts every audience."""

_LONGEST_LIFETIME_S: Final = 10 * 365 * 86400
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}", re.ASCII)
_TYPES: Final = ("jwt", "at+jwt")
_WEB: Final = ("https://", "http://")
# RFC 7518 6.2.2, 6.3.2, 6.4: the private and symmetric members of keys.
_SECRET_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True)
class ClaimDefaults:
    """The claims of a provider that does not name its own, from the single-provider variables.

    `claim_headers` are CLAIM_HEADERS; None: unknown, and every name that they may have is accepted.
    """

    roles_claim: str
    domain_claim: str
    admin_domain_claim: str
    excluded_roles: frozenset[str]
    claim_headers: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class ProviderReading:
    """The shared members of one document: a configuration for each issuer, and the place of the keys.

    `jwks` is the text of an inline key set. Both None: another member, or discovery, gives the keys. Valid
    only if reading added no problem.
    """

    configs: tuple[IssuerConfig, ...]
    jwks_uri: str | None
    jwks: bytes | None


class ProviderForm(ABC):
    """Reads one document; a subclass adds or replaces members."""

    key_members: tuple[str, ...] = ("jwks_uri", "jwks")
    """The members of which at most one gives the keys; without any they are discovered from the issuer."""
    issuer_members: tuple[str, ...] = ("issuer", "issuer_template")
    """The members of which exactly one gives the issuers."""

    def __init__(self, fields: Fields, defaults: ClaimDefaults) -> None:
        """Read from `fields`, and add problems to it."""
        self.fields = fields
        self.values = ProviderFields(fields)
        self.defaults = defaults

    def read(self, tenant: str) -> ProviderReading:
        """Return the reading; the tokens of the provider are those of `tenant`."""
        fields, values = self.fields, self.values
        issuers = self._issuers()
        algorithms = self._algorithms()
        excluded = values.texts("excluded_roles", judge=excluded_role_problem, canonical=True)
        defaults = self.defaults
        config = IssuerConfig(
            issuer="",
            tenant=tenant,
            audiences=self.audiences(),
            roles=self._roles(),
            domain_claims=self._domain_claims(),
            admin_domain_claim=defaults.admin_domain_claim,
            excluded_roles=frozenset(excluded) if fields.has("excluded_roles") else defaults.excluded_roles,
            aliases=self._aliases(issuers),
            audience_claim=values.claim("audience_claim") or "aud",
            subject_claims=values.claims("subject_claims") or ("sub",),
            service_claim=self._service_claim(),
            admin_roles=tuple(self._admin_roles()),
            algorithms=algorithms,
            required_type=self._required_type(),
            require_bound=fields.flag("require_bound", default=False),
            leeway=values.seconds("leeway", MAX_LEEWAY),
            max_lifetime=values.seconds("max_lifetime", _LONGEST_LIFETIME_S),
            forwarding=parse_forwarding(fields, defaults.claim_headers),
        )
        self._check_keys(issuers)
        return ProviderReading(
            tuple(replace(config, issuer=issuer) for issuer in issuers),
            self.jwks_uri(),
            self._key_set(algorithms),
        )

    def given(self, members: tuple[str, ...]) -> list[str]:
        """Return those of the members that the document has."""
        return [name for name in members if self.fields.has(name)]

    def issuer(self) -> str | None:
        """Return the issuer that the document writes out, as tokens name it."""
        issuer = self.values.text("issuer")
        if issuer is not None and (problem := _web_problem(issuer)):
            self.fields.note("issuer", f"found {shown(issuer)}, it must be {problem}")
        return issuer

    def audiences(self) -> tuple[str, ...] | None:
        """Return the accepted audiences, None for every one."""
        fields = self.fields
        if fields.get("audiences") == ANY_AUDIENCE:
            return None
        if fields.is_object and not fields.has("audiences"):
            fields.note(
                "audiences", f"is missing; the audiences of the tokens are needed, or {ANY_AUDIENCE!r}"
            )
            return ()
        found = self.values.texts("audiences", judge=audience_problem, at_least=1)
        if ANY_AUDIENCE in found:
            # As one of a list it would be a literal value, which its author does not mean.
            needed = f"names {ANY_AUDIENCE!r}; every audience is {ANY_AUDIENCE!r} instead of a list"
            fields.note("audiences", needed)
        return found

    @abstractmethod
    def jwks_uri(self) -> str | None:
        """Return the URL of the keys, checked."""

    def _issuers(self) -> tuple[str, ...]:
        fields, values = self.fields, self.values
        issuer = self.issuer()
        template = values.text("issuer_template")
        replacements = values.texts("issuer_values", limit=MAX_ISSUERS)
        if not fields.is_object:
            return ()
        given = self.given(self.issuer_members)
        if len(given) != 1:
            *others, last = self.issuer_members
            needed = f"one of {', '.join(others)} and {last} is needed"
            fields.note(self.issuer_members[0], needed)
            return ()
        if given != ["issuer_template"]:
            if fields.has("issuer_values"):
                fields.note("issuer_values", "is only used with issuer_template")
            return () if issuer is None else self._bounded(given[0], (issuer,))
        if template is None:
            return ()
        places = list(_PLACEHOLDER.finditer(template))
        if len(places) != 1:
            needed = "one placeholder such as '{id}' is needed"
            fields.note("issuer_template", f"found {shown(template)}, {needed}")
            return ()
        if not replacements:
            fields.note("issuer_values", "the values that the placeholder may have are needed")
        start, end = places[0].span()
        expanded = tuple(template[:start] + value + template[end:] for value in replacements)
        for issuer in expanded:
            if problem := _web_problem(issuer):
                fields.note("issuer_template", f"with its value it is {shown(issuer)}, it must be {problem}")
        return self._bounded("issuer_template", expanded)

    def _aliases(self, issuers: tuple[str, ...]) -> tuple[str, ...]:
        aliases = self.values.texts("aliases", judge=_web_problem, limit=MAX_ISSUERS)
        if aliases and self.fields.has("issuer_template"):
            self.fields.note("aliases", "is only used with issuer; list every value in issuer_values")
        for issuer in set(issuers).intersection(aliases):
            self.fields.note("aliases", f"names {shown(issuer)}, which is the issuer itself")
        return self._bounded("aliases", aliases)

    def _bounded(self, member: str, issuers: tuple[str, ...]) -> tuple[str, ...]:
        for issuer in issuers:
            if len(issuer.encode()) > MAX_ISSUER_OCTETS:
                self.fields.note(member, f"{shown(issuer)} is longer than {MAX_ISSUER_OCTETS} octets")
        return issuers

    def _check_keys(self, issuers: tuple[str, ...]) -> None:
        fields = self.fields
        given = self.given(self.key_members)
        *others, last = self.key_members
        if len(given) > 1:
            known = f"{', '.join(others)}, {last}"
            fields.note(given[1], f"{given[0]} is set as well; keep one of {known}")
        discovered = next((issuer for issuer in issuers if not issuer.startswith(_WEB)), None)
        if not given and discovered is not None:
            needed = f"{', '.join(others)} or {last} is needed: the issuer is not a URL"
            fields.note("issuer", f"found {shown(discovered)}; {needed}")

    def _key_set(self, algorithms: frozenset[str]) -> bytes | None:
        fields = self.fields
        value = fields.get("jwks")
        if not fields.has("jwks"):
            return None
        if not isinstance(value, Mapping):
            fields.note("jwks", f"found {shown(value)}, a JWK Set (an object) is needed")
            return None
        self._check_no_secret(value)
        try:
            text = json.dumps(value).encode()
        except (TypeError, ValueError, RecursionError):
            fields.note("jwks", "holds a value that no JWK Set has")
            return None
        keys = parse_jwks(text, algorithms=algorithms)
        if isinstance(keys, JwksRejected):
            fields.note("jwks", keys.problem)
        elif not keys.keys:
            reasons = "; ".join(sorted({key.problem for key in keys.ignored}))
            fields.note("jwks", f"has no usable key: {reasons or 'it is empty'}")
        return text

    def _check_no_secret(self, jwks: Mapping[object, object]) -> None:
        """Refuse private and symmetric keys: a document is stored, shown and audited as it was written."""
        entries = jwks.get("keys")
        for index, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
            secret = [name for name in _SECRET_MEMBERS if isinstance(entry, Mapping) and name in entry]
            if secret:
                message = f"holds the secret member {secret[0]!r}; only the public half of a key is needed"
                self.fields.problems.append(Problem(f"{self.fields.at('jwks')}/keys/{index}", message))

    def _algorithms(self) -> frozenset[str]:
        fields = self.fields
        if not fields.has("algorithms"):
            fields.get("algorithms")
            return DEFAULT_ALGORITHMS
        found = self.values.texts("algorithms", at_least=1)
        for index, name in enumerate(found):
            if name not in ALGORITHMS:
                allowed = ", ".join(sorted(ALGORITHMS))
                fields.note_item("algorithms", index, f"found {shown(name)}, one of {allowed} is needed")
        return frozenset(found) & ALGORITHMS

    def _roles(self) -> tuple[RoleClaim, ...]:
        fields, values = self.fields, self.values
        if not fields.has("roles"):
            fields.get("roles")
            return (RoleClaim(self.defaults.roles_claim),)
        return tuple(
            RoleClaim(
                values.claim("claim", entry, required=True) or "",
                entry.choice("shape", RoleShape, default=RoleShape.LIST) or RoleShape.LIST,
                values.text("prefix", entry) or "",
            )
            for entry in values.entries("roles")
        )

    def _domain_claims(self) -> tuple[DomainClaim, ...]:
        found = self.values.claims("domain_claims")
        if not self.fields.has("domain_claims"):
            return (DomainClaim(self.defaults.domain_claim),)
        return tuple(DomainClaim(claim, in_collection=True) for claim in found)

    def _service_claim(self) -> ServiceClaim | None:
        fields, values = self.fields, self.values
        value = fields.get("service_claim")
        if not fields.has("service_claim"):
            return None
        if isinstance(value, str):
            return ServiceClaim(values.claim("service_claim") or "")
        entry = Fields(value, fields.at("service_claim"), fields.problems)
        found = ServiceClaim(values.claim("claim", entry, required=True) or "", values.text("value", entry))
        entry.done()
        return found

    def _admin_roles(self) -> Iterator[AdminRole]:
        for entry in self.values.entries("admin_roles"):
            role, domain = entry.text("role"), entry.text("domain")
            yield AdminRole(role or "", domain or "")

    def _required_type(self) -> str | None:
        kind = self.values.text("required_type")
        if kind is None:
            return None
        plain = kind.lower().removeprefix("application/")
        if plain not in _TYPES:
            self.fields.note("required_type", f"found {shown(kind)}, one of {', '.join(_TYPES)} is needed")
        return plain


def _web_problem(issuer: str) -> str | None:
    """Judge an issuer that may be another name than a URL; only a URL has a form."""
    return issuer_problem(issuer) if issuer.startswith(_WEB) else None
