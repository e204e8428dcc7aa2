"""A check is denied where the introspector itself fails, and the failure is logged."""

from pathlib import Path
from typing import Any, NoReturn

import pytest

from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.introspector import Introspector
from tests.builders import check_request, read_answer
from tests.integration.introspecting import config
from tests.real_service import FixedKeys, real_service

POLICIES = {
    "resources": [
        {"name": "a:read", "serviceName": "a", "routes": [{"methods": ["GET"], "path": "/a"}]},
    ],
}


class Failing(Introspector):
    def ask(self, *_: Any) -> NoReturn:
        raise RuntimeError("no event loop")


@pytest.mark.parametrize("entrance", ["begin", "answer"])
def test_a_check_is_denied_and_logged(tmp_path: Path, entrance: str) -> None:
    """Both ways in which a gRPC server asks for the answer to a check."""
    raw = check_request("/a", headers={"authorization": "Bearer opaque"})
    ring = KeyRing.of([IssuerKeys(config("https://idp.example.test"))])
    failing = Failing(KeyFetcher().http, b"secret")
    with real_service(tmp_path, POLICIES, keys=FixedKeys(ring), introspector=failing) as running:
        answer = getattr(running.service, entrance)(raw, 0.2)
        assert isinstance(answer, bytes)
        assert not read_answer(answer).allowed
        (line,) = running.decisions()
    assert (line["decision"], line["reason"]) == ("deny", "internal_error")
