"""Examines an HTTP connection manager with an ext_authz filter: path normalisation, order of filters.

Input: an HttpConnectionManager. Output: findings.
"""

from collections.abc import Iterator, Sequence, Set
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_settings import matches
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.listener import IDENTITY_PREFIX
from extauthz.proxyconfig.messages import (
    CACHES,
    CHECK,
    CORS,
    MUTATION,
    Message,
    kinds_in,
    opened,
)

_STRICT_SLASHES: Final = frozenset({"REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "2", "3"})
_DECODED: Final = frozenset({"UNESCAPE_AND_FORWARD", "4"})
_STRICT_UNDERSCORES: Final = frozenset({"REJECT_REQUEST", "DROP_HEADER", "1", "2"})


def examine_manager(
    manager: YamlValue, *, is_patch: bool, claims: Set[str] = frozenset()
) -> Iterator[Finding]:
    """Yield the findings of a connection manager; of a patch, only of the members that it sets.

    `claims` are CLAIM_HEADERS.
    """
    yield from _paths(manager, is_patch=is_patch)
    underscores = manager.given("common_http_protocol_options", "headers_with_underscores_action")
    if (underscores is not None or not is_patch) and (
        underscores is None or underscores.text not in _STRICT_UNDERSCORES
    ):
        yield advice.warning(
            underscores or manager,
            "underscores-allowed",
            "header names with underscores are accepted: many servers read x_auth_subject as x-auth-subject",
            "set common_http_protocol_options.headers_with_underscores_action: REJECT_REQUEST",
        )
    if not is_patch:
        yield from _order(manager, claims)


def _paths(manager: YamlValue, *, is_patch: bool) -> Iterator[Finding]:
    for name in ("normalize_path", "merge_slashes"):
        found = manager.given(name)
        if (found is not None or not is_patch) and (found is None or found.truth is not True):
            yield advice.error(
                found or manager,
                "path-normalisation",
                f"{name} is not on: Envoy, extauthz and the upstream may read different paths",
                f"set {name}: true",
            )
    slashes = manager.given("path_with_escaped_slashes_action")
    action = slashes.text if slashes is not None else None
    if action in _STRICT_SLASHES or (slashes is None and is_patch):
        return
    kept = action not in _DECODED
    yield (advice.error if kept else advice.warning)(
        slashes or manager,
        "escaped-slashes",
        "escaped slashes (%2F, %5C) are kept: the upstream may decode them and read a different path"
        if kept
        else "escaped slashes (%2F, %5C) are decoded and forwarded: the upstream receives another path",
        "set path_with_escaped_slashes_action: REJECT_REQUEST",
    )


def _order(manager: YamlValue, claims: Set[str]) -> Iterator[Finding]:
    filters = manager.list("http_filters")
    kinds = [_kind(one) for one in filters]
    checks = [place for place, kind in enumerate(kinds) if kind == CHECK]
    if not checks:
        return
    first = checks[0]
    if any(kind in CACHES for kind in kinds[:first]):
        yield advice.error(
            next(one for one, kind in zip(filters, kinds, strict=True) if kind in CACHES),
            "check-after-cache",
            "a cache filter comes before ext_authz: cached responses are served without a check",
            "move the cache filter after ext_authz",
        )
    early = _early(manager)
    if not any(map(removes_identity, early)) and not any(_removes_identity(one) for one in filters[:first]):
        yield advice.error(
            filters[first],
            "identity-headers",
            f"{IDENTITY_PREFIX}* headers from the client are not removed before ext_authz: "
            "wherever the check is off, a client can forge an identity",
            f"put header_mutation with remove_on_match prefix {IDENTITY_PREFIX} before ext_authz",
        )
    removals = [*early, *(mutation for one in filters[:first] for mutation in _mutations(one))]
    if left := sorted(name for name in claims if not any(removes(one, name) for one in removals)):
        yield advice.error(
            filters[first],
            "claim-headers",
            "headers of CLAIM_HEADERS from the client are not removed before ext_authz: "
            f"{', '.join(left)}; wherever the check is off, a client can forge them",
            "put header_mutation with `remove` of each before ext_authz, as `extauthz envoy-config` does",
        )
    if CORS in kinds[first:]:
        yield advice.warning(
            filters[kinds.index(CORS)],
            "preflights-checked",
            "cors comes after ext_authz: preflights carry no token and are denied without CORS_PREFLIGHT",
            "move cors before ext_authz",
        )


def _kind(http_filter: YamlValue) -> str:
    message = opened(http_filter.at("typed_config"))
    if message is None:
        return ""
    # A check inside a matcher, a composite filter or a filter chain runs in the place of the outer filter.
    return CHECK if CHECK in kinds_in(http_filter) else message.kind


def _removes_identity(http_filter: YamlValue) -> bool:
    return any(map(removes_identity, _mutations(http_filter)))


def _early(manager: YamlValue) -> list[YamlValue]:
    """Return the mutations that Envoy makes before it chooses a route and runs its filters."""
    found = [opened(one.at("typed_config")) for one in manager.list("early_header_mutation_extensions")]
    return [
        mutation
        for message in found
        if message is not None and message.kind == MUTATION
        for mutation in message.body.list("mutations")
    ]


def _mutations(http_filter: YamlValue) -> Sequence[YamlValue]:
    """Return the mutations of requests by a filter; none if it is disabled."""
    message = opened(http_filter.at("typed_config"))
    if message is None or http_filter.unless_false("disabled") is not None:
        return ()
    return _of_requests(message)


def has_removal(message: Message) -> bool:
    """Return whether a message is a HeaderMutation that removes every `x-auth-` header."""
    return any(map(removes_identity, _of_requests(message)))


def _of_requests(message: Message) -> Sequence[YamlValue]:
    return message.body.list("mutations", "request_mutations") if message.kind == MUTATION else ()


def removes(mutation: YamlValue, header: str) -> bool:
    """Return whether one mutation of a HeaderMutation removes a header; its name is lower-case."""
    if (mutation.word("remove") or "").lower() == header:
        return True
    matcher = mutation.at("remove_on_match", "key_matcher")
    return matcher is not None and matches(matcher, header)


def removes_identity(mutation: YamlValue) -> bool:
    """Return whether one mutation of a HeaderMutation removes every `x-auth-` header."""
    prefix = mutation.word("remove_on_match", "key_matcher", "prefix")
    return bool(prefix) and IDENTITY_PREFIX.startswith(str(prefix).lower())
