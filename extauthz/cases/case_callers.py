"""The caller of a decision case: described by its `principal`, or by the claims of its `token`.

Input: the case, as a document. Output: the principal, a rejected credential, or None for an anonymous caller.
Errors: CaseInvalidError.
"""

from dataclasses import dataclass
from typing import Final, Self

from extauthz.cases.case_values import (
    CaseInvalidError,
    Document,
    object_of,
    optional_of,
    text_of,
    texts_of,
    word_of,
)
from extauthz.decide.identity import Rejected
from extauthz.decide.tokens.certificate_binding import confirmation
from extauthz.decide.tokens.claims import ClaimRejected, freeze_claims, token_domain, token_roles
from extauthz.domain.names import name_problem
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.provider_settings import excluded_role_problem
from extauthz.domain.reasons import Reason
from extauthz.domain.workload import peer_problem

_ROLES_CLAIM: Final = "realm_access.roles"
_DOMAIN_CLAIM: Final = "dom"
_EXCLUDED: Final = ("offline_access", "uma_authorization")


@dataclass(frozen=True, slots=True)
class CallerReader:
    """Reads the callers of a section's cases, under its settings.

    `tenant` is that of callers that name none. Without `oidc_enabled` users have no credential.
    """

    tenant: str
    oidc_enabled: bool
    excluded_roles: frozenset[str]

    @classmethod
    def of(cls, settings: Document, tenant: str) -> Self:
        """Take the settings of a section. Raises CaseInvalidError."""
        return cls(tenant, settings.get("oidc_enabled", True) is True, _excluded_roles(settings))

    def read(self, case: Document, where: str) -> Principal | Rejected | None:
        """Return what a check would make of the caller's credential. Raises CaseInvalidError."""
        if "token" in case:
            return self._token_bearer(case, where) if self.oidc_enabled else None
        given = case.get("principal")
        if given == "anonymous":
            return None
        described = object_of(given, f"{where}, principal")
        if "workload" in described:
            workload = text_of(described, "workload", f"{where}, principal")
            if problem := peer_problem(workload):
                return Rejected(Reason.TOKEN_CLAIMS_INVALID, f"the peer's name {problem}")
            return Principal(PrincipalKind.WORKLOAD, workload, None, None, (), Authentication.MTLS)
        kind = word_of(described, "kind", PrincipalKind, PrincipalKind.USER)
        if kind is PrincipalKind.USER and not self.oidc_enabled:
            return None
        roles = texts_of(optional_of(described, "roles", []), where)
        domain = described.get("domain")
        claims = dict(object_of(optional_of(described, "claims", {}), where))
        bound_to = confirmation(claims, required=False)
        if isinstance(bound_to, ClaimRejected):
            return Rejected(Reason.TOKEN_CLAIMS_INVALID, bound_to.problem)
        return Principal(
            kind=kind,
            id=text_of(described, "id", f"{where}, principal"),
            tenant=str(optional_of(described, "tenant", self.tenant)),
            domain=None if domain is None else str(domain),
            roles=tuple(sorted(set(roles))),
            authentication=Authentication.JWT if kind is PrincipalKind.USER else Authentication.API_KEY,
            claims=freeze_claims(claims),
            # A case asks about rules: the caller has the certificate that its token is bound to.
            confirmation=bound_to,
        )

    def _token_bearer(self, case: Document, where: str) -> Principal | Rejected:
        claims = dict(object_of(case["token"], f"{where}, token"))
        roles = token_roles(claims, _ROLES_CLAIM, excluded=self.excluded_roles)
        domain = token_domain(claims, _DOMAIN_CLAIM)
        bound_to = confirmation(claims, required=False)
        for read in (roles, domain, bound_to):
            if isinstance(read, ClaimRejected):
                return Rejected(Reason.TOKEN_CLAIMS_INVALID, read.problem)
        assert isinstance(roles, tuple)
        assert not isinstance(domain, ClaimRejected)
        assert not isinstance(bound_to, ClaimRejected)
        return Principal(
            kind=PrincipalKind.USER,
            id=text_of(claims, "sub", f"{where}, token"),
            tenant=str(case.get("token_tenant", self.tenant)),
            domain=domain,
            roles=roles,
            authentication=Authentication.JWT,
            claims=freeze_claims(claims),
            confirmation=bound_to,
        )


def _excluded_roles(settings: Document) -> frozenset[str]:
    roles = texts_of(settings.get("excluded_roles", list(_EXCLUDED)), "excluded_roles")
    for role in roles:
        if problem := excluded_role_problem(role):
            raise CaseInvalidError(f"excluded_roles: found {role!r}, it must be {problem}")
        if problem := name_problem(role):
            raise CaseInvalidError(f"excluded_roles: found {role!r}, it {problem}")
    return frozenset(roles)
