"""Whether a list of HTTP filters checks every request of a route before the router filter forwards it.

Input: the entries of `http_filters` and a route. Output: a `CoverageVerdict`. Settings are resolved as Envoy
does: an entry can be disabled, per-route settings of the most specific level override it, and a filter can be
inside a matcher, a composite filter or a filter chain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_enabled import enabled
from extauthz.proxyconfig.coverage import ABSENT, Coverage, CoverageVerdict, as_alternatives, in_sequence
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.envoy_parts import Parts, Seen
from extauthz.proxyconfig.envoy_routes import ForwardingRoute
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.matching import outcomes
from extauthz.proxyconfig.messages import (
    CHAIN,
    CHAIN_PER_ROUTE,
    CHECK,
    CHECK_PER_ROUTE,
    COMPOSITE,
    COMPOSITE_PER_ROUTE,
    EXECUTE,
    FILTER_CONFIG,
    MATCHED,
    MATCHED_PER_ROUTE,
    ROUTER,
    SEVERAL,
    SKIP,
    Message,
    kind_of,
    kinds_in,
    opened,
)
from extauthz.proxyconfig.runtime_keys import RuntimeOverride

_MAY_HOLD_A_CHECK: Final = frozenset({CHECK, MATCHED, COMPOSITE, CHAIN, SEVERAL, "type.TypedStruct"})
_ASK_ALWAYS: Final = (
    "check every route; give public ones `authentication: optional` and a rule for `anonymous`"
)
_GIVE_ALL: Final = "give doctor the files with the missing part too, or the response of Envoy's /config_dump"


@dataclass(frozen=True, slots=True, eq=False)
class _Possible:
    """The configurations that a filter may run with: its own, or those that a discovery service delivers."""

    messages: tuple[Message, ...]
    unknown: Finding | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Context:
    """The route of a request, the names of the filter in per-route settings, and the earlier filters."""

    route: ForwardingRoute
    names: tuple[str, ...]
    before: Sequence[Message]

    def per_route(self, kind: str) -> Iterator[YamlValue]:
        """Yield the per-route settings of a kind, the most specific level first."""
        for name in self.names:
            for setting in self.route.settings(name):
                message = _unwrapped(opened(setting))
                if message is not None and message.kind == kind:
                    yield message.body

    def named(self, name: str | None) -> "_Context":
        return _Context(self.route, (*self.names, name or ""), self.before)


class HttpFilters:
    """An ordered list of HTTP filters; `seen` collects the checks that were judged."""

    def __init__(self, filters: Sequence[YamlValue], parts: Parts, seen: Seen) -> None:
        self._filters = filters
        self._parts = parts
        self._runtime = parts.runtime
        self._seen = seen

    def possible(self, entry: YamlValue) -> tuple[Message, ...]:
        """Return the filter configurations that may run for an entry of the list."""
        return self._possible(entry).messages

    def verdict(self, route: ForwardingRoute) -> CoverageVerdict:
        """Return the verdict on the filters that process a request of the route before the router."""
        verdicts: list[CoverageVerdict] = []
        before: list[Message] = []
        for place, entry in enumerate(self._filters):
            possible = self._possible(entry)
            if any(message.kind == ROUTER for message in possible.messages):
                verdicts += self._too_late(self._filters[place + 1 :], route)
                verdicts += (_upstream(entry) for _ in possible.messages if CHECK in kinds_in(entry))
                break
            verdicts.append(self._entry(entry, possible, route, before))
            before += possible.messages
        return in_sequence(verdicts)

    def _too_late(self, filters: Sequence[YamlValue], route: ForwardingRoute) -> Iterator[CoverageVerdict]:
        for entry in filters:
            found = self._entry(entry, self._possible(entry), route, ())
            if found.coverage is not Coverage.ABSENT:
                finding = advice.error(
                    entry,
                    "check-after-router",
                    "ext_authz comes after the router: requests are forwarded before they are checked",
                    "move ext_authz before the router, which is the last filter",
                )
                yield CoverageVerdict(Coverage.OPEN, (finding,))

    def _possible(self, entry: YamlValue) -> _Possible:
        discovery = entry.given("config_discovery")
        if discovery is None:
            message = opened(entry.at("typed_config"))
            if (message is None or not message.kind) and "ext_authz" in (entry.word("name") or ""):
                return _Possible((), _unreadable_type(entry))
            return _Possible(() if message is None else (message,))
        return self._discovered(entry.word("name") or "", discovery)

    def _discovered(self, name: str, discovery: YamlValue) -> _Possible:
        found = self._parts.extensions_named(name)
        default = opened(discovery.at("default_config"))
        types = {kind_of(one.text or "") for one in discovery.list("type_urls")}
        unknown = None
        if not found and (not types or types & _MAY_HOLD_A_CHECK):
            unknown = advice.warning(
                discovery,
                "check-unknown",
                f"the configuration of the filter {name!r} comes from a discovery service",
                _GIVE_ALL,
            )
        return _Possible((*found, *([] if default is None else [default])), unknown)

    def _entry(
        self, entry: YamlValue, possible: _Possible, route: ForwardingRoute, before: Sequence[Message]
    ) -> CoverageVerdict:
        name = entry.word("name") or ""
        context = _Context(route, (name,), before)
        verdicts = [self._message(message, context) for message in possible.messages]
        if possible.unknown is not None:
            verdicts.append(CoverageVerdict(Coverage.UNKNOWN, (possible.unknown,)))
        found = as_alternatives(
            verdicts,
            advice.error(
                entry,
                "check-partial",
                "another filter may run in place of the check: the default, or a discovered configuration",
                "make every configuration of this filter the same ext_authz, or write it as typed_config",
            ),
        )
        if found.coverage is Coverage.ABSENT:
            return ABSENT
        if (off := _switched_off(entry, route)) is not None:
            return CoverageVerdict(Coverage.OPEN, (off,))
        if found.coverage is Coverage.CHECKED and not route.is_known:
            return CoverageVerdict(Coverage.UNKNOWN, (_unknown_routes(route.at),))
        return found

    def _message(self, message: Message, context: _Context) -> CoverageVerdict:
        body = message.body
        match message.kind:
            case "ext_authz.ExtAuthz":
                return self._check(body, context)
            case "matching.ExtensionWithMatcher":
                return self._matched(body, context)
            case "composite.Composite":
                override = next(context.per_route(COMPOSITE_PER_ROUTE), None)
                matcher = (body if override is None else override).given("matcher")
                return ABSENT if matcher is None else self._delegated(body, matcher, context)
            case "composite.FilterChainConfiguration":
                return self._several(body.list("typed_config"), context)
            case "filter_chain.FilterChainConfig":
                return self._several(_merged_chain(body, context), context)
            case _:
                return ABSENT

    def _check(self, check: YamlValue, context: _Context) -> CoverageVerdict:
        self._seen.add(check)
        for name in context.names:
            # Only the most specific settings apply; Envoy does not merge `disabled` of the levels.
            per_route = next(_Context(context.route, (name,), ()).per_route(CHECK_PER_ROUTE), None)
            if per_route is not None and (disabled := per_route.unless_false("disabled")) is not None:
                finding = advice.error(
                    disabled, "check-off", "requests on this route are forwarded without a check", _ASK_ALWAYS
                )
                return CoverageVerdict(Coverage.OPEN, (finding,))
        return enabled(check, self._runtime, context.before)

    def _matched(self, body: YamlValue, context: _Context) -> CoverageVerdict:
        inner = body.at("extension_config")
        message = None if inner is None else opened(inner.at("typed_config"))
        if inner is None or message is None:
            return ABSENT
        override = next(context.per_route(MATCHED_PER_ROUTE), None)
        matcher = (body if override is None else override).given("xds_matcher")
        if matcher is None and override is None:
            matcher = body.given("matcher")
        below = context.named(inner.word("name"))
        if message.kind == COMPOSITE:
            return self._delegated(message.body, matcher, below)
        found = self._message(message, below)
        if found.coverage is Coverage.ABSENT:
            return ABSENT
        for action in outcomes(matcher):
            if action is not None and action.kind in {SKIP, ""}:
                finding = advice.error(
                    action.body,
                    "check-partial",
                    "a matcher skips ext_authz for some requests, which are forwarded without a check",
                    "remove the matcher around ext_authz",
                )
                return CoverageVerdict(Coverage.OPEN, (finding,))
        return found

    def _delegated(
        self, composite: YamlValue, matcher: YamlValue | None, context: _Context
    ) -> CoverageVerdict:
        otherwise = advice.error(
            matcher or composite,
            "check-partial",
            "a composite filter runs ext_authz for some requests; the others are forwarded without a check",
            "put ext_authz into http_filters itself",
        )
        verdicts = [self._action(action, composite, context) for action in outcomes(matcher)]
        return as_alternatives(verdicts, otherwise)

    def _action(self, action: Message | None, composite: YamlValue, context: _Context) -> CoverageVerdict:
        if action is None or action.kind != EXECUTE:
            return ABSENT
        body = action.body
        filters = [one for name in ("typed_config",) if (one := body.given(name)) is not None]
        filters += body.list("filter_chain", "typed_config")
        named = composite.at("named_filter_chains")
        chosen = (
            (named.entries or {}).get(body.word("filter_chain_name") or "") if named is not None else None
        )
        filters += () if chosen is None else chosen.list("typed_config")
        if (dynamic := body.given("dynamic_config")) is not None:
            filters.append(dynamic)
        found = self._several(filters, context)
        sample = body.given("sample_percent")
        is_sure = sample is None or (
            self._runtime.share(sample) == 1
            and self._runtime.may_change(sample) is not RuntimeOverride.LAYERS
        )
        if found.coverage is Coverage.ABSENT or is_sure:
            return found
        finding = advice.error(
            sample or body,
            "check-partial",
            "sample_percent runs ext_authz for some requests; the others are forwarded without a check",
            "remove sample_percent",
        )
        return CoverageVerdict(Coverage.OPEN, (finding,))

    def _several(self, filters: Sequence[YamlValue], context: _Context) -> CoverageVerdict:
        verdicts: list[CoverageVerdict] = []
        for one in filters:
            possible = self._possible(one)
            if any(message.kind == ROUTER for message in possible.messages):
                break
            below = context.named(one.word("name"))
            alternatives = [self._message(message, below) for message in possible.messages]
            if possible.unknown is not None:
                alternatives.append(CoverageVerdict(Coverage.UNKNOWN, (possible.unknown,)))
            found = as_alternatives(alternatives, _partly(one))
            if found.coverage is not Coverage.ABSENT and (off := _switched_off(one, context.route)):
                found = CoverageVerdict(Coverage.OPEN, (off,))
            verdicts.append(found)
        return in_sequence(verdicts)


def _upstream(router: YamlValue) -> CoverageVerdict:
    finding = advice.warning(
        router,
        "check-unknown",
        "ext_authz is one of the router's upstream filters, which doctor does not examine",
        "put ext_authz into http_filters itself, before the router",
    )
    return CoverageVerdict(Coverage.UNKNOWN, (finding,))


def _partly(at: YamlValue) -> Finding:
    return advice.error(
        at, "check-partial", "only some configurations of this filter are a check", "write it as typed_config"
    )


def _unwrapped(message: Message | None) -> Message | None:
    if message is not None and message.kind == FILTER_CONFIG:
        return opened(message.body.at("config"))
    return message


def _switched_off(entry: YamlValue, route: ForwardingRoute) -> Finding | None:
    """Return a finding if a filter is disabled by the most specific per-route settings, or by its entry."""
    for setting in route.settings(entry.word("name") or ""):
        message = opened(setting)
        off = None
        if message is not None and message.kind == FILTER_CONFIG:
            off = message.body.unless_false("disabled")
        if off is None:
            return None
        return advice.error(
            off, "check-off", "requests on this route are forwarded without a check", _ASK_ALWAYS
        )
    if (off := entry.unless_false("disabled")) is not None:
        return advice.error(
            off,
            "check-off",
            "the ext_authz filter is disabled, and some routes do not enable it: their requests are not "
            "checked",
            "remove `disabled` from the filter",
        )
    return None


def _unknown_routes(at: YamlValue) -> Finding:
    return advice.warning(
        at,
        "check-unknown",
        "the files do not define the routes: whether one of them disables the check is unknown",
        _GIVE_ALL,
    )


def _unreadable_type(entry: YamlValue) -> Finding:
    return advice.warning(
        entry,
        "check-unknown",
        f"the filter {entry.word('name')!r} has no configuration with an @type",
        "write typed_config with the @type of envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    )


def _merged_chain(body: YamlValue, context: _Context) -> list[YamlValue]:
    """Return the filters of a chain; a filter of a more specific chain replaces one of the same name."""
    chains = [body.list("default_filter_chain", "filters")]
    # Envoy runs the chains in this order, the least specific first.
    chains += reversed([one.list("filter_chain", "filters") for one in context.per_route(CHAIN_PER_ROUTE)])
    found: list[YamlValue] = []
    for place, chain in enumerate(chains):
        later = {one.word("name") for below in chains[place + 1 :] for one in below}
        found += [one for one in chain if one.word("name") not in later]
    return found
