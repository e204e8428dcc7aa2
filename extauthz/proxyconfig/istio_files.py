"""What can be wrong in Istio's objects and in its mesh configuration."""

from collections.abc import Iterator, Sequence
from typing import Final

from extauthz.domain.spelling import nearest
from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import Value
from extauthz.proxyconfig.envoy_files import examine_envoy, removes_identity
from extauthz.proxyconfig.findings import Finding

_CHECKS: Final = ("envoy_ext_authz_grpc", "envoy_ext_authz_http")
_MERGING: Final = frozenset({"MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"})


def mesh_config(document: Value) -> Value | None:
    """Return the MeshConfig in a document: IstioOperator, Helm values, or the bare configuration."""
    for found in (document.at("spec", "mesh_config"), document.at("mesh_config"), document):
        if found is not None and found.entries is not None and _looks_like_mesh(found):
            return found
    return None


def _looks_like_mesh(value: Value) -> bool:
    return any(value.at(name) for name in ("extension_providers", "path_normalization"))


def examine_mesh(mesh: Value) -> Iterator[Finding]:
    """Examine a MeshConfig: the providers of checks, and how paths are read."""
    providers = [
        found for one in mesh.list("extension_providers") for name in _CHECKS if (found := one.at(name))
    ]
    for provider in providers:
        yield from _provider(provider)
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
            "paths are not normalised: Istio, extauthz and the workload may read different paths",
            "set pathNormalization.normalization: MERGE_SLASHES",
        )
    elif providers and (normalization is None or normalization.text not in _MERGING):
        yield advice.warning(
            normalization or mesh,
            "path-normalisation",
            "slashes are not merged: Istio's own rules can be dodged by `//`, extauthz refuses it with 400",
            "set pathNormalization.normalization: MERGE_SLASHES",
        )


def _provider(provider: Value) -> Iterator[Finding]:
    fails_open = provider.at("fail_open")
    if fails_open is not None and fails_open.flag is not False:
        yield advice.error(
            fails_open,
            "fail-open",
            "failOpen is on: whenever extauthz does not answer, every request passes",
            "set failOpen: false",
        )
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
            "without statusOnError an outage of extauthz looks like a denial (403)",
            'set statusOnError: "503"',
        )


def _over_http(provider: Value) -> Iterator[Finding]:
    sent = {(name.text or "").lower() for name in provider.list("include_request_headers_in_check")} | {
        (name.text or "").lower() for name in provider.list("include_headers_in_check")
    }
    if "authorization" not in sent:
        yield advice.error(
            provider,
            "headers-withheld",
            "includeRequestHeadersInCheck does not list authorization: no token reaches extauthz over HTTP",
            "list authorization and x-service-api-key there, or use envoyExtAuthzGrpc",
        )


def provider_names(mesh: Value) -> list[str]:
    """Return the names of the providers that can be asked for a decision."""
    return [
        name
        for one in mesh.list("extension_providers")
        if any(one.at(check) for check in _CHECKS) and (name := one.word("name")) is not None
    ]


def examine_policies(documents: Sequence[Value], providers: Sequence[str] | None) -> Iterator[Finding]:
    """Examine Istio's objects together; `providers` None: no mesh configuration is at hand."""
    custom = [
        one
        for one in documents
        if one.word("kind") == "AuthorizationPolicy" and one.word("spec", "action") == "CUSTOM"
    ]
    for policy in custom:
        yield from _custom(policy, providers)
    if custom and not any(_filter_removes(one) for one in documents):
        yield advice.warning(
            custom[0],
            "identity-headers",
            "nothing here removes a client's own x-auth-* headers before the check",
            "add the EnvoyFilter that `extauthz envoy-config --for istio` prints",
        )
    for document in documents:
        if document.word("kind") == "PeerAuthentication":
            yield from _peer_authentication(document)
        if document.word("kind") == "EnvoyFilter":
            for patch in document.list("spec", "config_patches"):
                if (value := patch.at("patch", "value")) is not None:
                    yield from examine_envoy(value, is_patch=True)


def _custom(policy: Value, providers: Sequence[str] | None) -> Iterator[Finding]:
    provider = policy.at("spec", "provider", "name")
    name = None if provider is None else provider.text
    if provider is None or name is None:
        yield advice.error(
            policy,
            "provider-unknown",
            "action CUSTOM without a provider asks nobody",
            "set provider.name to the name of the extension provider",
        )
    elif providers is None:
        yield advice.info(
            provider,
            "provider-unverified",
            f"whether a provider {name!r} exists cannot be told from these files",
            "give doctor the mesh configuration too",
        )
    elif name not in providers:
        meant = nearest(name, providers, separator="-")
        known = ", ".join(map(repr, providers)) or "none"
        yield advice.error(
            provider,
            "provider-unknown",
            f"no extension provider is named {name!r} (there is: {known}): "
            "Istio denies every request that the policy selects",
            f"set provider.name: {meant or 'the name of an extension provider'}",
        )
    if not policy.list("spec", "rules"):
        yield advice.error(
            policy.at("spec", "rules") or policy,
            "policy-without-rules",
            "a CUSTOM policy without rules matches no request: nothing is checked",
            "write `rules: [{}]` to check every request",
        )


def _filter_removes(document: Value) -> bool:
    return document.word("kind") == "EnvoyFilter" and any(map(removes_identity, document.walk()))


def _peer_authentication(document: Value) -> Iterator[Finding]:
    mode = document.at("spec", "mtls", "mode")
    if mode is None or mode.text != "STRICT":
        yield advice.warning(
            mode or document,
            "peers-unverified",
            "mutual TLS is not required: source.principal can be absent, and anybody can reach the port",
            "set mtls.mode: STRICT",
        )
