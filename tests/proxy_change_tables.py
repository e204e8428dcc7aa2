"""Changes of a connection manager: those that let requests pass without a check, and those that do not."""

from tests.proxy_changes import (
    ASKED,
    ENABLED,
    HTTP,
    METADATA,
    NEVER,
    OFF,
    OFF_HERE,
    ON,
    ONE_PERCENT,
    PLACES,
    SKIP,
    TYPES,
    UNASKED,
    Change,
    answered_here,
    asks_the_workload,
    chain_of,
    composite,
    delegate,
    entry,
    header_matcher,
    header_tree,
    in_sequence,
    matched,
    named_chain,
    nested_matchers,
    per_route,
    replaced_chain,
    same,
    setting,
    typed_struct,
    upgrade_off,
    upgraded,
    upgraded_on_the_route,
    without_check,
    wrapped,
)

OPENING: dict[str, Change] = {
    "disabled": entry(disabled=True),
    "disabled, quoted": entry(disabled="true"),
    "fail open": setting(failure_mode_allow=True),
    "shadow mode": setting(shadow_mode=True),
    "1 percent": setting(filter_enabled=ONE_PERCENT),
    "0 percent": setting(filter_enabled=NEVER),
    "0 of a million": setting(filter_enabled={"default_value": {"numerator": 1, "denominator": "MILLION"}}),
    "numbered denominator": setting(filter_enabled={"default_value": {"numerator": 1, "denominator": 2}}),
    "no numerator": setting(filter_enabled={"default_value": {}}),
    "1 percent, not denied": setting(
        filter_enabled=ONE_PERCENT, deny_at_disable={"default_value": False, "runtime_key": "unset.key"}
    ),
    "metadata": setting(filter_enabled_metadata=METADATA),
    "metadata, not denied": setting(
        filter_enabled_metadata=METADATA, deny_at_disable={"default_value": False, "runtime_key": "k"}
    ),
    "metadata of rbac": setting(filter_enabled_metadata={
        "filter": "envoy.filters.http.rbac", "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}},
    }),
    "removed": without_check,
    "asks the workload": asks_the_workload,
    "TypedStruct, fail open": wrapped(typed_struct, setting(failure_mode_allow=True)),
    "old TypedStruct, 1 percent": wrapped(
        lambda config: typed_struct(config, "udpa.type.v1"), setting(filter_enabled=ONE_PERCENT)
    ),
    "skipped": matched(same, lambda _: header_matcher(SKIP)),
    "skipped by a tree": matched(same, lambda _: header_tree(SKIP)),
    "skipped below a matcher": matched(same, nested_matchers),
    "skipped if no match": matched(same, lambda _: {"on_no_match": {"action": SKIP}}),
    "skipped, in TypedStruct": wrapped(typed_struct, matched(same, lambda _: header_matcher(SKIP))),
    "skipped, TypedStruct inside": matched(typed_struct, lambda _: header_matcher(SKIP)),
    "composite for some": matched(composite, lambda config: header_matcher(delegate(config))),
    "composite for some, itself": wrapped(
        lambda config: {**composite(config), "matcher": header_matcher(delegate(config))}
    ),
    "composite, sampled": matched(
        composite,
        lambda config: header_matcher(
            delegate(config), delegate(config, sample_percent=ONE_PERCENT)
        ),
    ),
    "composite, unknown chain": named_chain("unknown"),
    "chain, failing open": wrapped(chain_of, setting(failure_mode_allow=True)),
    "chain replaced on the route": replaced_chain,
    "skipped by the route": in_sequence(
        matched(same, lambda _: header_matcher(SKIP)),
        per_route("route", {
            "@type": TYPES + "envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute",
            "xds_matcher": {"on_no_match": {"action": SKIP}},
        }),
    ),
    "upgrades": upgraded(checked=False),
    "upgrades of the route": upgraded_on_the_route,
    "disabled, enabled elsewhere": in_sequence(
        entry(disabled=True), per_route("one of two routes", ENABLED)
    ),
    **{
        f"{what} at the {place}": per_route(place, config)
        for what, config in OFF_HERE.items()
        for place in PLACES
    },
    "off above an empty FilterConfig": in_sequence(
        per_route("virtual host", UNASKED), per_route("route", ENABLED)
    ),
}  # fmt: skip

CLOSED: dict[str, Change] = {
    "unchanged": lambda _: None,
    "100 percent": setting(filter_enabled={"default_value": {"numerator": 100}}),
    "all of a million": setting(
        filter_enabled={"default_value": {"numerator": 1_000_000, "denominator": "MILLION"}}
    ),
    "1 percent, the rest denied": setting(filter_enabled=ONE_PERCENT, deny_at_disable=ON),
    "metadata, the rest denied": setting(filter_enabled_metadata=METADATA, deny_at_disable=ON),
    "TypedStruct": wrapped(typed_struct),
    "old TypedStruct": wrapped(lambda config: typed_struct(config, "udpa.type.v1")),
    "a matcher that skips nothing": matched(same, lambda _: {"matcher_list": header_matcher(delegate({
        "@type": HTTP + "cors.v3.Cors"}))["matcher_list"]}),
    "composite for all": matched(
        composite, lambda config: header_matcher(delegate(config), delegate(config))
    ),
    "composite, a chain for all": named_chain("known"),
    "chain": wrapped(chain_of),
    "upgrades with a check": upgraded(checked=True),
    "upgrades that are off": upgrade_off,
    "disabled, enabled on the route": in_sequence(entry(disabled=True), per_route("route", ENABLED)),
    "disabled, set on the host": in_sequence(entry(disabled=True), per_route("virtual host", ASKED)),
    "off above, asked on the route": in_sequence(
        per_route("virtual host", UNASKED), per_route("route", ASKED)
    ),
    "off above, enabled on the route": in_sequence(
        per_route("route configuration", OFF), per_route("route", ENABLED)
    ),
    "off for another filter": per_route("route", OFF, "another.filter"),
    "off where nothing is forwarded": answered_here,
}  # fmt: skip
