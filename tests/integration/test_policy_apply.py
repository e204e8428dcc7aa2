"""`extauthz policy apply` and `extauthz policy export` against the served REST API."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.applying import (
    FOLDER,
    command,
    drafts,
    environment,
    everything,
    revision,
    rows,
    write_folder,
)
from tests.integration.rest_harness import Api, rest, rule
from tests.integration.rest_saas import firms

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


async def test_a_folder_is_applied_in_one_revision_and_applied_again_without_a_difference(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database) as api:
        folder = write_folder(tmp_path / "folder", FOLDER)
        shown = await command(api, "apply", folder, "--dry-run")
        assert (shown.returncode, shown.stderr) == (1, "")
        assert "+ role rule role:finance * invoice:read read allow  (policies.json:1)" in shown.stdout
        assert "    + routes: " in shown.stdout
        assert shown.stdout.endswith("10 to create, 0 to change, 0 to delete\n")
        assert "\x1b" not in shown.stdout
        assert "\u202e" not in shown.stdout
        assert await everything(api) == [[], [], [], []]
        assert (await revision(api), await drafts(api)) == (0, [])

        applied = await command(api, "apply", folder)
        assert applied.returncode == 0, applied
        assert applied.stdout.endswith("published as revision 1\n")
        assert (await revision(api), await drafts(api)) == (1, [])
        (draft,) = await drafts(api, "published")
        assert draft["title"] == "extauthz policy apply folder"
        (resource,) = (each for each in await rows(api, "resources") if each["name"] == "price")
        assert resource["public"] is True

        again = await command(api, "apply", folder, "--prune")
        assert (again.returncode, again.stdout, again.stderr) == (0, "no differences at revision 1\n", "")
        assert (await revision(api), len(await drafts(api, "published"))) == (1, 1)
        same = await command(api, "apply", folder, "--dry-run", "--json")
        assert same.returncode == 0
        assert same.stdout.startswith('{"ok":true,')
        assert json.loads(same.stdout) == {
            "ok": True, "changes": [],
            "not_in_folder": [], "create": 0, "change": 0, "delete": 0, "state": "unchanged",
            "live_revision": 1, "published_revision": None, "draft": None, "hidden": [],
        }  # fmt: skip


async def test_an_export_is_a_folder_that_makes_no_plan_and_the_same_bytes_again(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database) as api:
        await command(api, "apply", write_folder(tmp_path / "folder", FOLDER))
        exported = tmp_path / "a" / "exported"
        written = await command(api, "export", exported)
        assert written.returncode == 0, written
        assert written.stdout.count("wrote ") == 4
        names = ["attribute_policies.yaml", "resources.yaml", "role_bindings.yaml", "role_rules.yaml"]
        assert sorted(path.name for path in exported.iterdir()) == names
        empty = await command(api, "apply", exported, "--prune")
        assert (empty.returncode, empty.stdout) == (0, "no differences at revision 1\n")
        before = {path: (path.read_bytes(), path.stat().st_ino) for path in exported.iterdir()}
        again = await command(api, "export", exported, "--json")
        assert sorted(json.loads(again.stdout)["unchanged"]) == names
        assert {path: (path.read_bytes(), path.stat().st_ino) for path in exported.iterdir()} == before

        (exported / "mine.yaml").write_text("role_rules: []\n")
        refused = await command(api, "export", exported)
        assert refused.returncode == 2
        assert "mine.yaml is there, and no export wrote it" in refused.stderr
        (exported / "mine.yaml").rename(exported / "README.md")
        (exported / "cases.yaml").write_text(
            "cases: [{name: c, principal: anonymous, request: {path: /r}, expect: {decision: deny}}]\n"
        )
        assert (await command(api, "export", exported)).returncode == 0


async def test_rows_change_member_by_member_and_rows_outside_of_the_folder_stay_without_prune(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database) as api:
        folder = write_folder(tmp_path / "folder", FOLDER)
        await command(api, "apply", folder)
        changed = json.loads(json.dumps(FOLDER))
        # The two resources swap their routes.
        first, second = changed["resources"]
        first["routes"], second["routes"] = second["routes"], first["routes"]
        del second["public"]
        changed["role_bindings"][0]["expires_at"] = "2032-01-01T00:00:00Z"
        changed["attribute_policies"][0] |= {"priority": 8, "name": "Sealed "[:6]}
        del changed["role_rules"][0]
        write_folder(folder, changed)

        shown = await command(api, "apply", folder, "--dry-run")
        assert "~ attribute policy Sealed" in shown.stdout
        assert "    priority: 7 -> 8\n" in shown.stdout
        assert '    expires_at: "2031-01-31T07:00:00.500000Z" -> "2032-01-01T00:00:00Z"\n' in shown.stdout
        assert "    - public: true\n" in shown.stdout
        assert "- role rule role:anonymous * price access allow" in shown.stdout
        assert "! role rule role:emea emea invoice:read * allow  not in the folder\n" in shown.stdout
        assert "1 live row not in the folder (--prune deletes)" in shown.stdout
        applied = await command(api, "apply", folder)
        assert applied.returncode == 0, applied
        assert await revision(api) == 2
        assert sorted(each["sub"] for each in await rows(api, "resources/policies")) == [
            "*",
            "emea",
            "finance",
        ]
        assert (await command(api, "apply", folder)).stdout.endswith("no differences at revision 2\n")

        pruned = await command(api, "apply", folder, "--prune")
        assert "0 to create, 0 to change, 1 to delete" in pruned.stdout
        assert sorted(each["sub"] for each in await rows(api, "resources/policies")) == ["*", "finance"]

        write_folder(folder, {"role_rules": changed["role_rules"]})
        less = await command(api, "apply", folder, "--prune")
        assert less.returncode == 0, less
        assert (
            "resource invoice:read  not in the folder, and kept: rules of the folder name it" in less.stdout
        )
        assert [each["name"] for each in await rows(api, "resources")] == ["invoice:read"]
        write_folder(folder, {})
        nothing = await command(api, "apply", folder, "--prune")
        assert nothing.returncode == 2
        assert "--prune would delete every live row" in nothing.stderr
        assert await revision(api) == 4


async def test_a_long_list_is_sent_in_parts_and_published_at_once(
    database: "Database", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extauthz.folders.changes._MOST_ENTRIES", 3)
    async with rest(database) as api:
        folder = write_folder(tmp_path / "folder", FOLDER)
        assert (await command(api, "apply", folder)).returncode == 0
        assert (await revision(api), await drafts(api)) == (1, [])
        assert (await command(api, "apply", folder, "--prune", "--dry-run")).returncode == 0
        taken = [{"methods": ["GET"], "path": "/taken"}]
        live = {"name": "theirs", "serviceName": "s", "routes": taken}
        (await api.post("/api/v1/resources", live)).succeeded(201)
        broken = json.loads(json.dumps(FOLDER))
        broken["resources"].append({"name": "mine", "serviceName": "s", "routes": taken})
        broken["role_rules"] += [rule(id=f"r{number}", act=f"{number}") for number in range(7)]
        refused = await command(api, "apply", write_folder(folder, broken))
        assert refused.returncode == 1
        assert (
            "create resource mine: GET any host /taken of 'mine' already leads to 'theirs'" in refused.stderr
        )
        assert (await revision(api), await drafts(api)) == (2, [])


async def test_a_draft_is_left_open_for_people_to_look_at(database: "Database", tmp_path: Path) -> None:
    async with rest(database) as api:
        folder = write_folder(tmp_path / "folder", FOLDER)
        left = await command(api, "apply", folder, "--draft")
        assert left.returncode == 0, left
        (draft,) = await drafts(api)
        assert (
            f"draft {draft['id']} is open: {api.url}/api/v1/drafts/{draft['id']}/diff shows it" in left.stdout
        )
        assert await revision(api) == 0
        assert len((await api.get(f"/api/v1/drafts/{draft['id']}/diff")).body["items"]) == 10
        (await api.post(f"/api/v1/drafts/{draft['id']}/publish")).succeeded(200)
        again = await command(api, "apply", folder, "--draft", "--json")
        assert (again.returncode, json.loads(again.stdout)["state"]) == (0, "unchanged")
        assert await drafts(api) == []


async def test_tests_and_the_change_guard_stop_a_publication_and_say_why(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database) as api:
        case = {
            "name": "the archive is closed",
            "principal": {"id": "ann", "roles": ["finance"]},
            "request": {"resource": "invoice:read", "action": "read"},
            "expect": {"decision": "deny"},
        }
        (await api.post("/api/v1/policy-tests", case)).succeeded(201)
        folder = write_folder(tmp_path / "folder", {"role_rules": [rule(id="a", dom="*")]})
        refused = await command(api, "apply", folder)
        assert refused.returncode == 1
        assert "policy tests fail with these policies; nothing was applied" in refused.stderr
        assert "the archive is closed" in refused.stderr
        assert (await revision(api), await drafts(api)) == (0, [])
        (test,) = (await api.get("/api/v1/policy-tests")).body["items"]
        (await api.delete(f"/api/v1/policy-tests/{test['id']}")).succeeded(204)

        (await api.put("/api/v1/change-guard", {"max_newly_allowed": 0}, caller="tenant")).succeeded(200)
        guarded = await command(api, "apply", folder)
        assert guarded.returncode == 1
        assert "needs a replay of the draft, which --draft leaves open for it" in guarded.stderr
        assert (await revision(api), await drafts(api)) == (0, [])


async def test_what_the_server_refuses_is_told_with_the_place_in_the_folder(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database) as api:
        owned = {"name": "r", "serviceName": "theirs", "routes": [{"methods": ["GET"], "path": "/r"}]}
        (await api.post("/api/v1/resources", owned)).succeeded(201)
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "a.yaml").write_text(
            "resources:\n  - {name: q, serviceName: s}\n"
            "  - {name: p, serviceName: s, routes: [{methods: [GET], path: '/r'}]}\n"
        )
        refused = await command(api, "apply", folder)
        assert refused.returncode == 1
        assert "a.yaml:3: create resource p: " in refused.stderr
        assert "already leads to 'r'" in refused.stderr
        assert (await revision(api), await drafts(api)) == (1, [])

        (folder / "a.yaml").write_text("role_rules:\n  - {id: a}\n")
        invalid = await command(api, "apply", folder)
        assert invalid.returncode == 2
        assert "a.yaml:2" in invalid.stderr
        assert "nothing was sent" in invalid.stderr


async def key_with(api: Api, *scopes: str, **members: object) -> dict[str, str]:
    document = {"name": "key", "scopes": list(scopes)} | members
    made = (await api.post("/api/v1/service-api-keys", document)).succeeded(201).body
    environ = environment(api, EXTAUTHZ_SERVICE_API_KEY=made["key"])
    del environ["ADMIN_API_KEY"]
    return environ


async def test_callers_apply_what_they_may_write_and_no_more(database: "Database", tmp_path: Path) -> None:
    async with rest(database) as api:
        rules = write_folder(tmp_path / "rules", {"role_rules": [rule(id="a")]})
        all_kinds = write_folder(tmp_path / "all", FOLDER)
        key = await key_with(api, "policies:read", "policies:write", domain="emea")
        (await api.post("/api/v1/resources/policies", rule(act="of all", dom="*"))).succeeded(201)
        applied = await command(api, "apply", rules, "--prune", environ=key)
        assert applied.returncode == 0, applied
        assert "resources are not shown to this caller; they are not compared" in applied.stdout
        assert len(await rows(api, "resources/policies")) == 2, "the rule of another domain stays"
        resources = await command(api, "apply", all_kinds, environ=key)
        assert resources.returncode == 1
        assert "key with the scope resources:write" in resources.stderr
        foreign = write_folder(tmp_path / "foreign", {"role_rules": [rule(id="a"), rule(id="b", dom="apac")]})
        refused = await command(api, "apply", foreign, environ=key)
        assert refused.returncode == 1
        assert "you do not administer the domain 'apac'" in refused.stderr
        assert "policies.json:1: create role rule role:finance apac" in refused.stderr
        exported = await command(api, "export", tmp_path / "exported", environ=key)
        assert exported.returncode == 0, exported
        assert not (tmp_path / "exported" / "resources.yaml").exists()
        assert (await command(api, "apply", tmp_path / "exported", "--prune", environ=key)).returncode == 0

        registrar = await key_with(
            api, "policies:read", "policies:write", "resources:write", service_name="billing",
            prefixes=["/invoices"],
        )  # fmt: skip
        mine = {"resources": [FOLDER["resources"][0] | {"defaultRoles": []}], "role_rules": [rule(id="a")]}
        done = await command(api, "apply", write_folder(tmp_path / "mine", mine), environ=registrar)
        assert done.returncode == 0, done

        reader = await key_with(api, "policies:read")
        assert (await command(api, "export", tmp_path / "read", environ=reader)).returncode == 0
        planned = await command(api, "apply", foreign, "--dry-run", environ=reader)
        assert planned.returncode == 1, planned
        not_written = await command(api, "apply", foreign, environ=reader)
        assert not_written.returncode == 1
        assert "the server refuses a draft: 403" in not_written.stderr

        token = environment(api, EXTAUTHZ_TOKEN=api.bearer(sub="root", adm="*")["Authorization"][7:])
        del token["ADMIN_API_KEY"]
        assert (await command(api, "apply", all_kinds, environ=token)).returncode == 0
        bad = environment(api, ADMIN_API_KEY="not the key of this server, but long enough")
        refused = await command(api, "apply", all_kinds, "--dry-run", environ=bad)
        assert refused.returncode == 2
        assert "401" in refused.stderr
        assert "not the key" not in refused.stderr
        assert await drafts(api) == []


async def test_a_bootstrap_key_applies_to_its_tenant_alone(database: "Database", tmp_path: Path) -> None:
    async with firms(database, "acme", "globex") as found:
        acme, globex = (
            environment(found.api, EXTAUTHZ_SERVICE_API_KEY=found.firms[slug].bootstrap)
            for slug in ("acme", "globex")
        )
        del acme["ADMIN_API_KEY"], globex["ADMIN_API_KEY"]
        folder = write_folder(tmp_path / "folder", FOLDER)
        assert (await command(found.api, "apply", folder, environ=acme)).returncode == 0
        assert (await command(found.api, "apply", folder, "--dry-run", environ=acme)).returncode == 0
        other = await command(found.api, "export", tmp_path / "globex", "--json", environ=globex)
        assert sum(json.loads(other.stdout)["rows"].values()) == 0
