"""Finds out whether the policies of files read the body of requests, which the proxies then have to send."""

from typing import NamedTuple

from extauthz.publish.files import PolicyDirectory
from extauthz.runtime.policies import policy_reading, role_model
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import FilesSource, Settings
from extauthz.telemetry import logs


class PoliciesNotKnown(NamedTuple):
    """Why what the policies read is not known here, in printable ASCII."""

    why: str


def body_reader_of(settings: Settings) -> str | PoliciesNotKnown | None:
    """Return which entry of the policies reads the body; None where none does."""
    if not isinstance(settings.policy_source, FilesSource):
        return PoliciesNotKnown("the policies are not in files")
    # Without a configuration structlog prints on stdout, where the answer is.
    logs.configure(settings.log_level, settings.log_format)
    try:
        directory = PolicyDirectory(
            settings.policy_source.directory,
            policy_reading(settings),
            role_model(settings),
            max_bytes=settings.policy_max_bytes,
        )
        loaded = directory.load(1)
    except (OSError, StartRefusedError) as error:
        return _unreadable(error)
    return _unreadable(loaded[0]) if isinstance(loaded, list) else directory.body_reader


def _unreadable(problem: object) -> PoliciesNotKnown:
    text = " ".join(str(problem).split())
    return PoliciesNotKnown(f"the policies cannot be read here ({ascii(text)[1:-1]})")
