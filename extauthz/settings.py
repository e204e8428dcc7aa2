"""Every environment variable, read once; all problems are reported in one message.

Each secret also accepts `NAME_FILE`, a file whose content (without a final line end) is the value.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from extauthz.compile.directory import TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.spelling import nearest

_T = TypeVar("_T")
_Word = TypeVar("_Word", bound=StrEnum)


class GrpcServer(StrEnum):
    """Which server answers gRPC checks; `auto` is the best one installed."""

    AUTO = "auto"
    GRPCIO = "grpcio"


class StaleAction(StrEnum):
    """What happens past `POLICY_MAX_STALENESS`: deny, or go on with the last good policies."""

    DENY = "deny"
    SERVE = "serve"


class OverflowAction(StrEnum):
    """What happens to decisions that the log cannot take (`DECISION_LOG_ON_OVERFLOW`).

    `drop`: they are made all the same and counted; lines that meet a write error are lost and counted.
    `deny`: the service denies them; lines that meet a write error are kept and tried again, so that
    their slots run out while the disk is full.
    """

    DROP = "drop"
    DENY = "deny"


class SslMode(StrEnum):
    """libpq's `sslmode`, without the two that silently fall back."""

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class LogFormat(StrEnum):
    """How application logs look on stderr."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe application log that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class UnusableValueError(ValueError):
    """A value that a setting cannot have; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: how its text is read, what it is when unset, what it means.

    `default` is the text that unset means; without one an unset variable is None.
    """

    name: str
    read: Callable[[str], object]
    default: str | None
    meaning: str
    secret: bool = False


def _variable(
    name: str, read: Callable[[str], _T], default: str | None, meaning: str, *, secret: bool = False
) -> Any:
    """Declare a variable; its value is filled in by `Settings.load`, so the declared type is a promise."""
    variable = Variable(name, read, default, meaning, secret)
    return field(metadata={"variable": variable})


def _text(value: str) -> str:
    if "\0" in value or not value.strip():
        raise UnusableValueError("a text that is not blank")
    return value


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _flag(value: str) -> bool:
    match value.strip().lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise UnusableValueError("true or false")


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 12) or not lowest <= int(text) <= highest:
            raise UnusableValueError(f"an integer from {lowest} to {highest}")
        return int(text)

    return read


def _seconds(lowest: float, highest: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not lowest <= number <= highest:
            raise UnusableValueError(f"seconds from {lowest:.12g} to {highest:.12g}")
        return number

    return read


def _one_of(words: type[_Word]) -> Callable[[str], _Word]:
    def read(value: str) -> _Word:
        for word in words:
            if word.value == value.strip().lower():
                return word
        raise UnusableValueError("one of " + ", ".join(word.value for word in words))

    return read


def _url(value: str) -> str:
    scheme, separator, rest = value.strip().partition("://")
    authority = rest.split("/", 1)[0]
    usable = scheme in {"http", "https"} and separator and "@" not in authority
    if (
        not usable
        or isinstance(canonical_host(authority), HostRejected)
        or any(c.isspace() for c in value.strip())
    ):
        raise UnusableValueError("an http or https URL without credentials in it")
    return value.strip()


def _host_ports(value: str) -> frozenset[str]:
    found = _names(value)
    for entry in found:
        _, colon, port = entry.rpartition(":")
        if not colon or not port.isdigit() or isinstance(canonical_host(entry), HostRejected):
            raise UnusableValueError("host:port, several separated by commas")
    return frozenset(entry.lower() for entry in found)


_FORBIDDEN_HEADERS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "set-cookie",
        "proxy-authorization",
        "x-service-api-key",
        "x-admin-api-key",
        "x-api-key",
        "x-envoy-original-path",
    }
)


def _headers(value: str) -> frozenset[str]:
    found = frozenset(name.lower() for name in _names(value))
    for name in sorted(found):
        if name in _FORBIDDEN_HEADERS or name.startswith(("x-forwarded-", "x-auth-")):
            raise UnusableValueError(
                f"{name!r} cannot be listed: it carries a credential, or the client can forge it"
            )
        if not all(character.isalnum() or character == "-" for character in name) or not name.isascii():
            raise UnusableValueError(f"{name!r} is not a header name of letters, digits and '-'")
    return found


def _token_header(value: str) -> str:
    name = value.strip().lower()
    if name in _FORBIDDEN_HEADERS - {"x-api-key"} or name.startswith(("x-forwarded-", "x-auth-", "x-envoy-")):
        raise UnusableValueError("a header of its own, which no other part of extauthz or Envoy reads")
    if not name or not name.isascii() or not all(each.isalnum() or each == "-" for each in name):
        raise UnusableValueError("a header name of letters, digits and '-'")
    return name


def _cookie(value: str) -> str:
    # RFC 6265 4.1.1: a token (RFC 9110 5.6.2).
    name = value.strip()
    if (
        not name
        or not name.isascii()
        or not all(each.isalnum() or each in "!#$%&'*+-.^_`|~" for each in name)
    ):
        raise UnusableValueError("the name of a cookie")
    return name


def _audiences(value: str) -> tuple[str, ...] | None:
    found = _names(value)
    if not found:
        raise UnusableValueError("the audience that tokens are issued for, or 'any'")
    return None if found == ("any",) else found


@dataclass(frozen=True, slots=True)
class FilesSource:
    """`POLICY_SOURCE=files:DIR`."""

    directory: Path


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """`POLICY_SOURCE=postgres`."""


def _policy_source(value: str) -> FilesSource | PostgresSource:
    if value.strip() == "postgres":
        return PostgresSource()
    kind, colon, directory = value.partition(":")
    if kind == "files" and colon and directory:
        return FilesSource(Path(directory))
    raise UnusableValueError("'postgres' or 'files:DIR'")


def _path(value: str) -> Path:
    if "\0" in value or not value.strip():
        raise UnusableValueError("the path of a file or folder")
    return Path(value)


def _admin_key(value: str) -> str:
    if len(value.encode("utf-8", "surrogateescape")) < 32:
        raise UnusableValueError("a secret of 32 bytes or more")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration of one process, checked."""

    mode: TenancyMode = _variable("MODE", _one_of(TenancyMode), "selfhost", "one tenant, or many")
    tenants: tuple[str, ...] = _variable("TENANTS", _names, "", "tenants this sidecar serves; empty: all")
    tenant_binding: TenantBinding = _variable(
        "TENANT_BINDING", _one_of(TenantBinding), "host", "who owns a target that no host names (saas)"
    )
    host: str = _variable("HOST", _text, "127.0.0.1", "address of the REST API, health and metrics")
    port: int = _variable("PORT", _integer(0, 65535), "8080", "port of the REST API")
    sidecar_port: int = _variable(
        "SIDECAR_PORT", _integer(0, 65535), "9190", "the sidecar's health and metrics"
    )
    grpc_host: str = _variable("GRPC_HOST", _text, "127.0.0.1", "address of the gRPC listeners")
    grpc_port: int = _variable("GRPC_PORT", _integer(1, 65535), "9191", "worker i listens on this port + i")
    grpc_uds_dir: Path | None = _variable("GRPC_UDS_DIR", _path, None, "Unix sockets here instead of ports")
    grpc_server: GrpcServer = _variable(
        "GRPC_SERVER", _one_of(GrpcServer), "auto", "which gRPC server answers"
    )
    grpc_tls_cert: Path | None = _variable(
        "GRPC_TLS_CERT", _path, None, "certificate chain of the gRPC listener"
    )
    grpc_tls_key: Path | None = _variable("GRPC_TLS_KEY", _path, None, "private key of the gRPC listener")
    grpc_tls_client_ca: Path | None = _variable(
        "GRPC_TLS_CLIENT_CA", _path, None, "proxies must present its certificates"
    )
    grpc_tls_client_sans: tuple[str, ...] = _variable(
        "GRPC_TLS_CLIENT_SANS", _names, "", "only proxies with one of these names"
    )
    http_authz_port: int | None = _variable(
        "HTTP_AUTHZ_PORT", _integer(1, 65535), None, "worker i answers HTTP ext_authz on this port + i"
    )
    workers: int = _variable("WORKERS", _integer(1, 64), "1", "sidecar worker processes")
    postgres_host: str = _variable("POSTGRES_HOST", _text, "127.0.0.1", "database host")
    postgres_port: int = _variable("POSTGRES_PORT", _integer(1, 65535), "5432", "database port")
    postgres_user: str = _variable("POSTGRES_USER", _text, "extauthz", "database user")
    postgres_password: str | None = _variable("POSTGRES_PASSWORD", _text, None, "its password", secret=True)
    postgres_db: str = _variable("POSTGRES_DB", _text, "extauthz", "database name")
    postgres_sslmode: SslMode | None = _variable(
        "POSTGRES_SSLMODE", _one_of(SslMode), None, "libpq's sslmode; unset: require off loopback"
    )
    postgres_sslrootcert: Path | None = _variable("POSTGRES_SSLROOTCERT", _path, None, "CA of the database")
    migrate_on_start: bool = _variable("MIGRATE_ON_START", _flag, "false", "apply migrations before serving")
    oidc_enabled: bool = _variable("OIDC_ENABLED", _flag, "true", "whether tokens are read at all")
    auth_server_url: str | None = _variable("AUTH_SERVER_URL", _url, None, "the issuer of tokens (selfhost)")
    jwks_uri: str | None = _variable("JWKS_URI", _url, None, "its keys; unset: discovered from the issuer")
    oidc_audience: tuple[str, ...] | None = _variable(
        "OIDC_AUDIENCE", _audiences, None, "the audience of tokens, or 'any'"
    )
    oidc_ca_file: Path | None = _variable("OIDC_CA_FILE", _path, None, "CA of the identity provider")
    roles_claim: str = _variable("ROLES_CLAIM", _text, "realm_access.roles", "where tokens carry roles")
    domain_claim: str = _variable("DOMAIN_CLAIM", _text, "dom", "where tokens carry the domain")
    admin_domain_claim: str = _variable(
        "ADMIN_DOMAIN_CLAIM", _text, "adm", "domains that the bearer administers; '*': the tenant"
    )
    excluded_roles: tuple[str, ...] = _variable(
        "EXCLUDED_ROLES", _names, "offline_access,uma_authorization", "token roles that do not count"
    )
    jwks_allow_hosts: frozenset[str] = _variable(
        "JWKS_ALLOW_HOSTS", _host_ports, "", "host:port of providers that may be http or private"
    )
    jwks_max_staleness: float = _variable(
        "JWKS_MAX_STALENESS", _seconds(60, 30 * 86400), "86400", "how long keys are trusted without a fetch"
    )
    token_max_bytes: int = _variable("TOKEN_MAX_BYTES", _integer(256, 1048576), "16384", "longest token read")
    token_leeway: float = _variable("TOKEN_LEEWAY", _seconds(0, 30), "0", "clock difference tolerated")
    token_max_lifetime: float | None = _variable(
        "TOKEN_MAX_LIFETIME", _seconds(1, 10 * 365 * 86400), None, "longest time from iat to exp"
    )
    token_header: str | None = _variable(
        "TOKEN_HEADER", _token_header, None, "a header that may carry a bare token instead of Authorization"
    )
    token_cookie: str | None = _variable(
        "TOKEN_COOKIE", _cookie, None, "a cookie that may carry a token instead of Authorization"
    )
    trust_jwt_authn_metadata: str | None = _variable(
        "TRUST_JWT_AUTHN_METADATA",
        _text,
        None,
        "payload_in_metadata of Envoy's jwt_authn, believed as verified",
    )
    mtls_principals: bool = _variable(
        "MTLS_PRINCIPALS", _flag, "false", "a verified peer is a principal when there is no other credential"
    )
    admin_api_key: str | None = _variable(
        "ADMIN_API_KEY", _admin_key, None, "the operator's key, 32 bytes or more", secret=True
    )
    unmapped: UnmappedPolicy = _variable(
        "UNMAPPED", _one_of(UnmappedPolicy), "deny", "what a request without a route is"
    )
    condition_headers: frozenset[str] = _variable(
        "CONDITION_HEADERS", _headers, "", "request headers that conditions may name"
    )
    casbin_model_path: Path | None = _variable("CASBIN_MODEL_PATH", _path, None, "another Casbin model")
    policy_source: FilesSource | PostgresSource = _variable(
        "POLICY_SOURCE", _policy_source, "postgres", "where policies come from: postgres or files:DIR"
    )
    policy_poll_interval: float = _variable(
        "POLICY_POLL_INTERVAL", _seconds(0.1, 300), "5", "seconds between polls of the database"
    )
    policy_max_staleness: float = _variable(
        "POLICY_MAX_STALENESS", _seconds(1, 86400 * 365), "900", "oldest policies that decide"
    )
    policy_stale_action: StaleAction = _variable(
        "POLICY_STALE_ACTION", _one_of(StaleAction), "deny", "what happens past that age"
    )
    decision_log: str = _variable("DECISION_LOG", _text, "stdout", "stdout or the path of a file")
    decision_log_on_overflow: OverflowAction = _variable(
        "DECISION_LOG_ON_OVERFLOW", _one_of(OverflowAction), "drop", "what happens when the log is full"
    )
    log_level: LogLevel = _variable("LOG_LEVEL", _one_of(LogLevel), "info", "application logs on stderr")
    log_format: LogFormat = _variable("LOG_FORMAT", _one_of(LogFormat), "json", "application logs on stderr")

    @classmethod
    def load(cls, environ: Mapping[str, str], *, serving: bool = True) -> "Self | list[str]":
        """Read every variable; the answer is every problem, one sentence each.

        A command that does not serve (`migrate`) needs no identity provider.
        """
        problems: list[str] = []
        values = {name: _value(variable, environ, problems) for name, variable in variables().items()}
        if problems:
            return problems
        settings = cls(**values)
        return _contradictions(settings, environ, serving=serving) or settings


def variables() -> dict[str, Variable]:
    """Return every variable by the name of its field, in the order of the reference."""
    return {each.name: each.metadata["variable"] for each in fields(Settings)}


# Read by callers of the REST API and by the SDK, not by us.
_READ_ELSEWHERE: Final = ("ADMIN_CLIENT_ID", "ADMIN_CLIENT_SECRET", "ADMIN_CLIENT_SECRET_FILE")
# Kubernetes puts these into every container for every Service (docker links).
_SERVICE_LINK: Final = re.compile(r".*_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)")
_TOO_COMMON: Final = 5


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return the environment variables that look like one of ours and are none, with what to do instead.

    Only names are judged: the values are never looked at.
    """
    ours = {variable.name: variable for variable in variables().values()}
    files = {f"{name}_FILE" for name, variable in ours.items() if variable.secret}
    known = {*ours, *files, *_READ_ELSEWHERE}
    # HOST, PORT and MODE resemble too much that belongs to others.
    targets = sorted(name for name in known if len(name) > _TOO_COMMON)
    found: dict[str, str] = {}
    for name in sorted(names):
        if name in known or _SERVICE_LINK.fullmatch(name):
            continue
        if name.endswith("_FILE") and name.removesuffix("_FILE") in ours:
            found[name] = f"only secrets are read from files; set {name.removesuffix('_FILE')}"
        elif meant := nearest(name, targets):
            found[name] = f"did you mean {meant}?"
    return found


def _value(variable: Variable, environ: Mapping[str, str], problems: list[str]) -> Any:
    text = environ.get(variable.name) or None
    file = environ.get(f"{variable.name}_FILE") if variable.secret else None
    if text is not None and file:
        problems.append(f"{variable.name} and {variable.name}_FILE are both set; keep one")
        return None
    if file:
        try:
            text = Path(file).read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            problems.append(f"{variable.name}_FILE {file!r} cannot be read: {reason}")
            return None
    if text is None:
        text = variable.default
    if text is None or (text == "" and variable.default == ""):
        return None if text is None else variable.read("")
    try:
        return variable.read(text)
    except UnusableValueError as unusable:
        # A URL with somebody's password in it is refused, and not shown.
        found = "a value" if variable.secret or "@" in text else repr(text[:80])
        problems.append(f"{variable.name} is {found}; it must be {unusable}")
        return None


def _contradictions(settings: Settings, environ: Mapping[str, str], *, serving: bool) -> list[str]:
    """Name what is missing or does not go together, with what to add."""
    problems: list[str] = []
    selfhost = settings.mode is TenancyMode.SELFHOST
    if serving and settings.oidc_enabled and selfhost:
        if settings.auth_server_url is None:
            problems.append(
                "AUTH_SERVER_URL is not set; add the issuer of your tokens, or OIDC_ENABLED=false"
            )
        if not environ.get("OIDC_AUDIENCE"):
            problems.append(
                "OIDC_AUDIENCE is not set; add the audience that your tokens are issued for "
                "(OIDC_AUDIENCE=my-api), or OIDC_AUDIENCE=any to accept every audience of the issuer"
            )
    if isinstance(settings.policy_source, FilesSource) and not selfhost:
        problems.append("POLICY_SOURCE=files:DIR serves one tenant; MODE=saas needs POLICY_SOURCE=postgres")
    if settings.tenant_binding is TenantBinding.TOKEN and selfhost:
        problems.append("TENANT_BINDING=token is for MODE=saas; selfhost has one tenant")
    if (settings.grpc_tls_cert is None) != (settings.grpc_tls_key is None):
        problems.append("GRPC_TLS_CERT and GRPC_TLS_KEY go together; set both or none")
    if settings.grpc_tls_client_ca is not None and settings.grpc_tls_cert is None:
        problems.append("GRPC_TLS_CLIENT_CA needs GRPC_TLS_CERT and GRPC_TLS_KEY")
    if settings.grpc_tls_client_sans and settings.grpc_tls_client_ca is None:
        problems.append("GRPC_TLS_CLIENT_SANS needs GRPC_TLS_CLIENT_CA")
    if settings.grpc_port + settings.workers - 1 > 65535:
        problems.append(f"GRPC_PORT {settings.grpc_port} has no room for {settings.workers} workers")
    if settings.token_header is not None and settings.token_header in settings.condition_headers:
        problems.append("CONDITION_HEADERS lists TOKEN_HEADER; a credential can never be listed")
    problems += _http_authz_problems(settings)
    return problems


def _http_authz_problems(settings: Settings) -> list[str]:
    port, problems = settings.http_authz_port, []
    if port is None:
        return []
    if port + settings.workers - 1 > 65535:
        problems.append(f"HTTP_AUTHZ_PORT {port} has no room for {settings.workers} workers")
    if settings.grpc_uds_dir is None and abs(port - settings.grpc_port) < settings.workers:
        problems.append(
            f"HTTP_AUTHZ_PORT {port} and GRPC_PORT {settings.grpc_port} overlap: "
            f"each of {settings.workers} workers takes one port of each"
        )
    if settings.grpc_tls_cert is not None:
        problems.append(
            "HTTP_AUTHZ_PORT listens without TLS and would go around GRPC_TLS_CERT; unset one of them"
        )
    return problems
