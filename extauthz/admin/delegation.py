"""What a service key may give to the keys that it makes: nothing that it has not itself."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from extauthz.admin.prefixes import RoutePrefix, read_prefixes
from extauthz.domain.problem import Problem
from extauthz.domain.service_key import Scope
from extauthz.storage.rows import instant, rfc3339
from extauthz.storage.service_keys import KeyGrant

_OF_SERVICE: Final = frozenset({Scope.RESOURCES_WRITE.value})
_OF_DOMAIN: Final = frozenset({Scope.IDENTITY.value, Scope.POLICIES_READ.value, Scope.POLICIES_WRITE.value})


def beyond(grant: KeyGrant, document: Mapping[str, object]) -> list[Problem]:
    """Return where the document of a new key goes beyond its maker's; what it leaves out is everything.

    Service and domain may be left out where no scope of the new key is bounded by them. To a principal no
    domain is none, not every one: rules of a domain are not for it, nor for what it makes.
    """
    problems: list[Problem] = []
    scopes = cast("Sequence[str]", document["scopes"])
    for index, scope in enumerate(scopes):
        if scope not in grant.scopes:
            problems.append(Problem(f"/scopes/{index}", "is no scope of the key that asks"))
    bounds = (("service_name", grant.service_name, _OF_SERVICE), ("domain", grant.domain, _OF_DOMAIN))
    for member, own, bounded in bounds:
        concerned = document[member] is not None or bounded.intersection(scopes)
        if own is not None and concerned and document[member] != own:
            problems.append(Problem(f"/{member}", f"must be {own!r}, as for the key that asks"))
    if grant.domain is None and document["domain"] is not None and Scope.IDENTITY.value in scopes:
        problems.append(Problem("/domain", "must be left out: the key that asks is a principal of no domain"))
    own_prefixes = read_prefixes(grant.prefixes)
    for index, text in enumerate(cast("Sequence[str]", document["prefixes"])):
        prefix = RoutePrefix.parse(text)
        assert isinstance(prefix, RoutePrefix), "it was read with the document"
        if not any(own_prefix.covers(prefix) for own_prefix in own_prefixes):
            problems.append(Problem(f"/prefixes/{index}", "is under no prefix of the key that asks"))
    expires_at = document["expires_at"]
    if grant.expires_at is not None and (expires_at is None or instant(str(expires_at)) > grant.expires_at):
        latest = rfc3339(grant.expires_at)
        problems.append(Problem("/expires_at", f"must be at most {latest}, when the key that asks expires"))
    return problems
