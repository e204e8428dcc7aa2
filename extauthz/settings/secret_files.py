"""Reads secrets from files: the variable `NAME_FILE` names a file with the value of `NAME`.

Errors: `SecretFileError`.
"""

from pathlib import Path

from extauthz.settings.values import InvalidValueError, secret


class SecretFileError(OSError):
    """A secret file is unreadable or invalid; the text names the variable and the file, never the value."""


def read_secret_file(name: str, file: Path) -> str:
    """Return the content of a file without its final line end.

    Raises:
        SecretFileError: the file cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SecretFileError(f"{name}_FILE {str(file)!r} cannot be read: {reason}") from None


def current_secret(name: str, file: Path) -> str:
    """Return the content of a file without its final line end, if it is a valid secret.

    Raises:
        SecretFileError: the file cannot be read, is not UTF-8, or is blank.
    """
    value = read_secret_file(name, file)
    try:
        return secret(value)
    except InvalidValueError as unusable:
        raise SecretFileError(f"{name}_FILE {str(file)!r} must contain {unusable}") from None
