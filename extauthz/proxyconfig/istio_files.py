"""Examines Istio's policies and its mesh configuration.

Input: documents with MeshConfig, AuthorizationPolicy, PeerAuthentication and EnvoyFilter. Output: findings.
"""

from collections.abc import Iterator, Sequence, Set
from typing import Final

from extauthz.domain.spelling import nearest
from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_settings import joined_by
from extauthz.proxyconfig.connection_manager import removes, removes_identity
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.istio_ambient import examine_ambient, is_at_waypoint
from extauthz.proxyconfig.kinds import is_of

_CHECKS: Final = ("envoy_ext_authz_grpc", "envoy_ext_authz_http")
_ROOT_NAMESPACE: Final = "istio-system"
"""Of Istio's installation; an EnvoyFilter there is applied in every namespace."""
_CARRIES_TOKENS: Final = "authorization"
_MERGING: Final = frozenset({"MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"})


def mesh_configs(document: YamlValue) -> list[YamlValue]:
    """Return every MeshConfig in a document, also in an IstioOperator or in values of a Helm chart."""
    if document.members is not None:
        return [found for one in document.members for found in mesh_configs(one)]
    if document.entries is None:
        return []
    if _looks_like_mesh(document):
        return [document]
    return [found for _, below in document.items() for found in mesh_configs(below)]


def _looks_like_mesh(value: YamlValue) -> bool:
    normalization = value.at("path_normalization")
    return value.at("extension_providers") is not None or (
        normalization is not None and (normalization.entries is not None or normalization.is_null)
    )


def examine_mesh(mesh: YamlValue, conditions: Set[str] | None) -> Iterator[Finding]:
    """Yield the findings of a MeshConfig: its external authorization providers, its path normalisation."""
    providers = [
        found for one in mesh.list("extension_providers") for name in _CHECKS if (found := one.at(name))
    ]
    for provider in providers:
        yield from _provider(provider)
        if conditions:
            yield from joined_by(provider, "Istio's provider", conditions)
    for one in mesh.list("extension_providers"):
        body = one.at("envoy_ext_authz_grpc", "include_request_body_in_check", "max_request_bytes")
        if body is not None and (large := advice.body(body, "maxRequestBytes")):
            yield large
        if over_http := one.at("envoy_ext_authz_http"):
            yield from _over_http(over_http)
    normalization = mesh.at("path_normalization", "normalization")
    if normalization is not None and normalization.text == "NONE":
        yield advice.error(
            normalization,
            "path-normalisation",
            "paths are not normalised: Istio, extauthz and the workload can read different paths",
            "set pathNormalization.normalization: MERGE_SLASHES",
        )
    elif providers and (normalization is None or normalization.text not in _MERGING):
        yield advice.warning(
            normalization or mesh,
            "path-normalisation",
            "slashes are not merged: a path with `//` can bypass Istio's rules; extauthz refuses it with 400",
            "set pathNormalization.normalization: MERGE_SLASHES",
        )


def _provider(provider: YamlValue) -> Iterator[Finding]:
    yield from advice.failing_open(provider, "fail_open", "failOpen")
    limit = provider.at("timeout")
    if limit is None:
        yield advice.error(
            provider,
            "timeout-missing",
            "the provider has no timeout, so Istio waits 600 s for a decision",
            "set timeout: 0.2s",
        )
    elif found := advice.timeout(limit):
        yield found
    if provider.at("status_on_error") is None:
        yield advice.warning(
            provider,
            "status-on-error",
            "without statusOnError clients receive 403 while extauthz is unavailable, as for a denial",
            'set statusOnError: "503"',
        )


def _over_http(provider: YamlValue) -> Iterator[Finding]:
    if _CARRIES_TOKENS not in _sent(provider):
        yield advice.error(
            provider,
            "headers-withheld",
            "includeRequestHeadersInCheck does not list authorization: no token reaches extauthz over HTTP",
            "list authorization and x-service-api-key there, or use envoyExtAuthzGrpc",
        )


def _sent(provider: YamlValue) -> set[str]:
    """Return the names of the headers that a provider over HTTP sends."""
    lists = ("include_request_headers_in_check", "include_headers_in_check")
    return {(name.text or "").lower() for one in lists for name in provider.list(one)}


def provider_names(mesh: YamlValue) -> list[str]:
    """Return the names of the external authorization providers of a MeshConfig."""
    return [
        name
        for one in mesh.list("extension_providers")
        if any(one.at(check) for check in _CHECKS) and (name := one.word("name")) is not None
    ]


def http_provider_names(mesh: YamlValue) -> list[str]:
    """Return the names of the providers that ask over HTTP."""
    return [
        name
        for one in mesh.list("extension_providers")
        if one.at("envoy_ext_authz_http") and (name := one.word("name")) is not None
    ]


def examine_policies(
    documents: Sequence[YamlValue],
    providers: Sequence[str] | None,
    claims: Set[str] = frozenset(),
    *,
    over_http: Sequence[str] = (),
) -> Iterator[Finding]:
    """Yield the findings of Istio's policies; `providers` is None if no mesh configuration is known.

    `claims` are CLAIM_HEADERS; `over_http` are the names of providers that ask over HTTP.
    """
    custom = [
        one
        for one in documents
        if is_of(one, "security.istio.io", "AuthorizationPolicy") and one.word("spec", "action") == "CUSTOM"
    ]
    for policy in custom:
        yield from _custom(policy, providers)
        yield from _selection(policy)
    yield from examine_ambient(custom, documents, over_http)
    used = {one.word("spec", "provider", "name") for one in custom}
    yield from _unused_over_http(documents, [name for name in over_http if name not in used])
    # No EnvoyFilter reaches a waypoint.
    custom = [one for one in custom if not is_at_waypoint(one, documents)]
    bare = [one for one in custom if not _is_removed(documents, one)]
    # Those that ask over HTTP first: what is a warning otherwise is an error for them.
    bare.sort(key=lambda one: one.word("spec", "provider", "name") not in over_http)
    if bare:
        blind = bare[0].word("spec", "provider", "name") in over_http
        yield (advice.error if blind else advice.warning)(
            bare[0],
            "identity-headers",
            "no EnvoyFilter in the files removes x-auth-* headers of the client before the check"
            + (", and over HTTP extauthz does not see them: a client can forge an identity" if blind else ""),
            "add the EnvoyFilter that `extauthz envoy-config --for istio` prints",
        )
    left = [name for name in sorted(claims) if not all(_is_removed(documents, one, name) for one in custom)]
    if custom and left:
        yield advice.warning(
            custom[0],
            "claim-headers",
            "no EnvoyFilter in the files removes headers of CLAIM_HEADERS of the client before the check: "
            + ", ".join(left),
            "add the EnvoyFilter that `extauthz envoy-config --for istio` prints",
        )
    for document in documents:
        if is_of(document, "security.istio.io", "PeerAuthentication"):
            yield from _peer_authentication(document)


def _unused_over_http(documents: Sequence[YamlValue], names: Sequence[str]) -> Iterator[Finding]:
    """Yield a warning for a provider over HTTP that no policy in the files uses, if no filter is there."""
    for mesh in (mesh for one in documents for mesh in mesh_configs(one)):
        for provider in mesh.list("extension_providers"):
            # One that withholds the token is reported for that: it lets only anonymous callers pass.
            asks = _CARRIES_TOKENS in _sent(provider.at("envoy_ext_authz_http") or provider)
            is_named = provider.word("name") in names
            if is_named and asks and not any(map(_removes_everywhere, documents)):
                yield advice.warning(
                    provider,
                    "identity-headers",
                    "over HTTP extauthz does not see x-auth-* headers of the client, and no EnvoyFilter in "
                    "the files removes them: where a policy uses the provider a client can forge an identity",
                    "add the EnvoyFilter that `extauthz envoy-config --for istio` prints",
                )


def _removes_everywhere(document: YamlValue) -> bool:
    return is_of(document, "networking.istio.io", "EnvoyFilter") and any(
        map(removes_identity, document.walk())
    )


def _custom(policy: YamlValue, providers: Sequence[str] | None) -> Iterator[Finding]:
    provider = policy.at("spec", "provider", "name")
    name = None if provider is None else provider.text
    if provider is None or name is None:
        yield advice.error(
            policy,
            "provider-unknown",
            "a policy with action CUSTOM has no provider",
            "set provider.name to the name of the extension provider",
        )
    elif providers is None:
        yield advice.info(
            provider,
            "provider-unverified",
            f"the files hold no mesh configuration: whether the provider {name!r} exists is unknown",
            "give doctor the mesh configuration too",
        )
    elif name not in providers:
        meant = nearest(name, providers, separator="-")
        known = ", ".join(map(repr, providers)) or "none"
        yield advice.error(
            provider,
            "provider-unknown",
            f"no extension provider is named {name!r} (the files define {known}): "
            "Istio denies every request that the policy selects",
            f"set provider.name: {meant or 'the name of an extension provider'}",
        )


def _selection(policy: YamlValue) -> Iterator[Finding]:
    """Yield findings if a CUSTOM policy does not match every request: a rule without conditions does."""
    rules = policy.at("spec", "rules")
    if not policy.list("spec", "rules"):
        yield advice.error(
            rules or policy,
            "policy-without-rules",
            "a CUSTOM policy without rules matches no request: no request is checked",
            "write `rules: [{}]` to check every request",
        )
    elif rules is not None and not any(map(_is_every_request, policy.list("spec", "rules"))):
        yield advice.warning(
            rules,
            "check-partial",
            "the rules select a part of the requests; the rest reach the workload without a check",
            "write `rules: [{}]`; give public routes `authentication: optional` and a rule for `anonymous`",
        )
    dry = policy.at("metadata", "annotations", "istio.io/dry-run")
    if dry is not None and dry.truth is not False:
        yield advice.error(
            dry,
            "check-partial",
            "the policy is a dry run: no denial is enforced",
            "remove the annotation istio.io/dry-run; to try rules out, use mode: shadow on policies",
        )


def _is_every_request(rule: YamlValue) -> bool:
    return all(not rule.list(name) for name in ("from", "to", "when"))


def _is_removed(documents: Sequence[YamlValue], policy: YamlValue, header: str | None = None) -> bool:
    """Return whether an EnvoyFilter removes a header where a policy applies; None: the identity headers."""
    return any(
        removes_identity(one) if header is None else removes(one, header)
        for document in documents
        if is_of(document, "networking.istio.io", "EnvoyFilter") and _reaches(document, policy)
        for one in document.walk()
    )


def _reaches(envoy_filter: YamlValue, policy: YamlValue) -> bool:
    """Return whether an EnvoyFilter is applied to every proxy that a policy selects."""
    here, there = (one.word("metadata", "namespace") or "default" for one in (envoy_filter, policy))
    if here not in {there, _ROOT_NAMESPACE}:
        return False
    wanted = envoy_filter.at("spec", "workload_selector", "labels")
    selected = policy.at("spec", "selector", "match_labels")
    return all(
        selected is not None and selected.word(name) == value.text
        for name, value in (wanted.items() if wanted is not None else ())
    )


def _peer_authentication(document: YamlValue) -> Iterator[Finding]:
    mode = document.at("spec", "mtls", "mode")
    if mode is None or mode.text != "STRICT":
        yield advice.warning(
            mode or document,
            "peers-unverified",
            "mutual TLS is not required: plaintext clients can connect, and source.principal can be absent",
            "set mtls.mode: STRICT",
        )
