"""Finds the files that ship with the code: in a checkout, or inside the installed wheel."""

from pathlib import Path


def shipped(name: str) -> Path:
    """Return the path of a shipped file or folder such as `policies/model.conf`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_shipped", package.parent):
        candidate = root / name
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{name!r} is missing from this installation of extauthz; install it again")
