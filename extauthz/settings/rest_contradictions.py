"""Checks across the settings of the REST listeners.

Input: the settings. Output: problems, each with the variables that it is about.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extauthz.settings.variables import Settings


def rest_contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    """Yield the names of variables (separated by spaces) and the problem between them, with its fix."""
    if (settings.rest_tls_cert is None) != (settings.rest_tls_key is None):
        yield "REST_TLS_CERT REST_TLS_KEY", "REST_TLS_CERT and REST_TLS_KEY go together; set both or none"
    if settings.rest_tls_client_ca is not None and settings.rest_tls_cert is None:
        yield "REST_TLS_CLIENT_CA REST_TLS_CERT", "REST_TLS_CLIENT_CA needs REST_TLS_CERT and REST_TLS_KEY"
    if settings.rest_tls_client_sans and settings.rest_tls_client_ca is None:
        yield "REST_TLS_CLIENT_SANS REST_TLS_CLIENT_CA", "REST_TLS_CLIENT_SANS needs REST_TLS_CLIENT_CA"
    if settings.admin_port is None:
        yield from _without_port(settings)
        return
    yield from _admin_tls(settings)
    yield from _same_port(settings, settings.admin_port)


def _without_port(settings: "Settings") -> Iterator[tuple[str, str]]:
    given = {
        "ADMIN_HOST": settings.admin_host,
        "ADMIN_TLS_CERT": settings.admin_tls_cert,
        "ADMIN_TLS_KEY": settings.admin_tls_key,
        "ADMIN_TLS_CLIENT_CA": settings.admin_tls_client_ca,
        "ADMIN_TLS_CLIENT_SANS": settings.admin_tls_client_sans or None,
    }
    for name in (name for name, value in given.items() if value is not None):
        yield f"{name} ADMIN_PORT", f"{name} is for ADMIN_PORT, which is not set; set both or none"


def _admin_tls(settings: "Settings") -> Iterator[tuple[str, str]]:
    if (settings.admin_tls_cert is None) != (settings.admin_tls_key is None):
        yield "ADMIN_TLS_CERT ADMIN_TLS_KEY", "ADMIN_TLS_CERT and ADMIN_TLS_KEY go together; set both or none"
    has_certificate = settings.admin_tls_cert is not None or settings.rest_tls_cert is not None
    if settings.admin_tls_client_ca is not None and not has_certificate:
        yield (
            "ADMIN_TLS_CLIENT_CA ADMIN_TLS_CERT REST_TLS_CERT",
            "ADMIN_TLS_CLIENT_CA needs ADMIN_TLS_CERT and ADMIN_TLS_KEY",
        )
    has_ca = settings.admin_tls_client_ca is not None or settings.rest_tls_client_ca is not None
    if settings.admin_tls_client_sans and not has_ca:
        yield (
            "ADMIN_TLS_CLIENT_SANS ADMIN_TLS_CLIENT_CA REST_TLS_CLIENT_CA",
            "ADMIN_TLS_CLIENT_SANS needs ADMIN_TLS_CLIENT_CA",
        )


def _same_port(settings: "Settings", port: int) -> Iterator[tuple[str, str]]:
    """Yield a problem for each port of this process that ADMIN_PORT would take on the same address."""
    if port == 0:
        return
    host = settings.admin_host or settings.host
    if port == settings.port and _overlap(host, settings.host):
        yield (
            "ADMIN_PORT PORT",
            (
                f"ADMIN_PORT and PORT are both {port}; choose another port, or unset ADMIN_PORT: "
                "/admin is on PORT then"
            ),
        )
    if port == settings.sidecar_port and _overlap(host, settings.host):
        yield "ADMIN_PORT SIDECAR_PORT", f"ADMIN_PORT and SIDECAR_PORT are both {port}; choose another port"
    in_use = {"HTTP_AUTHZ_PORT": settings.http_authz_port}
    if settings.grpc_uds_dir is None:
        in_use["GRPC_PORT"] = settings.grpc_port
    for name, first in in_use.items():
        if first is not None and 0 <= port - first < settings.workers and _overlap(host, settings.grpc_host):
            yield (
                f"ADMIN_PORT {name} WORKERS",
                f"ADMIN_PORT {port} is a port of {name} (one per worker, from {first}); choose another port",
            )


def _overlap(one: str, other: str) -> bool:
    return one == other or any(map(_is_every_address, (one, other)))


def _is_every_address(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
