"""Execute a command that the kernel signals when its parent ends (PR_SET_PDEATHSIG, prctl(2)).

Run as a script: `python -I -S parent_death.py PARENT_PID SIGNAL UID GID COMMAND...`. The process id stays the
same through the exec. A script, because `preexec_fn` may deadlock in a parent with threads. UID and GID are
`-` to keep the user and group of the parent.
"""

import ctypes
import os
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> None:
    """Execute the command of the arguments.

    Raises:
        OSError: the command cannot be executed, or the user cannot be changed.
    """
    command = prepare(arguments)
    os.execvp(command[0], command)  # noqa: S606 - the command comes from the demo itself


def prepare(arguments: list[str]) -> list[str]:
    """Drop privileges, ask the kernel for SIGNAL at the parent's death, and return the command.

    Raises:
        OSError: the user cannot be changed.
    """
    parent, signal_number, uid, gid, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # After the change of user: that clears the parent-death signal (prctl(2)).
    if libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != int(parent):
        # The parent ended before the kernel was asked for the signal.
        sys.exit(1)
    return command


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as problem:
        sys.exit(f"{sys.argv[5]}: {problem}")
