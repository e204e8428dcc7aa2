"""Examines CUSTOM policies of Istio's ambient mode, where a waypoint asks and ztunnel does not.

Input: CUSTOM policies, and all documents. Output: findings. A waypoint reads policies with targetRefs only,
and no EnvoyFilter; a client that connects to a pod's own address does not pass it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.kinds import GATEWAY_API, is_of

_WAYPOINT_CLASS: Final = "istio-waypoint"
_MODE: Final = "istio.io/dataplane-mode"
_USE: Final = "istio.io/use-waypoint"
_SERVICES: Final = frozenset({"Service", "ServiceEntry"})


def is_at_waypoint(policy: YamlValue, documents: Sequence[YamlValue]) -> bool:
    """Return whether a waypoint enforces a policy: it targets a Service, or a Gateway of the waypoint class.

    A Gateway that is not among the documents counts as an ingress gateway.
    """
    waypoints = {
        _name(one)
        for one in documents
        if is_of(one, GATEWAY_API, "Gateway") and one.word("spec", "gateway_class_name") == _WAYPOINT_CLASS
    }
    return any(
        one.word("kind") in _SERVICES
        or (one.word("kind") == "Gateway" and (_namespace(policy), one.word("name") or "") in waypoints)
        for one in policy.list("spec", "target_refs")
    )


def examine_ambient(
    policies: Sequence[YamlValue], documents: Sequence[YamlValue], over_http: Sequence[str]
) -> Iterator[Finding]:
    """Yield the findings of CUSTOM policies; `over_http` are the names of providers that ask over HTTP."""
    for policy in policies:
        namespaces = [
            one for one in documents if is_of(one, "", "Namespace") and _name(one)[1] == _namespace(policy)
        ]
        is_ambient = any(_label(one, _MODE) == "ambient" for one in namespaces)
        if is_at_waypoint(policy, documents):
            yield from _waypoint(policy, documents, over_http)
            if is_ambient and not any(
                _label(one, _USE) is not None for one in (*namespaces, *_services(documents, policy))
            ):
                yield advice.error(
                    policy,
                    "check-missing",
                    f"neither the namespace nor a Service has the label {_USE}: nothing leads requests to "
                    "the waypoint",
                    f"label the namespace {_USE}: NAME",
                )
        elif is_ambient and not policy.list("spec", "target_refs"):
            yield advice.error(
                policy.at("spec", "selector") or policy,
                "check-missing",
                "the namespace is in ambient mode, where ztunnel enforces policies without targetRefs and "
                "asks no provider: no request is checked",
                "name the waypoint, or the Service, in targetRefs",
            )


def _waypoint(
    policy: YamlValue, documents: Sequence[YamlValue], over_http: Sequence[str]
) -> Iterator[Finding]:
    if policy.word("spec", "provider", "name") in over_http:
        yield advice.error(
            policy,
            "identity-headers",
            "over HTTP extauthz does not see x-auth-* headers of the client, and no EnvoyFilter reaches a "
            "waypoint to remove them: a client can forge an identity",
            "use a provider with envoyExtAuthzGrpc",
        )
    if not any(_admits_by_name(one) for one in _allowing(documents, policy)):
        yield advice.warning(
            policy,
            "check-partial",
            "a client that connects to the address of a pod does not pass the waypoint, and no ALLOW policy "
            "in the files admits only the waypoint's certificate",
            "add an AuthorizationPolicy with action ALLOW, a selector and "
            "from.source.principals: [cluster.local/ns/NAMESPACE/sa/WAYPOINT]",
        )


def _allowing(documents: Sequence[YamlValue], policy: YamlValue) -> Iterator[YamlValue]:
    for one in documents:
        is_policy = is_of(one, "security.istio.io", "AuthorizationPolicy")
        is_here = is_policy and _namespace(one) == _namespace(policy)
        if is_here and one.word("spec", "action") in {None, "ALLOW"} and not one.list("spec", "target_refs"):
            yield one


def _admits_by_name(policy: YamlValue) -> bool:
    """Return whether every rule names principals, so that no other client is admitted."""
    rules = policy.list("spec", "rules")
    return bool(rules) and all(
        rule.list("from") and all(_names_principals(one) for one in rule.list("from")) for rule in rules
    )


def _names_principals(source: YamlValue) -> bool:
    named = source.list("source", "principals")
    return bool(named) and all((one.text or "*").rpartition("/")[2] not in {"", "*"} for one in named)


def _services(documents: Sequence[YamlValue], policy: YamlValue) -> Iterator[YamlValue]:
    here = _namespace(policy)
    yield from (one for one in documents if is_of(one, "", "Service") and _namespace(one) == here)


def _label(document: YamlValue, name: str) -> str | None:
    return document.word("metadata", "labels", name)


def _namespace(document: YamlValue) -> str:
    return document.word("metadata", "namespace") or "default"


def _name(document: YamlValue) -> tuple[str, str]:
    return _namespace(document), document.word("metadata", "name") or ""
