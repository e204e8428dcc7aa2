"""How often a test repeats what fails rarely: a sample in `make test`, more in `make verify`."""

import os


def volume(usual: int, *, verify: int) -> int:
    """Return the number of repetitions for this run."""
    return verify if os.environ.get("EXTAUTHZ_VERIFY") == "1" else usual
