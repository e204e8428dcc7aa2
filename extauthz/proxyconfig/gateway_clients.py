"""Examines Envoy Gateway's ClientTrafficPolicies: how paths are read, which headers of clients are removed.

Input: the policies. Output: findings, and for a Gateway whether it removes headers before any filter runs.
"""

from collections.abc import Iterator, Sequence, Set
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.gateway_routes import GatewayName, namespace_of
from extauthz.proxyconfig.listener import IDENTITY_PREFIX

_EARLY: Final = (
    "set ClientTrafficPolicy.spec.headers.earlyRequestHeaders.removeOnMatch: "
    f"[{{type: Prefix, value: {IDENTITY_PREFIX}}}] for the same Gateway"
)


class ClientPolicies:
    """All ClientTrafficPolicies of the files."""

    def __init__(self, policies: Sequence[YamlValue]) -> None:
        self._policies = policies

    def findings(self) -> Iterator[Finding]:
        """Yield the findings of each policy by itself."""
        for policy in self._policies:
            yield from _settings(policy)

    def remove_identity(self, gateways: Set[GatewayName]) -> bool:
        """Return whether every one of the Gateways removes every `x-auth-` header.

        Without Gateways, because the files do not tell which are meant, any policy that removes them counts.
        """
        return self._remove(gateways, None)

    def remove(self, gateways: Set[GatewayName], header: str) -> bool:
        """Return whether every one of the Gateways removes a header; its name is lower-case."""
        return self._remove(gateways, header)

    def _remove(self, gateways: Set[GatewayName], header: str | None) -> bool:
        if not gateways:
            return any(_removes(one, header) for one in self._policies)
        return all(self._removes_at(gateway, header) for gateway in gateways)

    def _removes_at(self, gateway: GatewayName, header: str | None) -> bool:
        whole = part = False
        for policy in self._policies:
            targets = list(_targets(policy, gateway))
            is_removing = _removes(policy, header)
            # A policy for a listener takes the place of the one of its Gateway.
            if any(one.word("section_name") for one in targets) and not is_removing:
                part = True
            is_of_whole = any(not one.word("section_name") for one in targets)
            is_selected = any(
                one.word("kind") == "Gateway" for one in policy.list("spec", "target_selectors")
            )
            whole = whole or (is_removing and (is_of_whole or is_selected))
        return whole and not part


def forged_headers(
    check: YamlValue, clients: ClientPolicies, gateways: Set[GatewayName], claims: Set[str]
) -> Iterator[Finding]:
    """Yield findings for headers that clients could set: `gateways` are those whose requests are checked."""
    over_http = check.given("http") is not None
    if not clients.remove_identity(gateways):
        message = (
            f"over HTTP extauthz does not see {IDENTITY_PREFIX}* headers of the client, so it cannot remove "
            "them, and no ClientTrafficPolicy of the Gateway does: a client can forge an identity"
            if over_http
            else f"no ClientTrafficPolicy of the Gateway removes {IDENTITY_PREFIX}* headers of the client "
            "before the check: wherever the check is off, a client can forge an identity"
        )
        yield (advice.error if over_http else advice.warning)(check, "identity-headers", message, _EARLY)
    if left := [name for name in sorted(claims) if not clients.remove(gateways, name)]:
        yield (advice.error if over_http else advice.warning)(
            check,
            "claim-headers",
            "no ClientTrafficPolicy of the Gateway removes headers of CLAIM_HEADERS of the client before the "
            "check: " + ", ".join(left),
            "list them in ClientTrafficPolicy.spec.headers.earlyRequestHeaders.remove",
        )


def _targets(policy: YamlValue, gateway: GatewayName) -> Iterator[YamlValue]:
    single = policy.given("spec", "target_ref")
    for one in (*(() if single is None else (single,)), *policy.list("spec", "target_refs")):
        here = one.word("namespace") or namespace_of(policy)
        if (one.word("kind") or "Gateway") == "Gateway" and (here, one.word("name") or "") == gateway:
            yield one


def _removes(policy: YamlValue, header: str | None) -> bool:
    early = policy.given("spec", "headers", "early_request_headers")
    if early is None:
        return False
    return any(
        _takes_identity(one) if header is None else _takes(one, header)
        for one in (*early.list("remove"), *early.list("remove_on_match"))
    )


def _takes_identity(removal: YamlValue) -> bool:
    prefix = (removal.word("value") or "").lower()
    return removal.word("type") == "Prefix" and bool(prefix) and IDENTITY_PREFIX.startswith(prefix)


def _takes(removal: YamlValue, name: str) -> bool:
    if removal.text is not None:
        return removal.text.lower() == name
    value = (removal.word("value") or "").lower()
    match removal.word("type") or "Exact":
        case "Exact":
            return value == name
        case "Prefix":
            return bool(value) and name.startswith(value)
        case "Suffix":
            return bool(value) and name.endswith(value)
        case _:
            return False


def _settings(policy: YamlValue) -> Iterator[Finding]:
    if (merge := policy.unless_false("spec", "path", "disable_merge_slashes")) is not None:
        yield advice.error(
            merge,
            "path-normalisation",
            "slashes are not merged: Envoy, extauthz and the upstream may read different paths",
            "remove disableMergeSlashes",
        )
    slashes = policy.given("spec", "path", "escaped_slashes_action")
    if slashes is not None and slashes.text in {"KeepUnchanged", "UnescapeAndForward"}:
        kept = slashes.text == "KeepUnchanged"
        yield (advice.error if kept else advice.warning)(
            slashes,
            "escaped-slashes",
            "escaped slashes (%2F, %5C) are kept or decoded: the upstream may read a different path",
            "set escapedSlashesAction: RejectRequest",
        )
    underscores = policy.given("spec", "headers", "with_underscores_action")
    if underscores is not None and underscores.text == "Allow":
        yield advice.warning(
            underscores,
            "underscores-allowed",
            "header names with underscores are accepted: many servers read x_auth_subject as x-auth-subject",
            "set withUnderscoresAction: RejectRequest",
        )
