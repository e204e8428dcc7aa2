"""Environment variables for the help of commands, by what they are about.

`docs/configuration.md` lists the settings of a service, `docs/client.md` what a client of the REST API reads.
"""

from typing import Final

EVERY_SETTING: Final = ("*",)
"""All settings of a service."""

DATABASE: Final = (
    "MODE",
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_POOLER",
    "POSTGRES_LISTEN_HOST",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_DB",
    "POSTGRES_SSLMODE",
    "POSTGRES_SSLROOTCERT",
)

FOLDER: Final = ("CASBIN_MODEL_PATH", "CLAIM_HEADERS", "CONDITION_HEADERS", "POLICY_MAX_BYTES")
"""What reading a folder of policies depends on."""

JUDGING: Final = ("CASBIN_MODEL_PATH", "CLAIM_HEADERS", "CONDITION_HEADERS", "CORS_PREFLIGHT", "UNMAPPED")
"""What reading policies and judging requests depends on."""

IDENTITY: Final = (
    "MODE",
    "OIDC_ENABLED",
    "AUTH_SERVER_URL",
    "JWKS_URI",
    "OIDC_AUDIENCE",
    "IDENTITY_PROVIDERS",
    "OIDC_CA_FILE",
    "ROLES_CLAIM",
    "DOMAIN_CLAIM",
    "ADMIN_DOMAIN_CLAIM",
    "EXCLUDED_ROLES",
    "JWKS_ALLOW_HOSTS",
    "TOKEN_MAX_BYTES",
    "TOKEN_LEEWAY",
    "TOKEN_MAX_LIFETIME",
    "CLAIM_HEADERS",
    "POLICY_SOURCE",
    "TENANT_BINDING",
)
"""What judging tokens depends on."""

PROXY: Final = (
    "WORKERS",
    "GRPC_HOST",
    "GRPC_PORT",
    "GRPC_UDS_DIR",
    "GRPC_TLS_CERT",
    "GRPC_TLS_CLIENT_CA",
    "HTTP_AUTHZ_PORT",
    "HTTP_AUTHZ_PATH_PREFIX",
    "TOKEN_HEADER",
    "TOKEN_COOKIE",
    "CORS_PREFLIGHT",
    "CONDITION_HEADERS",
    "CONDITION_BODY_MAX",
    "CLAIM_HEADERS",
    "POLICY_SOURCE",
)
"""What the configuration of a proxy depends on."""

CLIENT: Final = {
    "EXTAUTHZ_URL": "the address of the REST API, without /api/v1",
    "EXTAUTHZ_CA_FILE": "CAs (PEM) that are trusted in addition to the system's",
    "EXTAUTHZ_SERVICE_API_KEY": "the service key; or EXTAUTHZ_SERVICE_API_KEY_FILE, a file with it",
    "EXTAUTHZ_TOKEN": "a bearer token instead; or EXTAUTHZ_TOKEN_FILE, a file with it",  # nosec B105
}
"""What the commands that are clients of the REST API read, each with its meaning."""

MCP: Final = {
    "EXTAUTHZ_MCP_TOKEN": "a bearer token for the server; or EXTAUTHZ_MCP_TOKEN_FILE, a file with it",  # nosec B105
    "EXTAUTHZ_CA_FILE": CLIENT["EXTAUTHZ_CA_FILE"],
}
"""What a client of an MCP server reads."""

CLIENTS: Final = CLIENT | MCP
"""What clients read and services do not, each with its meaning."""

REST: Final = (*CLIENT, "ADMIN_API_KEY")
"""The address of the REST API and one credential for it."""
