"""The processes that a process started, and whether a process runs."""

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Tell whether this very process runs: not a zombie, nor a later process with the same id."""
    try:
        return process.is_running() and process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


def alive(pid: int) -> bool:
    """Tell whether a process with this id runs; a zombie does not."""
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[psutil.Process]:
    """Return the children of a process, their children, and so on; none for a process that has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
