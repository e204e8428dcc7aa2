"""Reads the file of `IDENTITY_PROVIDERS`: one member `providers`, a list of identity providers.

Input: the text of the file, YAML or JSON. Output: the `IssuerSource`s, or each problem with its JSON pointer.
No key is fetched. Files that a provider names must be readable.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from extauthz.compile.documents.policy_files import read_document
from extauthz.compile.fields import Fields, shown
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.provider_fields import StringCheck
from extauthz.decide.tokens.provider_form import ClaimDefaults, ProviderForm
from extauthz.domain.problem import Problem
from extauthz.domain.provider_settings import jwks_uri_problem
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, TenantBinding
from extauthz.keys.introspection_client import IntrospectionClient
from extauthz.keys.provider_introspection import IntrospectionFields
from extauthz.keys.source import FROM_ENVIRONMENT, AddressRejected, FetchUrl, IssuerSource

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_PROVIDERS: Final = 1000

_WEB: Final = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class ProviderDefaults:
    """What the settings say about every provider: values of members that it leaves out, and CLAIM_HEADERS."""

    mode: TenancyMode
    roles_claim: str
    domain_claim: str
    admin_domain_claim: str
    excluded_roles: frozenset[str]
    allow_hosts: frozenset[str]
    claim_headers: frozenset[str] = frozenset()
    binding: TenantBinding = TenantBinding.HOST

    @property
    def claims(self) -> ClaimDefaults:
        """Those that the members which REST has, too, are read under."""
        return ClaimDefaults(
            self.roles_claim,
            self.domain_claim,
            self.admin_domain_claim,
            self.excluded_roles,
            self.claim_headers,
        )


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
    introspecting: dict[str, str] = {}
    for index, entry in enumerate(entries):
        form = _FileForm(Fields(entry, f"/providers/{index}", problems), defaults, folder)
        known = entry if isinstance(entry, Mapping) else None
        for source in form.sources(known):
            for name in source.config.names:
                if name in first:
                    message = f"the issuer {shown(name)} is already used at {first[name]}"
                    problems.append(Problem(f"/providers/{index}", message))
                else:
                    first[name] = f"/providers/{index}"
            sources.append(source)
            if source.introspection is None:
                continue
            at = f"/providers/{index}"
            asked = introspecting.setdefault(source.config.tenant, at)
            if asked != at:
                message = (
                    f"the tenant introspects with {asked} already; an opaque token does not name its issuer"
                )
                problems.append(Problem(f"{at}/introspection", message))
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
    introspection: IntrospectionClient | None
    entry: Mapping[str, object] | None

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
            introspection=self.introspection,
            entry=self.entry,
        )


class _FileForm(ProviderForm):
    """Reads one entry of the list; its sources are valid only if it added no problem."""

    key_members = ("jwks_uri", "jwks_file", "jwks")

    def __init__(self, fields: Fields, defaults: ProviderDefaults, folder: Path) -> None:
        super().__init__(fields, defaults.claims)
        self._file_defaults = defaults
        self._folder = folder
        self._keyless = False

    def sources(self, entry: Mapping[str, object] | None) -> Iterator[IssuerSource]:
        """Yield one source for each issuer of the entry: `issuer`, or each value of the template."""
        fields = self.fields
        introspection = IntrospectionFields(
            fields, self._file_defaults.binding, self._address, self._path
        ).read()
        rule, client = introspection or (None, None)
        self._keyless = rule is not None and rule.every_token
        reading = self.read(self._tenant())
        given = self.given(self.key_members)
        is_local = "jwks_file" in given or "jwks" in given
        for name in ("jwks_token_file", "jwks_proxy", "ca_file"):
            if is_local and fields.has(name):
                fields.note(name, "is only used where the keys are fetched")
        place = _Place(
            reading.jwks_uri,
            reading.jwks,
            self._path("jwks_file"),
            token_file=self._path("jwks_token_file"),
            proxy=self._proxy(),
            ca_file=self._path("ca_file"),
            introspection=client,
            entry=entry,
        )
        fields.done()
        for config in reading.configs:
            yield place.of(replace(config, introspection=rule))

    def jwks_uri(self) -> str | None:
        """Return the URL of the keys, which may be private: the operator configured it."""
        return self._address("jwks_uri", self.fields, jwks_uri_problem)

    def _check_keys(self, issuers: tuple[str, ...]) -> None:
        given = self.given(self.key_members)
        if not self._keyless:
            super()._check_keys(issuers)
        elif given:
            detail = "is not used: with tokens: all the issuer is asked about every token"
            self.fields.note(given[0], detail)

    def _address(self, name: str, fields: Fields, judge: StringCheck | None = None) -> str | None:
        address = self.values.text(name, fields)
        if address is None:
            return None
        allow_hosts = self._file_defaults.allow_hosts
        parsed = FetchUrl.parse(address, operator_configured=True, allow_hosts=allow_hosts)
        if isinstance(parsed, AddressRejected):
            fields.note(name, f"found {shown(address)}: {parsed.problem}")
        elif judge is not None and (problem := judge(address)):
            fields.note(name, f"found {shown(address)}, it must be {problem}")
        return address

    def _tenant(self) -> str:
        fields = self.fields
        if self._file_defaults.mode is TenancyMode.SAAS:
            return fields.text("tenant") or ""
        tenant = fields.text("tenant", required=False)
        if tenant not in (None, DEFAULT_TENANT):
            fields.note("tenant", f"found {shown(tenant)}; with MODE=selfhost it is left out")
        return DEFAULT_TENANT

    def _proxy(self) -> str | None:
        proxy = self.values.text("jwks_proxy")
        if proxy is None or proxy == FROM_ENVIRONMENT:
            return proxy
        if not proxy.startswith(_WEB):
            self.fields.note(
                "jwks_proxy", f"found {shown(proxy)}, the URL of a proxy or {FROM_ENVIRONMENT!r} is needed"
            )
        return proxy

    def _path(self, name: str, fields: Fields | None = None) -> Path | None:
        fields = fields or self.fields
        text = self.values.text(name, fields)
        if text is None:
            return None
        path = self._folder / text
        try:
            # Opening a FIFO may block, and reading a device may not end.
            if path.exists() and not path.is_file():
                fields.note(name, f"{shown(text)} is not a regular file")
            else:
                path.open("rb").close()
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            fields.note(name, f"{shown(text)} cannot be read: {reason}")
        return path
