"""A secret is stored nowhere: not in the database, not in a log, not in a later answer."""

from typing import TYPE_CHECKING

import pytest

from tests.integration.database_dump import dump
from tests.integration.rest_harness import ADMIN_KEY, rest
from tests.integration.rest_saas import firms
from tests.secret_traces import found

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
KEYS = "/api/v1/service-api-keys"


async def test_no_secret_is_kept_or_logged(database: "Database", capfd: pytest.CaptureFixture[str]) -> None:
    async with firms(database, "acme", "globex") as served:
        api = served.api
        secrets = {
            "admin key": ADMIN_KEY,
            "session": api.callers["session"]["Authorization"].rpartition("_")[2],
            "token": api.callers["acme/admin"]["Authorization"].rpartition(".")[2],
        } | {f"bootstrap key of {slug}": firm.bootstrap for slug, firm in served.firms.items()}
        rotated = await api.post("/admin/tenants/globex/bootstrap-key", caller="session")
        secrets["rotated"] = rotated.succeeded(201).body["bootstrapKey"]
        for scopes in (["identity"], ["check"], ["keys:write", "check"]):
            made = await api.post(KEYS, {"name": "robot", "scopes": scopes}, caller="acme/key")
            secrets[str(scopes)] = made.succeeded(201).body["key"]
        for name, key in list(secrets.items()):
            # Valid or not, used or mistaken for another kind: a presented credential is stored nowhere.
            for header in ("X-Service-Api-Key", "X-Admin-Api-Key"):
                await api.get(KEYS, caller="nobody", **{header: key})
                await api.get(KEYS, caller="nobody", **{header: key + "x", "X-Request-Id": name.split()[0]})
            await api.get(KEYS, caller="nobody", Authorization=f"Bearer {key}")
        asked = {"subject": "x", "resource": "a", "action": "b"}
        await api.post("/api/v1/check", asked, caller="acme/key")
        await api.services.failures.flush(api.services.pool, "-", api.services.new_id)
        await api.services.key_use.flush(api.services.pool)
        answers = b"".join(
            [
                (await api.get(path, caller=caller)).raw
                for path, caller in (
                    (KEYS, "acme/admin"), ("/api/v1/audit?limit=1000", "acme/admin"),
                    ("/admin/tenants", "operator"), ("/admin/tenants/acme", "operator"),
                )
            ]
        )  # fmt: skip
        api.services.recorder.log.close(5)
        decisions = api.log.read_bytes()
    logged = capfd.readouterr()
    everywhere = {
        "database": await dump(database),
        "answers": answers,
        "log": (logged.out + logged.err).encode(),
        "decisions": decisions,
    }
    assert b"service_key" in everywhere["database"]
    assert b"policies_published" in everywhere["log"]
    assert b'"event":"decision"' in decisions
    # Of a key, the part that is secret.
    hidden = {
        name: secret.rpartition("_")[2] if secret.startswith("sak_") else secret
        for name, secret in secrets.items()
    }
    assert found(hidden, everywhere) == []


async def test_invalid_credentials_are_throttled_and_audited_and_valid_ones_accepted(
    database: "Database",
) -> None:
    async with rest(database) as api:
        reasons = []
        for number in range(70):
            answer = await api.get(KEYS, caller="nobody", **{"X-Admin-Api-Key": f"wrong {number}"})
            reasons.append(answer.status)
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.problem(429)["reason"] == "api_key_invalid"
        assert reasons[:60] == [401] * 60
        assert 429 in reasons[60:]
        for caller in ("key", "tenant"):
            (await api.get(KEYS, caller=caller)).succeeded(200)
        (await api.get(KEYS, caller="nobody")).problem(401)
        await api.services.failures.flush(api.services.pool, "default", api.services.new_id)
        events = (await api.get("/api/v1/audit?kind=credential")).succeeded(200).body["items"]
        assert sum(event["after"]["times"] for event in events) == 70
        assert {event["actor"]["id"] for event in events} == {"127.0.0.1"}
        assert {event["action"] for event in events} == {"refuse"}


async def test_a_forwarded_address_does_not_evade_the_limit(database: "Database") -> None:
    async with rest(database) as api:
        answers = [
            await api.get(
                KEYS,
                caller="nobody",
                **{"X-Admin-Api-Key": "wrong", "X-Forwarded-For": f"192.0.2.{number}"},
            )
            for number in range(70)
        ]
        await api.services.failures.flush(api.services.pool, "default", api.services.new_id)
        events = (await api.get("/api/v1/audit?kind=credential")).succeeded(200).body["items"]

    assert 429 in [answer.status for answer in answers]
    assert {event["actor"]["id"] for event in events} == {"127.0.0.1"}


async def test_notes_are_written_when_the_process_ends(database: "Database") -> None:
    async with rest(database) as api:
        made = await api.post(KEYS, {"name": "robot", "scopes": ["audit:read"]})
        key = {"X-Service-Api-Key": made.succeeded(201).body["key"]}
        (await api.get("/api/v1/audit", caller="nobody", **key)).succeeded(200)
        (await api.get(KEYS, caller="nobody", **{"X-Admin-Api-Key": "wrong"})).problem(401)
    async with rest(database) as api:
        assert (await api.get(KEYS)).body["items"][0]["last_used_at"] is not None
        assert len((await api.get("/api/v1/audit?kind=credential")).body["items"]) == 1
