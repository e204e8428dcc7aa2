"""Claims that are valid now, for services that read the clock."""

import time

from tests.tokens import AUDIENCE


def good_claims(
    issuer: str, subject: str, *, roles: list[str] | None = None, **changes: object
) -> dict[str, object]:
    """Return claims that hold for ten minutes; a change to None leaves a claim out."""
    now = int(time.time())
    usual = {
        "iss": issuer,
        "sub": subject,
        "aud": AUDIENCE,
        "iat": now - 60,
        "exp": now + 600,
        "realm_access": {"roles": roles or []},
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}
