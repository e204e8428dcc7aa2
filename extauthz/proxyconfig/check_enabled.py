"""Whether an ext_authz filter checks every request that reaches it.

Input: an ExtAuthz, the runtime of the bootstrap, and the filters before it. Output: a `CoverageVerdict`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.coverage import CHECKED, Coverage, CoverageVerdict
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.messages import RBAC, Message
from extauthz.proxyconfig.runtime_keys import Runtime, RuntimeOverride

_POLICY_ID: Final = "shadow_effective_policy_id"
_TRY_OUT: Final = "to try rules out, use mode: shadow on policies"


def enabled(check: YamlValue, runtime: Runtime, before: Sequence[Message] = ()) -> CoverageVerdict:
    """Return the verdict on one ExtAuthz; `before` are the filters that process a request earlier."""
    if (shadow := check.unless_false("shadow_mode")) is not None:
        finding = advice.error(
            shadow,
            "check-partial",
            "shadow_mode is on: no denial is enforced",
            f"remove shadow_mode; {_TRY_OUT}",
        )
        return CoverageVerdict(Coverage.OPEN, (finding,))
    reasons = tuple(_skipping(check, runtime, before))
    if not reasons or _denies_the_rest(check, runtime):
        return CHECKED
    return CoverageVerdict(Coverage.OPEN, reasons)


def _skipping(check: YamlValue, runtime: Runtime, before: Sequence[Message]) -> Iterator[Finding]:
    share = check.given("filter_enabled")
    if share is not None and (found := _share(share, runtime)) is not None:
        yield found
    metadata = check.given("filter_enabled_metadata")
    if metadata is not None and (found := _by_metadata(metadata, before)) is not None:
        yield found


def _denies_the_rest(check: YamlValue, runtime: Runtime) -> bool:
    deny = check.given("deny_at_disable")
    if deny is None or runtime.may_change(deny) is RuntimeOverride.LAYERS:
        return False
    return runtime.switch(deny) is True


def _share(share: YamlValue, runtime: Runtime) -> Finding | None:
    found, changes = runtime.share(share), runtime.may_change(share)
    if found == 1 and changes is not RuntimeOverride.LAYERS:
        return None
    part = "a part of the requests" if found in {None, 1} else f"{found:.4%} of the requests"
    message = f"filter_enabled checks {part}; the rest are forwarded without a check"
    if found == 1:
        message = "a runtime layer can lower filter_enabled: the others are forwarded without a check"
    return advice.error(share, "check-partial", message, f"remove filter_enabled; {_TRY_OUT}")


def changeable(check: YamlValue, runtime: Runtime) -> Iterator[Finding]:
    """Yield a warning for a filter that checks every request only until its runtime key is overridden.

    Envoy's admin interface can set the key while Envoy runs.
    """
    share, deny = check.given("filter_enabled"), check.given("deny_at_disable")
    is_denied = deny is not None and _denies_the_rest(check, runtime)
    is_skipping = check.given("filter_enabled_metadata") is not None or (
        share is not None
        and (runtime.share(share) != 1 or runtime.may_change(share) is RuntimeOverride.ADMIN)
    )
    found = deny if is_denied else share
    if found is None or not is_skipping or runtime.may_change(found) is not RuntimeOverride.ADMIN:
        return
    if is_denied or runtime.share(found) == 1:
        yield advice.warning(
            found,
            "check-partial",
            "the admin interface can set this runtime key: requests are then forwarded without a check",
            "remove filter_enabled and deny_at_disable",
        )


def _by_metadata(metadata: YamlValue, before: Sequence[Message]) -> Finding | None:
    policies = _istio_policies(metadata, before)
    if policies is not None and any(_is_every_request(policy) for policy in policies):
        return None
    if policies is not None:
        return advice.warning(
            metadata,
            "check-partial",
            "the AuthorizationPolicy selects a part of the requests; the rest are forwarded without a check",
            "give the CUSTOM policy the rule `{}`, which matches every request",
        )
    return advice.error(
        metadata,
        "check-partial",
        "filter_enabled_metadata checks only requests with this metadata; the rest are forwarded",
        "remove filter_enabled_metadata",
    )


def _istio_policies(metadata: YamlValue, before: Sequence[Message]) -> list[YamlValue] | None:
    """Return the policies of the RBAC filter by which Istio selects requests for a CUSTOM policy.

    Istio writes them as shadow rules; Envoy stores the name of the rule that matched as dynamic metadata.
    None: the metadata is not written by such a filter.
    """
    key = ".".join(one.word("key") or "" for one in metadata.list("path"))
    prefix = metadata.word("value", "string_match", "prefix")
    # RBAC writes its metadata under the name of the HTTP or the network filter.
    is_rbac = (metadata.word("filter") or "").endswith(".rbac")
    if not is_rbac or not key.endswith(_POLICY_ID) or not prefix or metadata.unless_false("invert"):
        return None
    for message in before:
        rules = message.body.at("shadow_rules", "policies")
        stat_prefix = message.body.word("shadow_rules_stat_prefix") or ""
        if message.kind == RBAC and rules is not None and stat_prefix + _POLICY_ID == key:
            named = dict(rules.items())
            return list(named.values()) if all(name.startswith(prefix) for name in named) else None
    return None


def _is_every_request(policy: YamlValue) -> bool:
    if policy.given("condition") is not None or policy.given("checked_condition") is not None:
        return False
    permissions, principals = policy.list("permissions"), policy.list("principals")
    return any(map(_is_any, permissions)) and any(map(_is_any, principals))


def _is_any(rule: YamlValue) -> bool:
    if rule.is_true("any"):
        return True
    for every, members in (("and_rules", "rules"), ("and_ids", "ids")):
        if (found := rule.at(every)) is not None:
            return bool(found.list(members)) and all(map(_is_any, found.list(members)))
    for some, members in (("or_rules", "rules"), ("or_ids", "ids")):
        if (found := rule.at(some)) is not None:
            return any(map(_is_any, found.list(members)))
    return False
