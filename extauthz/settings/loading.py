"""Reads all environment variables.

Input: the environment. Output: `Settings`, or every problem, one sentence each. For each secret `NAME` the
variable `NAME_FILE` may name a file whose content, without a final line end, is the value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extauthz.settings.contradictions import contradictions
from extauthz.settings.secret_files import SecretFileError, read_secret_file
from extauthz.settings.values import InvalidValueError
from extauthz.settings.variable import Variable
from extauthz.settings.variables import Settings, variables


class _ProblemError(ValueError):
    """A variable whose value cannot be read; the text says why."""


def load_settings(environ: Mapping[str, str], *, serving: bool = True) -> Settings | list[str]:
    """Return the settings, or the list of all problems, one sentence each.

    `serving` is false for commands such as `migrate`, which need no identity provider.
    """
    problems: dict[str, str] = {}
    values = {name: _value(variable, environ, problems) for name, variable in variables().items()}
    password_file = environ.get("POSTGRES_PASSWORD_FILE")
    settings = Settings(**values, postgres_password_file=Path(password_file) if password_file else None)
    found = [
        *problems.values(),
        *(
            problem
            for names, problem in contradictions(settings, environ, serving=serving)
            # Skip cross-checks on variables whose own value is invalid.
            if problems.keys().isdisjoint(names.split())
        ),
    ]
    return found or settings


def _value(variable: Variable, environ: Mapping[str, str], problems: dict[str, str]) -> Any:
    """Return the value of a variable; for an invalid one add a problem under its name, return the default."""
    text = None
    try:
        text = _written(variable, environ)
        if text is not None:
            return variable.read(_unicode(text))
    except _ProblemError as problem:
        problems[variable.name] = str(problem)
    except InvalidValueError as unusable:
        # INVARIANT: a URL that contains a password is not quoted.
        found = "a value" if variable.secret or "@" in str(text) else repr(str(text)[:80])
        problems[variable.name] = f"{variable.name} is {found}; it must be {unusable}"
    return None if variable.default is None else variable.read(variable.default)


def _unicode(text: str) -> str:
    # os.environ decodes bytes that are not UTF-8 to lone surrogates, which cannot be encoded again.
    if not text.isascii() and text.encode("utf-8", "replace").decode() != text:
        raise InvalidValueError("UTF-8")
    return text


def _written(variable: Variable, environ: Mapping[str, str]) -> str | None:
    """Return the text of a variable, or of its file; None if neither is set."""
    text = environ.get(variable.name) or None
    file = environ.get(f"{variable.name}_FILE") if variable.secret else None
    if not file:
        return text
    if text is not None:
        raise _ProblemError(f"{variable.name} and {variable.name}_FILE are both set; keep one")
    try:
        return read_secret_file(variable.name, Path(file))
    except SecretFileError as error:
        raise _ProblemError(str(error)) from None
