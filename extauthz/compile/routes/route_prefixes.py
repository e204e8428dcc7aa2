"""Prefixes of host and path that a registrar may claim routes under.

    api.acme.example/invoices    below one host            *.acme.example/invoices    below its subdomains
    /invoices                    on every host

Compared as whole literal segments: `/invoices` holds `/invoices`, `/invoices/{id}` and `/invoices/**`, never
`/invoices-old`, `/{any}` or `/**`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from extauthz.compile.routes.route_index import Template
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.path import CanonicalPath, PathRejected
from extauthz.domain.policy import Route


@dataclass(frozen=True, slots=True)
class RoutePrefix:
    """A parsed prefix. `host` is None for every host, `*.suffix` for subdomains."""

    host: str | None
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self | str:
        """Return the prefix of a text, or what is wrong with the text."""
        raw_host, slash, raw_path = text.partition("/")
        host: str | None = None
        if raw_host:
            found = canonical_host(raw_host.removeprefix("*."))
            if isinstance(found, HostRejected):
                return f"the host is invalid: {found.reason}"
            host = f"*.{found}" if raw_host.startswith("*.") else found
        if not slash:
            return "a path is needed after the host; '/' is every path"
        path = CanonicalPath.parse("/" + raw_path)
        if isinstance(path, PathRejected):
            return f"the path is not literal and canonical: {path.reason}"
        # With or without a final slash, a prefix means the paths below it.
        segments = path.segments[:-1] if path.segments[-1] == "" else path.segments
        if any("*" in segment for segment in segments):
            return "the path has a wildcard; a prefix covers every path below it"
        return cls(host, segments)

    @property
    def text(self) -> str:
        """Return the canonical spelling."""
        return f"{self.host or ''}/{'/'.join(self.segments)}"

    def covers_host(self, host: str | None) -> bool:
        """Tell whether every host of a route or prefix is a host of this prefix."""
        if self.host is None or host == self.host:
            return True
        if host is None or not self.host.startswith("*."):
            return False
        return host.removeprefix("*.").endswith(self.host[1:]) and host.removeprefix("*.") != self.host[2:]

    def covers(self, other: Self) -> bool:
        """Tell whether another prefix lies within this one."""
        return self.covers_host(other.host) and other.segments[: len(self.segments)] == self.segments

    def covers_route(self, route: Route) -> bool:
        """Tell whether every request that a route matches is below this prefix."""
        template = Template.parse(route.path)
        assert isinstance(template, Template), "routes are checked when their document is read"
        return self.covers_host(route.host) and template.segments[: len(self.segments)] == self.segments


def read_prefixes(texts: Sequence[str]) -> tuple[RoutePrefix, ...]:
    """Return the prefixes of a stored key; one that cannot be read covers nothing."""
    found = (RoutePrefix.parse(text) for text in texts)
    return tuple(prefix for prefix in found if isinstance(prefix, RoutePrefix))
