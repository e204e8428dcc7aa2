"""Reads the file of `IDENTITY_PROVIDERS`: one member `providers`, a list of identity providers.

Input: the text of the file, YAML or JSON. Output: the `IssuerSource`s, or each problem with its JSON pointer.
No key is fetched. Files that a provider names must be readable.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from extauthz.compile.fields import Fields, shown
from extauthz.compile.policy_files import read_document
from extauthz.decide.tokens.jwks import ALGORITHMS, DEFAULT_ALGORITHMS, JwksRejected, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import MAX_LEEWAY
from extauthz.domain.claim_readings import AdminRole, DomainClaim, RoleClaim, RoleShape, ServiceClaim
from extauthz.domain.problem import Problem
from extauthz.domain.provider_settings import (
    audience_problem,
    excluded_role_problem,
    jwks_uri_problem,
)
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys.provider_fields import Judge, ProviderFields
from extauthz.keys.source import FROM_ENVIRONMENT, AddressRejected, FetchUrl, IssuerSource

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_PROVIDERS: Final = 1000
MAX_ISSUERS: Final = 1000
"""Most aliases, and most values of a template, of one provider."""

_LONGEST_LIFETIME_S: Final = 10 * 365 * 86400
_ANY: Final = "any"
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}", re.ASCII)
_TYPES: Final = ("jwt", "at+jwt")
_WEB: Final = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class ProviderDefaults:
    """The values of members that a provider leaves out, from the single-provider variables."""

    mode: TenancyMode
    roles_claim: str
    domain_claim: str
    admin_domain_claim: str
    excluded_roles: frozenset[str]
    allow_hosts: frozenset[str]


def read_providers(
    text: bytes, defaults: ProviderDefaults, folder: Path
) -> tuple[IssuerSource, ...] | list[Problem]:
    """Return the sources in the text of the file, or its problems; relative paths in it start at `folder`."""
    document = read_document(text, is_json=False, max_bytes=MAX_FILE_BYTES)
    if isinstance(document, Problem):
        return [document]
    problems: list[Problem] = []
    fields = Fields({} if document is None else document, "", problems)
    entries = fields.items("providers", required=True, at_least=1)
    fields.done()
    if len(entries) > MAX_PROVIDERS:
        fields.note("providers", f"has {len(entries)} entries, more than {MAX_PROVIDERS}")
        entries = ()
    sources: list[IssuerSource] = []
    first: dict[str, str] = {}
    for index, entry in enumerate(entries):
        provider = _ProviderEntry(Fields(entry, f"/providers/{index}", problems), defaults, folder)
        for source in provider.read():
            for name in source.config.names:
                if name in first:
                    message = f"the issuer {shown(name)} is already used at {first[name]}"
                    problems.append(Problem(f"/providers/{index}", message))
                else:
                    first[name] = f"/providers/{index}"
            sources.append(source)
    return problems or tuple(sources)


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a provider's keys; see `IssuerSource`."""

    jwks_uri: str | None
    jwks: bytes | None
    jwks_file: Path | None
    token_file: Path | None
    proxy: str | None
    ca_file: Path | None

    def of(self, config: IssuerConfig) -> IssuerSource:
        """Return the source of one issuer's keys."""
        return IssuerSource(
            config,
            jwks_uri=self.jwks_uri,
            operator_configured=True,
            jwks=self.jwks,
            jwks_file=self.jwks_file,
            token_file=self.token_file,
            proxy=self.proxy,
            ca_file=self.ca_file,
        )


class _ProviderEntry:
    """Reads one entry of the list; its sources are valid only if it added no problem."""

    def __init__(self, fields: Fields, defaults: ProviderDefaults, folder: Path) -> None:
        self._fields = fields
        self._values = ProviderFields(fields)
        self._defaults = defaults
        self._folder = folder

    def read(self) -> Iterator[IssuerSource]:
        """Yield one source for each issuer: `issuer`, or each value of the template."""
        fields, defaults = self._fields, self._defaults
        issuers = self._issuers()
        aliases = self._values.texts("aliases", limit=MAX_ISSUERS)
        if aliases and fields.has("issuer_template"):
            fields.note("aliases", "is only used with issuer; list every value in issuer_values")
        algorithms = self._algorithms()
        excluded = self._values.texts("excluded_roles", judge=excluded_role_problem, canonical=True)
        place = self._place(issuers, algorithms)
        config = IssuerConfig(
            issuer="",
            tenant=self._tenant(),
            audiences=self._audiences(),
            roles=self._roles(),
            domain_claims=self._domain_claims(),
            admin_domain_claim=defaults.admin_domain_claim,
            excluded_roles=(frozenset(excluded) if fields.has("excluded_roles") else defaults.excluded_roles),
            aliases=aliases,
            audience_claim=self._values.claim("audience_claim") or "aud",
            subject_claims=self._values.claims("subject_claims") or ("sub",),
            service_claim=self._service_claim(),
            admin_roles=tuple(self._admin_roles()),
            algorithms=algorithms,
            required_type=self._required_type(),
            require_bound=fields.flag("require_bound", default=False),
            leeway=self._values.seconds("leeway", MAX_LEEWAY),
            max_lifetime=self._values.seconds("max_lifetime", _LONGEST_LIFETIME_S),
        )
        fields.done()
        if not fields.is_object:
            return
        for issuer in issuers:
            yield place.of(replace(config, issuer=issuer))

    def _tenant(self) -> str:
        fields = self._fields
        if self._defaults.mode is TenancyMode.SAAS:
            return fields.text("tenant") or ""
        tenant = fields.text("tenant", required=False)
        if tenant not in (None, DEFAULT_TENANT):
            fields.note("tenant", f"found {shown(tenant)}; with MODE=selfhost it is left out")
        return DEFAULT_TENANT

    def _issuers(self) -> tuple[str, ...]:
        fields = self._fields
        issuer = self._values.text("issuer")
        template = self._values.text("issuer_template")
        values = self._values.texts("issuer_values", limit=MAX_ISSUERS)
        if not fields.is_object:
            return ()
        if fields.has("issuer") == fields.has("issuer_template"):
            fields.note("issuer", "one of issuer and issuer_template is needed")
            return ()
        if not fields.has("issuer_template"):
            if fields.has("issuer_values"):
                fields.note("issuer_values", "is only used with issuer_template")
            return () if issuer is None else (issuer,)
        if template is None:
            return ()
        places = list(_PLACEHOLDER.finditer(template))
        if len(places) != 1:
            needed = "one placeholder such as '{id}' is needed"
            fields.note("issuer_template", f"found {shown(template)}, {needed}")
            return ()
        if not values:
            fields.note("issuer_values", "the values that the placeholder may have are needed")
        start, end = places[0].span()
        return tuple(template[:start] + value + template[end:] for value in values)

    def _place(self, issuers: tuple[str, ...], algorithms: frozenset[str]) -> _Place:
        fields = self._fields
        given = [name for name in ("jwks_uri", "jwks_file", "jwks") if fields.has(name)]
        jwks_uri = self._address("jwks_uri", jwks_uri_problem)
        jwks_file = self._path("jwks_file")
        jwks = self._key_set(algorithms)
        if len(given) > 1:
            fields.note(given[1], f"{given[0]} is set as well; keep one of {', '.join(given)}")
        if not given:
            for issuer in issuers:
                if not issuer.startswith(_WEB):
                    needed = "jwks_uri, jwks_file or jwks is needed: the issuer is not a URL"
                    fields.note("issuer", f"found {shown(issuer)}; {needed}")
                    break
        is_local = "jwks_file" in given or "jwks" in given
        for name in ("jwks_token_file", "jwks_proxy", "ca_file"):
            if is_local and fields.has(name):
                fields.note(name, "is only used where the keys are fetched")
        return _Place(
            jwks_uri,
            jwks,
            jwks_file,
            token_file=self._path("jwks_token_file"),
            proxy=self._proxy(),
            ca_file=self._path("ca_file"),
        )

    def _address(self, name: str, judge: Judge | None) -> str | None:
        address = self._values.text(name)
        if address is None:
            return None
        parsed = FetchUrl.parse(address, operator_configured=True, allow_hosts=self._defaults.allow_hosts)
        if isinstance(parsed, AddressRejected):
            self._fields.note(name, f"found {shown(address)}: {parsed.problem}")
            return None
        problem = None if judge is None else judge(address)
        if problem is not None:
            self._fields.note(name, f"found {shown(address)}, it must be {problem}")
        return address

    def _proxy(self) -> str | None:
        proxy = self._values.text("jwks_proxy")
        if proxy is None or proxy == FROM_ENVIRONMENT:
            return proxy
        if not proxy.startswith(_WEB):
            self._fields.note(
                "jwks_proxy", f"found {shown(proxy)}, the URL of a proxy or {FROM_ENVIRONMENT!r} is needed"
            )
        return proxy

    def _path(self, name: str) -> Path | None:
        text = self._values.text(name)
        if text is None:
            return None
        path = self._folder / text
        try:
            # Opening a FIFO may block, and reading a device may not end.
            if path.exists() and not path.is_file():
                self._fields.note(name, f"{shown(text)} is not a regular file")
            else:
                path.open("rb").close()
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            self._fields.note(name, f"{shown(text)} cannot be read: {reason}")
        return path

    def _key_set(self, algorithms: frozenset[str]) -> bytes | None:
        fields = self._fields
        value = fields.get("jwks")
        if not fields.has("jwks"):
            return None
        if not isinstance(value, Mapping):
            fields.note("jwks", f"found {shown(value)}, a JWK Set (an object) is needed")
            return None
        try:
            text = orjson.dumps(value)
        except TypeError:
            fields.note("jwks", "holds a number that no JWK Set has")
            return None
        keys = parse_jwks(text, algorithms=algorithms)
        if isinstance(keys, JwksRejected):
            fields.note("jwks", keys.problem)
        elif not keys.keys:
            reasons = "; ".join(sorted({key.problem for key in keys.ignored}))
            fields.note("jwks", f"has no usable key: {reasons or 'it is empty'}")
        return text

    def _audiences(self) -> tuple[str, ...] | None:
        fields = self._fields
        if fields.get("audiences") == _ANY:
            return None
        if fields.is_object and not fields.has("audiences"):
            fields.note("audiences", "is missing; the audiences of the tokens are needed, or 'any'")
            return ()
        return self._values.texts("audiences", judge=audience_problem, at_least=1)

    def _algorithms(self) -> frozenset[str]:
        fields = self._fields
        if not fields.has("algorithms"):
            fields.get("algorithms")
            return DEFAULT_ALGORITHMS
        found = self._values.texts("algorithms", at_least=1)
        for index, name in enumerate(found):
            if name not in ALGORITHMS:
                allowed = ", ".join(sorted(ALGORITHMS))
                fields.note_item("algorithms", index, f"found {shown(name)}, one of {allowed} is needed")
        return frozenset(found) & ALGORITHMS

    def _roles(self) -> tuple[RoleClaim, ...]:
        fields = self._fields
        if not fields.has("roles"):
            fields.get("roles")
            return (RoleClaim(self._defaults.roles_claim),)
        return tuple(
            RoleClaim(
                self._values.claim("claim", entry, required=True) or "",
                entry.choice("shape", RoleShape, default=RoleShape.LIST) or RoleShape.LIST,
                self._values.text("prefix", entry) or "",
            )
            for entry in self._values.entries("roles")
        )

    def _domain_claims(self) -> tuple[DomainClaim, ...]:
        found = self._values.claims("domain_claims")
        if not self._fields.has("domain_claims"):
            return (DomainClaim(self._defaults.domain_claim),)
        return tuple(DomainClaim(claim, in_collection=True) for claim in found)

    def _service_claim(self) -> ServiceClaim | None:
        fields = self._fields
        value = fields.get("service_claim")
        if not fields.has("service_claim"):
            return None
        if isinstance(value, str):
            return ServiceClaim(self._values.claim("service_claim") or "")
        entry = Fields(value, fields.at("service_claim"), fields.problems)
        found = ServiceClaim(
            self._values.claim("claim", entry, required=True) or "", self._values.text("value", entry)
        )
        entry.done()
        return found

    def _admin_roles(self) -> Iterator[AdminRole]:
        for entry in self._values.entries("admin_roles"):
            role, domain = entry.text("role"), entry.text("domain")
            yield AdminRole(role or "", domain or "")

    def _required_type(self) -> str | None:
        kind = self._values.text("required_type")
        if kind is None:
            return None
        plain = kind.lower().removeprefix("application/")
        if plain not in _TYPES:
            self._fields.note("required_type", f"found {shown(kind)}, one of {', '.join(_TYPES)} is needed")
        return plain
