"""Reads the settings of a service from a file of `NAME=VALUE` lines, as systemd and Docker take them.

Empty lines and lines that begin with `#` are passed over. A value may stand in one pair of quotes; nothing is
expanded in it.
"""

import re
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
_QUOTES: Final = ("'", '"')


class SettingsFileInvalidError(ValueError):
    """A file that is not one of settings; the text names file and line."""


def read_settings_file(path: Path) -> dict[str, str]:
    """Return the variables of the file.

    Raises:
        SettingsFileInvalidError: the file cannot be read, or a line of it is not `NAME=VALUE`.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise SettingsFileInvalidError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsFileInvalidError(f"{str(path)!r} is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            # The line is not quoted: it may hold a secret.
            raise SettingsFileInvalidError(f"{str(path)!r}, line {number}: NAME=VALUE is needed")
        name, value = match.groups()
        if name in found:
            raise SettingsFileInvalidError(f"{str(path)!r}, line {number}: {name} is set twice")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES
        found[name] = value[1:-1] if quoted else value
    return found
