"""Secrets in files: `NAME_FILE` beside `NAME`."""

from pathlib import Path

from extauthz.settings.values import InvalidValueError, secret


class SecretFileError(OSError):
    """A file of a secret that cannot be used now; the text names the variable and the file, never a value."""


def read_secret_file(name: str, file: Path) -> str:
    """Return the content without a final line end.

    Raises:
        SecretFileError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SecretFileError(f"{name}_FILE {str(file)!r} cannot be read: {reason}") from None


def current_secret(name: str, file: Path) -> str:
    """Return what `read_secret_file` does, if it can be a secret at all.

    Raises:
        SecretFileError: it cannot be read, is not UTF-8, or is blank.
    """
    value = read_secret_file(name, file)
    try:
        return secret(value)
    except InvalidValueError as unusable:
        raise SecretFileError(f"{name}_FILE {str(file)!r} does not hold {unusable}") from None
