"""Opens ASSERTION_KEY_FILE for the processes that sign assertions or publish their keys.

Input: `Settings`. Output: an `AssertionFile`, loaded. Errors: `StartRefusedError`.
"""

import structlog

from extauthz.keys.assertion_file import AssertionFile
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import Settings

_log = structlog.get_logger("extauthz.runtime")


def assertion_file(settings: Settings, *, wait: bool = False) -> AssertionFile | None:
    """Return the file, None if the variable is not set.

    With `wait` a file that cannot be used is not an error: there are no assertions until it is corrected.

    Raises:
        StartRefusedError: the file cannot be used.
    """
    if settings.assertion_key_file is None:
        return None
    file = AssertionFile(settings.assertion_key_file)
    problem = file.load()
    if problem is not None:
        if not wait:
            raise StartRefusedError(problem)
        _log.error("assertion_keys_refused", problem=problem, effect="no assertions are given")
    return file
