"""Builds the source of policies and the database address from the settings.

Input: `Settings`. Output: a publisher, a compiler, a `DatabaseAddress`. Errors: `StartRefusedError`.
"""

from collections.abc import Callable, Iterable, Sequence

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import ModelInvalid, RoleModel, compile_model
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.tenant_config import TenantIdentityProvider
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.files import FilesPublisher, PolicyDirectory
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.tenant import Compiler
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import FilesSource, PostgresSource, Settings
from extauthz.shipped import shipped
from extauthz.storage.address import DatabaseAddress, InvalidCaError
from extauthz.storage.availability import DatabaseState
from extauthz.storage.connection import open_listener, open_reader

OnIssuers = Callable[[Sequence[TenantIdentityProvider]], None]


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
    on_issuers: OnIssuers = lambda _issuers: None,
) -> FilesPublisher | PostgresPublisher:
    """Return the publisher that keeps `current` up to date, for `POLICY_SOURCE`. Raises StartRefusedError."""
    match settings.policy_source:
        case FilesSource(directory):
            reading = policy_reading(settings)
            source = PolicyDirectory(
                directory, reading, role_model(settings), max_bytes=settings.policy_max_bytes
            )
            return FilesPublisher(source, current, on_failure=on_failure)
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
