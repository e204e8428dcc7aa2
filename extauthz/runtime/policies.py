"""Builds the source of policies and the database address from the settings.

Input: `Settings`. Output: a publisher, a compiler, a `DatabaseAddress`. Errors: `StartRefusedError`.
"""

import ssl
from collections.abc import Callable, Iterable, Sequence

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import ModelInvalid, RoleModel, compile_model
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.tenant_config import ProviderKeys, TenantIdentityProvider
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.files import FilesPublisher, PolicyDirectory
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.source import Publisher
from extauthz.publish.tenant import Compiler
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import FilesSource, HttpSource, PostgresSource, Settings, StaleAction
from extauthz.shipped import shipped
from extauthz.storage.address import DatabaseAddress, InvalidCaError
from extauthz.storage.availability import DatabaseState
from extauthz.storage.connection import open_listener, open_reader
from extauthz.telemetry.counts import HeadRejection
from extauthz.telemetry.spans import Tracing

OnIssuers = Callable[[Sequence[TenantIdentityProvider]], None]
OnKeys = Callable[[Sequence[ProviderKeys]], None]


def policy_reading(settings: Settings) -> Reading:
    """Return what documents of policies are read under."""
    return Reading(condition_headers=settings.condition_headers, claim_headers=settings.claim_headers)


def role_model(settings: Settings) -> RoleModel:
    """Return the compiled Casbin model of `CASBIN_MODEL_PATH`, or the shipped one.

    Raises:
        StartRefusedError: the file cannot be read or compiled.
    """
    path = settings.casbin_model_path or shipped("policies/model.conf")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StartRefusedError(f"CASBIN_MODEL_PATH {str(path)!r} cannot be read: {reason}") from error
    model = compile_model(text)
    if isinstance(model, ModelInvalid):
        raise StartRefusedError(f"the Casbin model {str(path)!r} cannot be compiled: {model.message}")
    return model


def compiler(settings: Settings) -> Compiler:
    """Return the compiler of database rows into snapshots. Raises StartRefusedError."""
    return Compiler(policy_reading(settings), role_model(settings))


def database(settings: Settings) -> DatabaseAddress:
    """Return the address of the database.

    Raises:
        StartRefusedError: `POSTGRES_SSLROOTCERT` cannot be read or holds no CA certificate.
    """
    first, *fallbacks = settings.database_hosts
    sslmode, ca = settings.postgres_sslmode, settings.postgres_sslrootcert
    address = DatabaseAddress(
        host=first.host,
        port=first.port,
        user=settings.postgres_user,
        password=settings.postgres_password or "",
        database=settings.postgres_db,
        sslmode=None if sslmode is None else sslmode.value,
        sslrootcert=None if ca is None else str(ca),
        fallbacks=tuple(fallbacks),
        pooler=settings.postgres_pooler,
        listen=settings.listen_hosts,
        password_file=settings.postgres_password_file,
    )
    try:
        address.check_ca()
    except InvalidCaError as error:
        raise StartRefusedError(str(error)) from error
    return address


def publisher(
    settings: Settings,
    current: CurrentPolicies,
    *,
    on_failure: Callable[[], None] = lambda: None,
    on_refusal: Callable[[HeadRejection], None] = lambda _reason: None,
    on_issuers: OnIssuers = lambda _issuers: None,
    on_keys: OnKeys = lambda _keys: None,
    tracing: Tracing | None = None,
) -> Publisher:
    """Return the publisher that keeps `current` up to date, for `POLICY_SOURCE`. Raises StartRefusedError."""
    match settings.policy_source:
        case FilesSource(directory):
            reading = policy_reading(settings)
            source = PolicyDirectory(
                directory, reading, role_model(settings), max_bytes=settings.policy_max_bytes
            )
            return FilesPublisher(source, current, on_failure=on_failure)
        case HttpSource():
            return signed_publisher(
                settings,
                current,
                on_failure=on_failure,
                on_refusal=on_refusal,
                on_issuers=on_issuers,
                on_keys=on_keys,
                tracing=tracing,
            )
        case PostgresSource():
            return postgres_publisher(
                settings,
                current,
                compiler(settings),
                tenants=settings.tenants,
                on_failure=on_failure,
                on_issuers=on_issuers,
            )


def postgres_publisher(
    settings: Settings,
    current: CurrentPolicies,
    how: Compiler,
    *,
    tenants: Iterable[str] = (),
    on_failure: Callable[[], None] = lambda: None,
    on_issuers: OnIssuers = lambda _issuers: None,
    state: DatabaseState | None = None,
) -> PostgresPublisher:
    """Return the publisher that reads policies from PostgreSQL; without `tenants`, those of all tenants."""
    address = database(settings)
    selfhost = settings.mode is TenancyMode.SELFHOST
    return PostgresPublisher(
        lambda: open_reader(address),
        current,
        how,
        mode=settings.mode,
        # A database that was used with MODE=saas may hold more tenants; selfhost ignores them.
        tenants=frozenset({DEFAULT_TENANT} if selfhost else tenants),
        poll_interval=settings.policy_poll_interval,
        on_failure=on_failure,
        on_issuers=on_issuers,
        open_listener=(lambda: open_listener(address)) if address.listen else None,
        database=state,
        max_bytes=settings.policy_max_bytes,
    )


def signed_publisher(
    settings: Settings,
    current: CurrentPolicies,
    *,
    on_failure: Callable[[], None],
    on_refusal: Callable[[HeadRejection], None],
    on_issuers: OnIssuers,
    on_keys: OnKeys,
    tracing: Tracing | None = None,
) -> Publisher:
    """Return the publisher that follows signed policies over HTTP. Raises StartRefusedError."""
    # Imported here: other sources start without securesystemslib.
    from extauthz.publish.signed_policies import SignedPublisher
    from extauthz.signed.http_source import HttpPolicies
    from extauthz.signed.policy_cache import PolicyCache
    from extauthz.signed.server_address import ServerAddress
    from extauthz.signed.signing_keys import pinned

    assert isinstance(settings.policy_source, HttpSource)
    assert settings.policy_public_keys is not None
    tenant = DEFAULT_TENANT if settings.mode is TenancyMode.SELFHOST else settings.tenants[0]
    source = settings.policy_source
    server = ServerAddress(source.url, server_tls(settings, source), settings.policy_api_key, tracing)
    return SignedPublisher(
        HttpPolicies(server, tenant),
        pinned(settings.policy_public_keys),
        current,
        compiler(settings),
        tenant=tenant,
        mode=settings.mode,
        max_staleness=(
            None if settings.policy_stale_action is StaleAction.SERVE else settings.policy_max_staleness
        ),
        max_bytes=settings.policy_max_bytes,
        poll_interval=settings.policy_poll_interval,
        on_failure=on_failure,
        on_refusal=on_refusal,
        on_issuers=on_issuers,
        on_keys=on_keys,
        cache=None if settings.policy_cache_dir is None else PolicyCache(settings.policy_cache_dir, tenant),
    )


def server_tls(settings: Settings, server: HttpSource) -> ssl.SSLContext | None:
    """Return how POLICY_SOURCE=https://... or CONTROL_PLANE_URL is verified; None for plain HTTP.

    Raises StartRefusedError.
    """
    if not server.is_encrypted:
        return None
    # Not ssl.create_default_context: from Python 3.13 it sets VERIFY_X509_STRICT.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    ca, cert, key = settings.policy_ca_file, settings.policy_client_cert, settings.policy_client_key
    try:
        if ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(ca)
    except OSError as error:
        reason = (
            "holds no certificate" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        )
        raise StartRefusedError(f"POLICY_CA_FILE {str(ca)!r} {reason}") from error
    try:
        if cert is not None:
            # A key that is encrypted is refused; without this OpenSSL would ask the terminal for a password.
            context.load_cert_chain(cert, key, password=lambda: "")
    except OSError as error:
        is_read = isinstance(error, ssl.SSLError)
        problem = "they are not a certificate and its key" if is_read else str(error.strerror)
        raise StartRefusedError(
            f"POLICY_CLIENT_CERT {str(cert)!r} and POLICY_CLIENT_KEY {str(key)!r} cannot be used: {problem}"
        ) from error
    return context
