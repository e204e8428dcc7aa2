"""The shape of a user's request, with the members that a test is about."""

from collections.abc import Mapping

from extauthz.domain.principal import Authentication, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.recording.shape import CredentialState, Shape


def user_shape(slots: Mapping[str, str], **members: object) -> Shape:
    """Return the shape of a request of a user of the default tenant, which no rule allows.

    `slots` are the texts of its slots by name; `members` replace others.
    """
    shape = Shape(
        tenant="default",
        entrance="grpc",
        unmapped=UnmappedPolicy.DENY,
        credential=CredentialState.VERIFIED,
        kind=PrincipalKind.USER,
        authentication=Authentication.JWT,
        bound=False,
        token_tenant="default",
        domain=None,
        own_roles=(),
        resource=None,
        action=None,
        template=None,
        slots=tuple(sorted(slots.items())),
        effect=Effect.DENY,
        reason=Reason.NO_MATCHING_RULE,
        rule=None,
    )
    return shape._replace(**members)  # type: ignore[arg-type]
