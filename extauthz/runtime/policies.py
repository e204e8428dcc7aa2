"""Where policies come from, built from the settings."""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from extauthz.compile.directory import DEFAULT_TENANT, TenancyMode
from extauthz.compile.documents import Reading
from extauthz.compile.role_model import ModelInvalid, RoleModel, compile_model
from extauthz.domain.tenant_config import TenantIdentityProvider
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.files import FilesPublisher, PolicyDirectory
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.tenant import Compiler
from extauthz.settings import FilesSource, PostgresSource, Settings
from extauthz.shipped import shipped
from extauthz.storage.address import DatabaseAddress, InvalidCaError
from extauthz.storage.availability import DatabaseState
from extauthz.storage.connection import open_listener, open_reader

OnIssuers = Callable[[Sequence[TenantIdentityProvider]], None]


class StartRefusedError(Exception):
    """Something that the operator has to mend stands against starting; the text says what and where."""

    may_pass: ClassVar[bool] = False
    """Whether the same start may succeed later, with nothing mended."""


def role_model(settings: Settings) -> RoleModel:
    """Compile the Casbin model that the settings name, or the shipped one.

    Raises:
        StartRefusedError: the model cannot be read or compiled.
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
    """Return how stored rows become snapshots. Raises StartRefusedError."""
    return Compiler(Reading(condition_headers=settings.condition_headers), role_model(settings))


def database(settings: Settings) -> DatabaseAddress:
    """Return where the database is.

    Raises:
        StartRefusedError: the CA cannot be used.
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
    """Build what keeps the current policies up to date. Raises StartRefusedError."""
    match settings.policy_source:
        case FilesSource(directory):
            reading = Reading(condition_headers=settings.condition_headers)
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
    """Build the publisher that follows the database; without `tenants` it follows all of them."""
    address = database(settings)
    selfhost = settings.mode is TenancyMode.SELFHOST
    return PostgresPublisher(
        lambda: open_reader(address),
        current,
        how,
        mode=settings.mode,
        # There may be more in a database that served many once; they are nobody's now.
        tenants=frozenset({DEFAULT_TENANT} if selfhost else tenants),
        poll_interval=settings.policy_poll_interval,
        on_failure=on_failure,
        on_issuers=on_issuers,
        open_listener=(lambda: open_listener(address)) if address.listen else None,
        database=state,
        max_bytes=settings.policy_max_bytes,
    )
