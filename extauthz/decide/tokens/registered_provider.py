"""Reads an identity provider that was registered over REST: the document that a tenant's row holds.

It has the members of `ProviderForm`, and the earlier spellings of some: `issuer_url` (an `issuer` that is a
URL), `audience` (one, or a list), and `claim_config` (claims of one provider in place of the variables').
Members that name files or proxies of the server, or hold secrets, are refused: a tenant could have any file
sent to its own `jwks_uri`, or reach hosts through the proxy.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from extauthz.compile.fields import Fields, shown
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.provider_form import ANY_AUDIENCE, ClaimDefaults, ProviderForm, ProviderReading
from extauthz.domain.names import name_problem
from extauthz.domain.problem import Problem, pointer_token
from extauthz.domain.provider_settings import (
    audience_problem,
    claim_path_problem,
    excluded_role_problem,
    issuer_problem,
    jwks_uri_problem,
)

MAX_URL: Final = 2000
NO_DEFAULTS: Final = ClaimDefaults("roles", "dom", "adm", frozenset(), claim_headers=None)
"""Defaults for readings of which only the problems and the issuers are used; CLAIM_HEADERS is unknown."""

_FILE: Final = "it names a file of the server, which REST must not choose"
_FILE_ONLY: Final = {
    "ca_file": _FILE,
    "introspection": "it has a secret, which REST does not store",
    "jwks_file": _FILE,
    "jwks_token_file": _FILE,
    "jwks_proxy": "it names a proxy that the server connects to, which REST must not choose",
}
"""Members of the file alone, and why REST refuses each."""
_GIVEN: Final = {
    "id": "is assigned by the server; leave it out",
    "tenant": "is the tenant of the path; leave it out",
}
_CLAIM_PATHS: Final = ("roles_claim", "domain_claim", "admin_domain_claim")


def read_registered(
    document: Mapping[str, object], tenant: str, defaults: ClaimDefaults = NO_DEFAULTS
) -> ProviderReading | list[Problem]:
    """Return the reading of a document, which has no `id`, or all its problems."""
    problems: list[Problem] = []
    form = _RegisteredForm(document, defaults, problems)
    reading = form.read(tenant)
    form.fields.done()
    return problems or reading


def issuers_of(configs: tuple[IssuerConfig, ...]) -> tuple[str, ...]:
    """Return every value of `iss` of a reading, sorted."""
    return tuple(sorted({name for config in configs for name in config.names}))


class _RegisteredForm(ProviderForm):
    """The form of REST."""

    issuer_members = ("issuer_url", "issuer", "issuer_template")

    def __init__(
        self, document: Mapping[str, object], defaults: ClaimDefaults, problems: list[Problem]
    ) -> None:
        members = dict(document)
        for name in members.keys() & _FILE_ONLY.keys():
            del members[name]
            message = f"is only possible in the file of IDENTITY_PROVIDERS: {_FILE_ONLY[name]}"
            problems.append(Problem(f"/{pointer_token(name)}", message))
        for name, message in _GIVEN.items():
            if name in members:
                del members[name]
                problems.append(Problem(f"/{name}", message))
        # Left out or null: discovered.
        if members.get("jwks_uri", "") is None:
            del members["jwks_uri"]
        fields = Fields(members, "", problems)
        fields.flag("active", default=True)
        super().__init__(fields, defaults)
        self.defaults = self._claim_config()

    def issuer(self) -> str | None:
        """Return the member `issuer_url`, which is a URL, or `issuer`."""
        issuer = super().issuer()
        url = self.fields.get("issuer_url")
        if not self.fields.has("issuer_url"):
            return issuer
        if problem := _url_problem(url, is_issuer=True):
            self.fields.note("issuer_url", f"found {shown(url)}, {problem}")
            return None
        return str(url)

    def jwks_uri(self) -> str | None:
        """Return the URL of the keys."""
        address = self.fields.get("jwks_uri")
        if not self.fields.has("jwks_uri"):
            return None
        if problem := _url_problem(address, is_issuer=False):
            self.fields.note("jwks_uri", f"found {shown(address)}, {problem}")
        return str(address)

    def audiences(self) -> tuple[str, ...] | None:
        """Return the audiences of `audience` or `audiences`."""
        fields = self.fields
        audience = fields.get("audience")
        if not fields.has("audience"):
            if fields.has("audiences"):
                return super().audiences()
            needed = f"is missing; audience, audiences or {ANY_AUDIENCE!r} is needed"
            fields.note("audience", needed)
            return ()
        if fields.has("audiences"):
            fields.get("audiences")
            fields.note("audiences", "audience is set as well; keep one of them")
        listed = isinstance(audience, list | tuple)
        found = fields.names("audience", default=None) if listed else (fields.text("audience"),)
        for index, name in enumerate(audience if isinstance(audience, list | tuple) else (audience,)):
            if isinstance(name, str) and (problem := audience_problem(name)):
                pointer = fields.at("audience") + (f"/{index}" if listed else "")
                fields.problems.append(Problem(pointer, f"found {shown(name)}, it must be {problem}"))
        if ANY_AUDIENCE in found and len(found) > 1:
            fields.note("audience", f"names {ANY_AUDIENCE!r}, every audience, together with others")
        return None if ANY_AUDIENCE in found else tuple(name for name in found if name is not None)

    def _claim_config(self) -> ClaimDefaults:
        """Return the claims of `claim_config`; they apply where the members of the form are left out."""
        defaults, outer = self.defaults, self.fields
        config = outer.get("claim_config")
        if config is None:
            return defaults
        fields = Fields(config, outer.at("claim_config"), outer.problems)
        paths = [self._claim_path(fields, name) for name in _CLAIM_PATHS]
        excluded: tuple[str, ...] | None = None
        if fields.get("excluded_roles") is not None:
            excluded = tuple(self._excluded(fields))
        fields.done()
        for old, new in (
            ("roles_claim", "roles"), ("domain_claim", "domain_claims"), ("excluded_roles", "excluded_roles")
        ):  # fmt: skip
            if fields.get(old) is not None and outer.has(new):
                fields.note(old, f"{new} is set as well; keep one of them")
        return ClaimDefaults(
            paths[0] or defaults.roles_claim,
            paths[1] or defaults.domain_claim,
            paths[2] or defaults.admin_domain_claim,
            defaults.excluded_roles if excluded is None else frozenset(excluded),
            defaults.claim_headers,
        )

    def _claim_path(self, fields: Fields, name: str) -> str | None:
        if fields.get(name) is None:
            return None
        path = fields.text(name)
        if path is not None and (problem := claim_path_problem(path)):
            fields.note(name, f"found {shown(path)}, it must be {problem}")
        return path

    def _excluded(self, fields: Fields) -> list[str]:
        found = []
        for index, role in enumerate(fields.items("excluded_roles", required=False)):
            if not isinstance(role, str):
                problem: str | None = "a string is needed"
            elif problem := name_problem(role):
                pass
            elif problem := excluded_role_problem(role):
                problem = f"it must be {problem}"
            else:
                found.append(role)
            if problem is not None:
                fields.note_item("excluded_roles", index, f"found {shown(role)}, {problem}")
        return found


def _url_problem(text: object, *, is_issuer: bool) -> str | None:
    """Return what is wrong with a URL that a tenant registers, None for nothing."""
    if not isinstance(text, str):
        return "a URL is needed"
    if not text.isascii() or not text.isprintable() or " " in text or len(text) > MAX_URL:
        return f"a URL of at most {MAX_URL} printable ASCII characters is needed"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "the URL is invalid"
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not text.startswith(("http://", "https://"))
    ):
        return "an absolute https URL is needed"
    if "@" in parts.netloc or "#" in text:
        return "a URL without credentials and fragment is needed"
    found = issuer_problem(text) if is_issuer else jwks_uri_problem(text)
    return None if found is None else f"it must be {found}"
