"""Where policies come from, built from the settings."""

from collections.abc import Callable

from extauthz.compile.documents import Reading
from extauthz.compile.model import ModelRefused, RoleModel, compile_model
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.files import FilesPublisher, PolicyDirectory
from extauthz.settings import FilesSource, Settings
from extauthz.shipped import shipped


class StartRefusedError(Exception):
    """Something that the operator has to mend stands against starting; the text says what and where."""


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
    if isinstance(model, ModelRefused):
        raise StartRefusedError(f"the Casbin model {str(path)!r} cannot be compiled: {model.message}")
    return model


def files_publisher(
    source: FilesSource, settings: Settings, current: CurrentPolicies, *, on_failure: Callable[[], None]
) -> FilesPublisher:
    """Build the publisher that reads policies from a directory. Raises StartRefusedError."""
    reading = Reading(condition_headers=settings.condition_headers)
    directory = PolicyDirectory(source.directory, reading, role_model(settings))
    return FilesPublisher(directory, current, on_failure=on_failure)
