"""The error of a command that does not start."""

from typing import ClassVar


class StartRefusedError(Exception):
    """The process cannot start until the operator corrects something; the text says what and where."""

    may_pass: ClassVar[bool] = False
    """Whether a later start may succeed without a correction."""
