"""Whether the process has file descriptors left: without them it accepts no connection and reads no file."""

import errno
import os
import resource


def descriptor_problem() -> str | None:
    """Return the problem when no file can be opened, because the process or the system has too many."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EMFILE:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return (
                f"a process has all {limit} file descriptors in use and accepts no connection:"
                " raise the limit (ulimit -n, LimitNOFILE)"
            )
        if error.errno == errno.ENFILE:
            return "the system has no file descriptors left: no connection is accepted (fs.file-max)"
    return None
