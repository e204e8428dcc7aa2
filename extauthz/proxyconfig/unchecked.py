"""Decides how serious each route or entrance is that forwards requests without a check.

Input: the entrances of one configuration with their verdicts. Output: findings. A workload is protected if a
route with a check forwards to it. Another route to a protected workload without a check is an error. A route
without a check to an unprotected workload, in a configuration that checks others, is a warning: the control
plane's REST API, for example, authorizes its callers itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.coverage import Coverage
from extauthz.proxyconfig.entrances import Entrance, leads_to_workload
from extauthz.proxyconfig.envoy_parts import Parts
from extauthz.proxyconfig.envoy_routes import ForwardingRoute
from extauthz.proxyconfig.findings import Finding, Severity

_PROBES: Final = re.compile(
    r"(?:/[a-z0-9_-]+)*/(?:healthz?|ready|readyz|livez?|live|liveness|readiness|metrics|prometheus|stats)"
)

_Target = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """All entrances of one configuration; `is_protecting`: it mentions ext_authz or extauthz."""

    entrances: Sequence[Entrance]
    parts: Parts
    is_protecting: bool

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each route or entrance that forwards to a workload without a check."""
        protected = self._protected()
        reported: set[int] = set()
        for entrance in self.entrances:
            yield from entrance.findings
            forwarding = [
                (route, verdict)
                for route, verdict in entrance.results
                if leads_to_workload(route, self.parts)
            ]
            if not forwarding:
                continue
            if entrance.has_check:
                yield from self._routes(entrance, protected)
            elif id(entrance.group) not in reported:
                found = self._missing(entrance, [route for route, _ in forwarding], protected)
                if found is not None:
                    # One finding per listener, not one per filter chain.
                    reported.add(id(entrance.group))
                    yield found

    def _protected(self) -> frozenset[_Target]:
        found: set[_Target] = set()
        for entrance in self.entrances:
            for route in entrance.checked():
                found |= self.parts.targets(route.clusters or ())
        return frozenset(found)

    def _routes(self, entrance: Entrance, protected: frozenset[_Target]) -> Iterator[Finding]:
        causes: dict[Finding, list[ForwardingRoute]] = {}
        for route, verdict in entrance.results:
            if verdict.coverage is Coverage.CHECKED or not leads_to_workload(route, self.parts):
                continue
            for finding in verdict.findings or (_no_filter(entrance),):
                causes.setdefault(finding, []).append(route)
        checks_others = any(True for _ in entrance.checked())
        for finding, routes in causes.items():
            is_apart = checks_others and all(
                route.clusters is not None and not self.parts.targets(route.clusters) & protected
                for route in routes
            )
            is_milder = finding.severity is Severity.ERROR and is_apart
            yield replace(finding, severity=Severity.WARNING) if is_milder else finding

    def _missing(
        self, entrance: Entrance, routes: Sequence[ForwardingRoute], protected: frozenset[_Target]
    ) -> Finding | None:
        names = [name for route in routes for name in route.clusters or ()]
        is_shared = bool(self.parts.targets(names) & protected)
        if not entrance.is_http:
            # A TCP connection to its original destination does not count as one to a protected cluster.
            is_shared = is_shared and not any(map(self.parts.is_passthrough, names))
        if entrance.is_outbound and not is_shared:
            return None
        if not is_shared and routes and all(map(_is_probe, routes)):
            return None
        is_only_way = self.is_protecting and not protected
        is_error = (is_shared and not entrance.is_outbound) or (is_only_way and entrance.is_http)
        found = _no_filter(entrance)
        return found if is_error else replace(found, severity=Severity.WARNING)


def _is_probe(route: ForwardingRoute) -> bool:
    return route.path is not None and _PROBES.fullmatch(route.path.lower()) is not None


def _no_filter(entrance: Entrance) -> Finding:
    what = "requests are" if entrance.is_http else "connections are"
    return advice.error(
        entrance.at,
        "check-missing",
        f"no ext_authz filter: {what} forwarded without a check",
        "add the ext_authz filter before the router, as `extauthz envoy-config` prints it",
    )
