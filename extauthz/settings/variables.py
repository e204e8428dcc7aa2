"""Every environment variable: its name, its reader, its default, its meaning; `loading` reads them."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.domain.tenancy import TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.settings.database_hosts import DatabaseHost, HostEntry, host_entries
from extauthz.settings.identity_values import audiences, claim_path, excluded_roles, issuer, jwks_uri
from extauthz.settings.log_variables import LogSettings
from extauthz.settings.policy_sources import HttpSource, http_server, policy_source, public_keys, signing_key
from extauthz.settings.recording_values import attribute_names
from extauthz.settings.rest_variables import RestSettings
from extauthz.settings.values import (
    CorsPreflight,
    FilesSource,
    GrpcServer,
    Pooler,
    PostgresSource,
    SslMode,
    StaleAction,
    admin_key,
    claim_headers,
    cookie,
    flag,
    headers,
    host_name,
    host_ports,
    integer,
    one_of,
    one_word,
    path,
    path_prefix,
    seconds,
    secret,
    some_names,
    text,
    token_header,
)
from extauthz.settings.variable import Variable, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RestSettings):
    """The validated configuration of one process."""

    mode: TenancyMode = variable(
        "MODE", one_of(TenancyMode), "selfhost", "selfhost: one tenant; saas: many tenants"
    )
    tenants: tuple[str, ...] = variable("TENANTS", some_names, "", "tenants this sidecar serves; empty: all")
    tenant_binding: TenantBinding = variable(
        "TENANT_BINDING",
        one_of(TenantBinding),
        "host",
        "tenant of a target whose host belongs to no tenant (saas); host: unknown, token: the token's tenant",
    )
    grpc_host: str = variable("GRPC_HOST", host_name, "127.0.0.1", "address of the gRPC listeners")
    grpc_port: int = variable("GRPC_PORT", integer(1, 65535), "9191", "worker i listens on this port + i")
    grpc_uds_dir: Path | None = variable(
        "GRPC_UDS_DIR", path, None, "folder of Unix sockets that replace the gRPC ports"
    )
    grpc_server: GrpcServer = variable(
        "GRPC_SERVER",
        one_of(GrpcServer),
        "auto",
        "gRPC server; auto: native on loopback and Unix sockets, else grpcio",
    )
    grpc_tls_cert: Path | None = variable(
        "GRPC_TLS_CERT", path, None, "certificate chain of the gRPC listener"
    )
    grpc_tls_key: Path | None = variable("GRPC_TLS_KEY", path, None, "private key of the gRPC listener")
    grpc_tls_client_ca: Path | None = variable(
        "GRPC_TLS_CLIENT_CA", path, None, "CA of the client certificates that proxies must present"
    )
    grpc_tls_client_sans: tuple[str, ...] = variable(
        "GRPC_TLS_CLIENT_SANS", some_names, "", "subject alternative names of the proxies that are accepted"
    )
    http_authz_port: int | None = variable(
        "HTTP_AUTHZ_PORT", integer(1, 65535), None, "worker i answers HTTP ext_authz on this port + i"
    )
    http_authz_path_prefix: str | None = variable(
        "HTTP_AUTHZ_PATH_PREFIX",
        path_prefix,
        None,
        "path_prefix of Envoy's http_service: what precedes the path in each check over HTTP",
    )
    workers: int = variable("WORKERS", integer(1, 64), "1", "sidecar worker processes")
    postgres_host: tuple[HostEntry, ...] = variable(
        "POSTGRES_HOST", host_entries, "127.0.0.1", "database servers; the primary of them is used"
    )
    postgres_port: int = variable(
        "POSTGRES_PORT", integer(1, 65535), "5432", "port of the servers that are listed without a port"
    )
    postgres_pooler: Pooler = variable(
        "POSTGRES_POOLER", one_of(Pooler), "none", "pool mode of the connection pooler at POSTGRES_HOST"
    )
    postgres_listen_host: tuple[HostEntry, ...] | None = variable(
        "POSTGRES_LISTEN_HOST",
        host_entries,
        None,
        "PostgreSQL servers behind a pooler, for change notifications; unset: only polling",
    )
    postgres_user: str = variable("POSTGRES_USER", text, "extauthz", "database user")
    postgres_password: str | None = variable(
        "POSTGRES_PASSWORD",
        secret,
        None,
        "password of the database user; POSTGRES_PASSWORD_FILE is read at each connect",
        secret=True,
    )
    postgres_password_file: Path | None = field(default=None)
    postgres_db: str = variable("POSTGRES_DB", text, "extauthz", "database name")
    postgres_sslmode: SslMode | None = variable(
        "POSTGRES_SSLMODE",
        one_of(SslMode),
        None,
        "libpq's sslmode; unset: require for hosts other than loopback, and with a CA",
    )
    postgres_sslrootcert: Path | None = variable(
        "POSTGRES_SSLROOTCERT",
        path,
        None,
        "CA of the database, which `require` verifies too; unset with `verify-full`: the system's CAs",
    )
    migrate_on_start: bool = variable("MIGRATE_ON_START", flag, "false", "apply migrations before serving")
    oidc_enabled: bool = variable("OIDC_ENABLED", flag, "true", "whether tokens are accepted")
    auth_server_url: str | None = variable("AUTH_SERVER_URL", issuer, None, "the issuer of tokens (selfhost)")
    jwks_uri: str | None = variable(
        "JWKS_URI", jwks_uri, None, "URL of the issuer's JWK Set; unset: discovered from the issuer"
    )
    oidc_audience: tuple[str, ...] | None = variable(
        "OIDC_AUDIENCE", audiences, None, "accepted audiences of tokens; 'any': every audience"
    )
    identity_providers: Path | None = variable(
        "IDENTITY_PROVIDERS", path, None, "a file of identity providers, followed for change (docs/providers)"
    )
    oidc_ca_file: Path | None = variable("OIDC_CA_FILE", path, None, "CA of the identity provider")
    roles_claim: str = variable(
        "ROLES_CLAIM", claim_path, "realm_access.roles", "path of the claim with the roles"
    )
    domain_claim: str = variable("DOMAIN_CLAIM", claim_path, "dom", "path of the claim with the domain")
    admin_domain_claim: str = variable(
        "ADMIN_DOMAIN_CLAIM",
        claim_path,
        "adm",
        "path of the claim with the domains that the subject administers; '*': the whole tenant",
    )
    excluded_roles: tuple[str, ...] = variable(
        "EXCLUDED_ROLES",
        excluded_roles,
        "offline_access,uma_authorization",
        "roles that are ignored in tokens",
    )
    jwks_allow_hosts: frozenset[str] = variable(
        "JWKS_ALLOW_HOSTS",
        host_ports,
        "",
        "host:port of identity providers that may use http or a private address",
    )
    jwks_max_staleness: float = variable(
        "JWKS_MAX_STALENESS",
        seconds(60, 30 * 86400),
        "86400",
        "seconds for which keys are used after their last successful fetch",
    )
    token_max_bytes: int = variable(
        "TOKEN_MAX_BYTES", integer(256, 1048576), "16384", "largest accepted token in bytes"
    )
    token_leeway: float = variable(
        "TOKEN_LEEWAY", seconds(0, 30), "5", "tolerated clock difference in seconds (exp, nbf, iat)"
    )
    token_max_lifetime: float | None = variable(
        "TOKEN_MAX_LIFETIME", seconds(1, 10 * 365 * 86400), None, "longest time from iat to exp in seconds"
    )
    token_header: str | None = variable(
        "TOKEN_HEADER",
        token_header,
        None,
        "a header with a bare token in place of Authorization, which is the application's own then",
    )
    token_cookie: str | None = variable(
        "TOKEN_COOKIE", cookie, None, "a cookie that may carry a token instead of Authorization"
    )
    trust_jwt_authn_metadata: str | None = variable(
        "TRUST_JWT_AUTHN_METADATA",
        text,
        None,
        "payload_in_metadata of Envoy's jwt_authn, whose claims are trusted as verified",
    )
    mtls_principals: bool = variable(
        "MTLS_PRINCIPALS",
        flag,
        "false",
        "whether a peer with a verified certificate is the principal of a request without a credential",
    )
    admin_api_key: str | None = variable(
        "ADMIN_API_KEY", admin_key, None, "the operator's key, 32 bytes or more", secret=True
    )
    unmapped: UnmappedPolicy = variable(
        "UNMAPPED",
        one_of(UnmappedPolicy),
        "deny",
        "a request without a route; deny: denied, path: its path is the resource",
    )
    cors_preflight: CorsPreflight = variable(
        "CORS_PREFLIGHT",
        one_of(CorsPreflight),
        "off",
        "CORS preflights; off: as every request, policy: allowed where the asked method has a route",
    )
    condition_headers: frozenset[str] = variable(
        "CONDITION_HEADERS", headers, "", "request headers that conditions may use"
    )
    condition_body_max: int = variable(
        "CONDITION_BODY_MAX",
        integer(0, 524288),
        "65536",
        "the longest body, in octets, of which conditions read `request.body.*`; 0: none is read",
    )
    claim_headers: frozenset[str] = variable(
        "CLAIM_HEADERS",
        claim_headers,
        "",
        "request headers that resources and identity providers may set from claims, for the workload",
    )
    assertion_issuer: str | None = variable(
        "ASSERTION_ISSUER", text, None, "`iss` of the assertions that workloads get as x-auth-assertion"
    )
    assertion_key_file: Path | None = variable(
        "ASSERTION_KEY_FILE",
        path,
        None,
        "private key of assertions, P-256 or Ed25519 in PEM, followed for change; unset: no assertions",
    )
    casbin_model_path: Path | None = variable(
        "CASBIN_MODEL_PATH", path, None, "Casbin model file; unset: the shipped model"
    )
    policy_source: FilesSource | PostgresSource | HttpSource = variable(
        "POLICY_SOURCE",
        policy_source,
        "postgres",
        "source of policies: postgres, files:DIR, or https://HOST[:PORT] for signed policies",
    )
    policy_public_keys: tuple[bytes, ...] | None = variable(
        "POLICY_PUBLIC_KEYS",
        public_keys,
        None,
        "Ed25519 keys, one of which must have signed what POLICY_SOURCE=https://... reads",
    )
    policy_api_key: str | None = variable(
        "POLICY_API_KEY",
        one_word,
        None,
        "service key that is sent to POLICY_SOURCE=https://...",
        secret=True,
    )
    policy_ca_file: Path | None = variable(
        "POLICY_CA_FILE",
        path,
        None,
        "CA of POLICY_SOURCE=https://... and CONTROL_PLANE_URL; unset: the system's CAs",
    )
    policy_client_cert: Path | None = variable(
        "POLICY_CLIENT_CERT",
        path,
        None,
        "client certificate for POLICY_SOURCE=https://... and CONTROL_PLANE_URL, with its chain",
    )
    policy_client_key: Path | None = variable(
        "POLICY_CLIENT_KEY", path, None, "private key of POLICY_CLIENT_CERT"
    )
    policy_cache_dir: Path | None = variable(
        "POLICY_CACHE_DIR",
        path,
        None,
        "folder that keeps the last policies of POLICY_SOURCE=https://... for the next start; unset: none",
    )
    control_plane_url: HttpSource | None = variable(
        "CONTROL_PLANE_URL",
        http_server,
        None,
        "https://HOST[:PORT] of the control plane that a sidecar reports to; unset: POLICY_SOURCE=https://...",
    )
    control_plane_api_key: str | None = variable(
        "CONTROL_PLANE_API_KEY",
        one_word,
        None,
        "service key with the scope policies:follow, or key of /admin/sidecar-keys; unset: POLICY_API_KEY",
        secret=True,
    )
    policy_signing_key: Ed25519PrivateKey | None = variable(
        "POLICY_SIGNING_KEY",
        signing_key,
        None,
        "Ed25519 private key in PEM that signs policies for followers over HTTP",
        secret=True,
    )
    policy_poll_interval: float = variable(
        "POLICY_POLL_INTERVAL", seconds(0.1, 300), "5", "seconds between polls of the database"
    )
    policy_max_staleness: float = variable(
        "POLICY_MAX_STALENESS",
        seconds(1, 86400 * 365),
        "900",
        "seconds for which policies are used after they were last confirmed to be current",
    )
    policy_max_bytes: int = variable(
        "POLICY_MAX_BYTES",
        integer(1024, 2**36),
        "268435456",
        "largest accepted policy set in bytes: all files together, or the text of a tenant's rows",
    )
    record: bool = variable(
        "RECORD", flag, "on", "record what requests asked, for replay; needs a control plane"
    )
    record_attributes: frozenset[str] = variable(
        "RECORD_ATTRIBUTES",
        attribute_names,
        "",
        "attributes to record in addition to those that rules read, such as user.department",
    )
    record_days: int = variable(
        "RECORD_DAYS", integer(1, 3650), "90", "days for which the control plane keeps recordings"
    )
    history_days: int = variable(
        "HISTORY_DAYS",
        integer(1, 36500),
        "365",
        "days for which the control plane can rebuild a revision after it was replaced",
    )
    policy_stale_action: StaleAction = variable(
        "POLICY_STALE_ACTION",
        one_of(StaleAction),
        "deny",
        "after POLICY_MAX_STALENESS; deny: requests are denied, serve: the last good policies decide",
    )

    @property
    def database_hosts(self) -> tuple[DatabaseHost, ...]:
        """The servers of POSTGRES_HOST in order, without repetitions."""
        return tuple(dict.fromkeys(entry.at(self.postgres_port) for entry in self.postgres_host))

    @property
    def listen_hosts(self) -> tuple[DatabaseHost, ...]:
        """The servers of POSTGRES_LISTEN_HOST in order, without repetitions; empty if it is unset."""
        return tuple(dict.fromkeys(entry.at(self.postgres_port) for entry in self.postgres_listen_host or ()))


def variables() -> dict[str, Variable]:
    """Return all variables by the name of their field, in the order of docs/configuration.md."""
    # The listeners come after the tenants; logs and exports come last.
    exported, inherited = len(fields(LogSettings)), len(fields(RestSettings))
    every = fields(Settings)
    listeners, own = every[exported:inherited], every[inherited:]
    tenancy = 1 + [each.name for each in own].index("tenant_binding")
    ordered = (*own[:tenancy], *listeners, *own[tenancy:], *every[:exported])
    return {each.name: each.metadata["variable"] for each in ordered if "variable" in each.metadata}
