"""What this process has seen of the bodies of requests: whether the proxy sends what conditions can read."""

from collections.abc import Mapping
from typing import Final

from extauthz.check.checked_body import CONTENT_TYPE, CheckedBody
from extauthz.check.extauthz_check_pb2 import HttpRequest
from extauthz.domain.content_type import body_form
from extauthz.domain.sidecar_report import RequestBodies

CONTENT_LENGTH: Final = "content-length"


class SeenBodies:
    """What checks had of bodies since the start, also where no rule asked for them.

    `longest` is up to how many octets conditions read; 0: no body. Threads share it: each member only ever
    becomes true.
    """

    __slots__ = ("arrived", "checked", "longest", "unreadable")

    def __init__(self, longest: int = 0) -> None:
        """Start without a check."""
        self.longest = longest
        self.checked = self.unreadable = self.arrived = False

    def note(self, http: HttpRequest, raw: Mapping[str, bytes], body: CheckedBody | None) -> None:
        """Note a check of a request with a Content-Type.

        `raw` has at least that and `CONTENT_LENGTH`. `body`: None where conditions cannot read one.
        """
        # A client can send the header of Envoy, too; the bytes only Envoy.
        if body is not None and 0 < len(http.raw_body) <= self.longest:
            self.arrived = True
        elif not self.unreadable and body_form(raw[CONTENT_TYPE]) is not None and _has_body(http, raw):
            self.unreadable = True

    def state(self) -> RequestBodies | None:
        """Return what was seen; None before the first check, and where no body is read."""
        if not self.longest or not self.checked:
            return None
        if self.arrived:
            return RequestBodies.ARRIVED
        return RequestBodies.UNREADABLE if self.unreadable else RequestBodies.NONE


def _has_body(http: HttpRequest, raw: Mapping[str, bytes]) -> bool:
    """Tell whether the request has a body, by its length where the proxy sends none along.

    Of a chunked body, or one of HTTP/2 without a length, Envoy shows nothing then.
    """
    if http.raw_body or http.body or http.size > 0:
        return True
    length = raw.get(CONTENT_LENGTH)
    return length is not None and length.isdigit() and int(length[:20]) > 0
