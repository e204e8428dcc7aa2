"""Reading a folder for a command: under the settings that documents depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.commands.status import BAD_USAGE, fail
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import RoleModel
from extauthz.folders.reading import Folder, FolderUnreadableError, read_folder
from extauthz.runtime.policies import policy_reading, role_model
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import load_settings

SETTINGS: Final = ("CASBIN_MODEL_PATH", "CLAIM_HEADERS", "CONDITION_HEADERS", "POLICY_MAX_BYTES")
"""The variables that reading a folder depends on."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """What the documents of a folder are read under."""

    reading: Reading
    model: RoleModel
    max_bytes: int


def folder_settings(environ: Mapping[str, str]) -> FolderSettings | int:
    """Return the settings; an exit status where they cannot be used, which has been reported."""
    settings = load_settings(
        {name: environ[name] for name in SETTINGS if name in environ} | {"POLICY_SOURCE": "files:."},
        serving=False,
    )
    if isinstance(settings, list):
        return fail("; ".join(settings), BAD_USAGE)
    try:
        return FolderSettings(policy_reading(settings), role_model(settings), settings.policy_max_bytes)
    except StartRefusedError as refused:
        return fail(str(refused), BAD_USAGE)


def open_folder(root: Path, settings: FolderSettings) -> Folder | int:
    """Return a folder; an exit status where it cannot be read as a whole, which has been reported."""
    try:
        return read_folder(root, settings.reading, settings.model, max_bytes=settings.max_bytes)
    except FolderUnreadableError as error:
        return fail(f"{str(root)!r} {error}", BAD_USAGE)
