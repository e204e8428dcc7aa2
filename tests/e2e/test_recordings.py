"""What Envoy asked is in the recordings within a minute, without any setting."""

from typing import Any

from extauthz.demo.calls import send
from extauthz.demo.stack import Stack
from tests.waiting import await_true

WITHIN_S = 60


def recordings(tenant: Any) -> dict[str, Any]:
    reply = tenant.rest.ask("GET", "/api/v1/recordings")
    assert reply.status == 200, reply
    return dict(reply.document)


def test_what_envoy_asked_is_recorded_within_a_minute(stack: Stack) -> None:
    tenant = stack.tenants[0]
    before = recordings(tenant)
    token = tenant.people.token("bob")
    asked = 0
    for path in ("/demo/invoices/17", "/demo/invoices/18", "/demo/not-mapped?secret=of-the-query"):
        for bearer in (token, None, "not.a.token"):
            assert send(stack.envoy_port, path, host=tenant.host, token=bearer).status in {200, 401, 403}
            asked += 1

    def requests() -> bool:
        return bool(recordings(tenant)["requests"] >= before["requests"] + asked)

    await_true(requests, within=WITHIN_S, what="the recording")
    found = recordings(tenant)
    assert found["recording"] is True
    assert found["since"] is not None
    assert found["lost"] == 0
    assert found["shapes"] > before["shapes"]
