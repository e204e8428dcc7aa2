"""Examines the settings, and the files that they name."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from extauthz.commands.doctor.finding import finding
from extauthz.commands.doctor.rest import examine_rest
from extauthz.domain.loopback import is_loopback
from extauthz.domain.tenancy import TenantBinding
from extauthz.keys.assertion_file import AssertionFile
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.publish.files import PolicyDirectory
from extauthz.runtime.policies import policy_reading, role_model
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import CorsPreflight, FilesSource, Settings, StaleAction, misspelt, variables
from extauthz.settings.decision_log_values import OTLP

_PLACES: Final = {
    "GRPC_TLS_CERT": "grpc_tls_cert",
    "GRPC_TLS_KEY": "grpc_tls_key",
    "GRPC_TLS_CLIENT_CA": "grpc_tls_client_ca",
    "POSTGRES_SSLROOTCERT": "postgres_sslrootcert",
    "OIDC_CA_FILE": "oidc_ca_file",
    "ASSERTION_KEY_FILE": "assertion_key_file",
    "REST_TLS_CERT": "rest_tls_cert",
    "REST_TLS_KEY": "rest_tls_key",
    "REST_TLS_CLIENT_CA": "rest_tls_client_ca",
    "ADMIN_TLS_CERT": "admin_tls_cert",
    "ADMIN_TLS_KEY": "admin_tls_key",
    "ADMIN_TLS_CLIENT_CA": "admin_tls_client_ca",
}
_MOST_POLICY_PROBLEMS: Final = 20
_COMMON: Final = frozenset({"HOST", "PORT", "MODE", "WORKERS", "LOG_LEVEL", "LOG_FORMAT"})


def are_given(environ: Mapping[str, str]) -> bool:
    """Whether the environment holds anything of ours; names that other programs use too do not count."""
    names = {variable.name for variable in variables().values()} - _COMMON
    return any(environ.get(name) or environ.get(f"{name}_FILE") for name in names)


def examine_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[Finding]:
    """Name every problem that loading found, and every variable that is not read."""
    for problem in problems:
        yield finding(
            Severity.ERROR,
            "setting",
            problem,
            "change it as it says; docs/configuration.md lists every variable",
        )
    for name, meant in misspelt(environ).items():
        yield finding(Severity.WARNING, "variable-unknown", f"{name} is not read by extauthz", meant)
    for variable in variables().values():
        named = environ.get(f"{variable.name}_FILE") if variable.secret else None
        if named and _is_world_readable(Path(named)):
            yield finding(
                Severity.WARNING,
                "secret-file-open",
                f"{variable.name}_FILE {named!r} can be read by every user of this machine",
                "chmod 0400 it, for the user that runs extauthz (Kubernetes: defaultMode 0400)",
            )


def _is_world_readable(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """Examine settings that can be used."""
    yield from _identity(settings)
    yield from _listener(settings)
    yield from examine_rest(settings)
    yield from _files(settings)
    yield from _policies(settings)


def _identity(settings: Settings) -> Iterator[Finding]:
    if not settings.oidc_enabled:
        yield finding(
            Severity.INFO,
            "tokens-not-read",
            "OIDC_ENABLED=false: only service keys identify a caller",
            "set OIDC_ENABLED=true and AUTH_SERVER_URL to accept tokens",
        )
    elif settings.auth_server_url is not None and settings.oidc_audience is None:
        yield finding(
            Severity.WARNING,
            "audience-any",
            "OIDC_AUDIENCE=any: a token that the issuer made for any other service is good here too",
            "set OIDC_AUDIENCE to the audience of your own services",
        )
    if settings.cors_preflight is CorsPreflight.POLICY:
        yield finding(
            Severity.INFO,
            "preflights-allowed",
            "CORS_PREFLIGHT=policy: a body without Content-Length is seen only where the check includes it",
            "take the route for OPTIONS over that extauthz envoy-config prints",
        )
    if settings.tenant_binding is TenantBinding.TOKEN:
        yield finding(
            Severity.WARNING,
            "tenant-from-token",
            "TENANT_BINDING=token: a target that no host names belongs to the tenant of the caller",
            "keep it only if every upstream isolates by x-auth-tenant; else give tenants their hosts",
        )


def _listener(settings: Settings) -> Iterator[Finding]:
    if settings.grpc_uds_dir is not None or is_loopback(settings.grpc_host):
        return
    if settings.grpc_tls_cert is None:
        yield finding(
            Severity.WARNING,
            "checks-in-plaintext",
            f"GRPC_HOST={settings.grpc_host} without TLS: checks, and the tokens in them, can be read",
            "set GRPC_TLS_CERT, GRPC_TLS_KEY and GRPC_TLS_CLIENT_CA, or leave it to a mesh with STRICT mTLS",
        )
    elif settings.grpc_tls_client_ca is None:
        yield finding(
            Severity.WARNING,
            "checks-from-anybody",
            f"GRPC_HOST={settings.grpc_host} without GRPC_TLS_CLIENT_CA: every client of the port may ask",
            "set GRPC_TLS_CLIENT_CA, and GRPC_TLS_CLIENT_SANS to the names of your proxies",
        )


def _files(settings: Settings) -> Iterator[Finding]:
    for name, field in _PLACES.items():
        path: Path | None = getattr(settings, field)
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            yield finding(
                Severity.ERROR, "file-missing", f"{name} {str(path)!r} cannot be read", "mount the file there"
            )
    for name in ("GRPC_TLS_KEY", "REST_TLS_KEY", "ADMIN_TLS_KEY", "ASSERTION_KEY_FILE"):
        key: Path | None = getattr(settings, _PLACES[name])
        if key is not None and _is_world_readable(key):
            yield finding(
                Severity.WARNING,
                "secret-file-open",
                f"{name} {str(key)!r} can be read by every user of this machine",
                "chmod 0400 it, for the user that runs extauthz (Kubernetes: defaultMode 0400)",
            )
    yield from _assertion_keys(settings)
    folders = {"GRPC_UDS_DIR": settings.grpc_uds_dir}
    if settings.decision_log not in {"stdout", OTLP}:
        folders["DECISION_LOG"] = Path(settings.decision_log).absolute().parent
    for name, folder in folders.items():
        if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            yield finding(
                Severity.ERROR,
                "file-missing",
                f"{name} needs the folder {str(folder)!r}, which is not there or not writable",
                "create it, writable for the user that runs extauthz",
            )


def _assertion_keys(settings: Settings) -> Iterator[Finding]:
    if settings.assertion_key_file is None or not os.access(settings.assertion_key_file, os.R_OK):
        return
    if problem := AssertionFile(settings.assertion_key_file).load():
        yield finding(
            Severity.ERROR,
            "assertion-key",
            problem,
            "make one with `openssl genpkey -algorithm ed25519`, or with "
            "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`",
        )


def _policies(settings: Settings) -> Iterator[Finding]:
    if settings.policy_stale_action is StaleAction.SERVE:
        yield finding(
            Severity.WARNING,
            "policies-served-stale",
            "POLICY_STALE_ACTION=serve: cut off from the database, revoked rights stay in force without end",
            "set POLICY_STALE_ACTION=deny, and POLICY_MAX_STALENESS to how long you can bear it",
        )
    try:
        model = role_model(settings)
    except StartRefusedError as refused:
        yield finding(
            Severity.ERROR,
            "model-unusable",
            str(refused),
            "unset CASBIN_MODEL_PATH, or name a model that can be compiled",
        )
        return
    if not isinstance(settings.policy_source, FilesSource):
        return
    reading = policy_reading(settings)
    directory = PolicyDirectory(
        settings.policy_source.directory, reading, model, max_bytes=settings.policy_max_bytes
    )
    try:
        found = directory.load(1)
    except OSError as error:
        found_problems = [f"{error.filename}: {error.strerror}"]
    else:
        found_problems = [str(problem) for problem in found] if isinstance(found, list) else []
    for problem in found_problems[:_MOST_POLICY_PROBLEMS]:
        yield finding(
            Severity.ERROR, "policies-unusable", f"POLICY_SOURCE: {problem}", "mend the document as it says"
        )
    for warning in directory.warnings[:_MOST_POLICY_PROBLEMS]:
        yield finding(
            Severity.WARNING,
            "policies-likely-mistaken",
            f"POLICY_SOURCE: {warning}",
            "write what the message names, or take the condition or the route out",
        )
