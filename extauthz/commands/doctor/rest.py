"""Examines the REST listeners: what can be reached in the clear, and whether certificates can be used.

Input: `Settings`. Output: findings. `serve` and `control-plane` serve the REST API and keep policies in
PostgreSQL; with another source of policies nothing of it is served.
"""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from extauthz.commands.doctor.finding import finding
from extauthz.domain.loopback import is_loopback
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.runtime.tls_files import CertificateFiles, InvalidCertificateError
from extauthz.settings import PostgresSource, Settings

_SOON: Final = datetime.timedelta(days=7)


def examine_rest(settings: Settings) -> Iterator[Finding]:
    """Yield the findings of PORT and ADMIN_PORT."""
    if isinstance(settings.policy_source, PostgresSource):
        yield from _in_the_clear(settings)
    pairs = {
        "GRPC_TLS": (settings.grpc_tls_cert, settings.grpc_tls_key, settings.grpc_tls_client_ca),
        "REST_TLS": (settings.rest_tls_cert, settings.rest_tls_key, settings.rest_tls_client_ca),
        "ADMIN_TLS": (settings.admin_tls_cert, settings.admin_tls_key, settings.admin_tls_client_ca),
    }
    for name, (chain, key, client_ca) in pairs.items():
        if chain is not None and key is not None and _are_files(chain, key, client_ca):
            yield from _certificate(name, chain, key, client_ca)


def _in_the_clear(settings: Settings) -> Iterator[Finding]:
    is_apart = settings.admin_port is not None
    if not is_loopback(settings.host) and settings.rest_tls_cert is None:
        what = "keys and tokens" if is_apart else "keys and tokens, the operator's for /admin among them,"
        yield finding(
            Severity.WARNING,
            "rest-in-plaintext",
            f"HOST={settings.host} without TLS: where serve or control-plane runs, {what} that are sent to "
            f"PORT {settings.port} can be read",
            "set REST_TLS_CERT and REST_TLS_KEY, or leave it to a mesh with STRICT mTLS",
        )
    admin_host = settings.admin_host or settings.host
    if not is_apart:
        if not is_loopback(settings.host) and settings.admin_api_key is not None:
            yield finding(
                Severity.INFO,
                "admin-with-api",
                f"/admin and the REST API are on one port, {settings.port}: clients of one reach the other",
                "set ADMIN_PORT, and open it to administrators only",
            )
    elif not is_loopback(admin_host) and settings.rest_tls_cert is None and settings.admin_tls_cert is None:
        yield finding(
            Severity.WARNING,
            "admin-in-plaintext",
            f"ADMIN_PORT {settings.admin_port} listens on {admin_host} without TLS: the operator's key can "
            "be read",
            "set ADMIN_TLS_CERT and ADMIN_TLS_KEY, or ADMIN_HOST=127.0.0.1",
        )


def _are_files(*paths: Path | None) -> bool:
    # A file that is missing has a finding of its own.
    return all(path is None or path.is_file() for path in paths)


def _certificate(name: str, chain: Path, key: Path, client_ca: Path | None) -> Iterator[Finding]:
    try:
        identity = CertificateFiles(chain, key, client_ca).read()
    except InvalidCertificateError as error:
        yield finding(
            Severity.ERROR,
            "certificate-unusable",
            f"{name}_CERT, {name}_KEY: {error}",
            "name a certificate chain in PEM, leaf first, and its private key",
        )
        return
    leaf = x509.load_pem_x509_certificates(identity.certificate_chain)[0]
    left = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    if left < _SOON:
        is_over = left < datetime.timedelta()
        yield finding(
            Severity.ERROR if is_over else Severity.WARNING,
            "certificate-expires",
            f"the certificate of {name}_CERT {'expired' if is_over else 'expires'} at "
            f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "replace certificate and key; a running process takes them over",
        )
