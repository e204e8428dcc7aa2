"""Examines the patches of Istio's EnvoyFilter: one can remove the check, disable it, or change its settings.

Input: an EnvoyFilter. Output: findings.
"""

from collections.abc import Iterator, Set
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.envoy_files import examine_patch
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.messages import CHECK, CHECK_PER_ROUTE, FILTER_CONFIG, MANAGER, messages, opened

_REPLACES: Final = frozenset({"REMOVE", "REPLACE"})
_CHECK_NAMES: Final = ("envoy.filters.http.ext_authz", "envoy.ext_authz", "envoy.filters.network.ext_authz")
_FIX: Final = "remove the patch; give public routes `authentication: optional` and a rule for `anonymous`"


def examine_envoy_filter(document: YamlValue, conditions: Set[str] | None) -> Iterator[Finding]:
    """Yield the findings of the patches of an EnvoyFilter; `conditions` are CONDITION_HEADERS."""
    for patch in document.list("spec", "config_patches"):
        yield from _removal(patch)
        value = patch.given("patch", "value")
        if value is None:
            continue
        yield from examine_patch(value, conditions)
        if patch.word("match", "context") != "SIDECAR_OUTBOUND":
            yield from _switched_off(value)
            yield from _upgrades(value)


def _removal(patch: YamlValue) -> Iterator[Finding]:
    operation = patch.at("patch", "operation")
    if operation is None or operation.text not in _REPLACES:
        return
    if patch.word("match", "context") == "SIDECAR_OUTBOUND":
        return
    filters = patch.at("match", "listener", "filter_chain", "filter")
    name = (filters.word("sub_filter", "name") or filters.word("name")) if filters is not None else None
    value = patch.given("patch", "value")
    is_check_again = value is not None and any(one.kind == CHECK for one in messages(value))
    if name in _CHECK_NAMES and not is_check_again:
        yield advice.error(
            operation,
            "check-off",
            "the patch removes ext_authz from the proxy: its requests are forwarded without a check",
            _FIX,
        )
    elif patch.word("apply_to") == "HTTP_FILTER" and name is None and not is_check_again:
        yield advice.warning(
            operation,
            "check-unknown",
            "the patch removes HTTP filters without naming them: whether ext_authz is one is unknown",
            "name the filter in match.listener.filterChain.filter.subFilter",
        )


def _switched_off(value: YamlValue) -> Iterator[Finding]:
    names = {value.word("name") or ""}
    is_check = bool(names & {*_CHECK_NAMES}) or any(one.kind == CHECK for one in messages(value))
    if is_check and (off := value.unless_false("disabled")) is not None:
        yield _off(off)
    for below in value.walk():
        settings = below.at("typed_per_filter_config")
        for name, setting in settings.items() if settings is not None else ():
            message = opened(setting)
            if message is None:
                continue
            if message.kind == FILTER_CONFIG:
                if name in _CHECK_NAMES and (off := message.body.unless_false("disabled")) is not None:
                    yield _off(off)
                    continue
                message = opened(message.body.at("config")) or message
            if message.kind == CHECK_PER_ROUTE and (off := message.body.unless_false("disabled")) is not None:
                yield _off(off)


def _off(at: YamlValue) -> Finding:
    return advice.error(at, "check-off", "with the patch requests are forwarded without a check", _FIX)


def _upgrades(value: YamlValue) -> Iterator[Finding]:
    for message in messages(value):
        upgrades = message.body.list("upgrade_configs") if message.kind == MANAGER else ()
        for upgrade in upgrades:
            filters = upgrade.at("filters")
            if (
                filters is not None
                and upgrade.list("filters")
                and not any(one.kind == CHECK for one in messages(filters))
            ):
                yield advice.error(
                    filters,
                    "check-missing",
                    "upgrade requests use other filters, without ext_authz",
                    "remove `filters` from the upgrade, or put ext_authz among them",
                )
