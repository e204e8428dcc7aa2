"""Folders are read as a whole: every object with its place, every problem at once, and nothing is endless."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.snapshot import Snapshot
from extauthz.folders.files import Limits
from extauthz.folders.reading import TABLES, Folder, FolderUnreadableError, read_folder
from extauthz.publish.files import PolicyDirectory
from tests.shipped_model import MODEL

RESOURCE = "resources: [{name: r, serviceName: s, routes: [{methods: [GET], path: /r}]}]\n"
DENY = "role_rules: [{id: shut, sub: '*', dom: '*', obj: r, act: '*', effect: deny}]\n"
CASES = "cases: [{name: c, principal: anonymous, request: {path: /r}, expect: {decision: deny}}]\n"


def read(root: Path, limits: Limits = Limits()) -> Folder:  # noqa: B008  # frozen
    return read_folder(root, Reading(), MODEL, limits=limits)


def said(folder: Folder) -> list[str]:
    return [str(each) for each in folder.problems]


def test_policies_and_cases_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "resources.yaml").write_text(RESOURCE)
    (tmp_path / "rules" / "deny.yaml").write_text("# why\n" + DENY)
    (tmp_path / "cases.yaml").write_text(CASES)
    folder = read(tmp_path)
    assert folder.files == ("cases.yaml", "resources.yaml", "rules/deny.yaml")
    assert [(each.table, each.file, each.pointer) for each in folder.documents] == [
        ("resources", "resources.yaml", "/resources/0"),
        ("role_rules", "rules/deny.yaml", "/role_rules/0"),
    ]
    assert folder.place("rules/deny.yaml", "/role_rules/0") == (2, 14)
    assert [(each.file, each.pointer) for each in folder.cases] == [("cases.yaml", "")]
    assert folder.snapshot is not None
    assert folder.findings == []


def test_a_process_that_follows_the_folder_ignores_files_of_cases(tmp_path: Path) -> None:
    (tmp_path / "deny.yaml").write_text(DENY)
    (tmp_path / "cases.yaml").write_text(CASES + "---\n" + CASES)
    loaded = PolicyDirectory(tmp_path, Reading(), MODEL).load(1)
    assert isinstance(loaded, Snapshot)
    assert "shut" in loaded.role_rules_by_id


@pytest.mark.parametrize("text", [CASES + DENY, "refused: []\n" + DENY, CASES + "role_rule: []\n"])
def test_a_file_with_cases_and_policies_is_refused_because_its_denies_would_be_left_out(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "both.yaml").write_text(text)
    assert "both.yaml:2:1: /role_rule" in said(read(tmp_path))[0]
    assert isinstance(PolicyDirectory(tmp_path, Reading(), MODEL).load(1), list)


def test_a_folder_of_cases_alone_has_no_policies_to_follow(tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(CASES)
    found = PolicyDirectory(tmp_path, Reading(), MODEL).load(1)
    assert isinstance(found, list)
    assert "none of policies" in str(found[0])


RESOURCE_MEMBERS = (
    "assertion, authorization, defaultRoles, displayName, headers, name, public, require_bound, routes, "
    "serviceName"
)
CONFLICT = "GET /r on every host of resource 'q' is already /r of resource 'r'"


def test_every_problem_of_every_file_is_reported_at_once_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE + "role_rules:\n  - {id: x, sub: a}\nrulez: 1\n")
    (tmp_path / "b.json").write_text('{\n  "resources": [\n    {"name": "r", "serviceName": "s",\n "x": 1}]}')
    (tmp_path / "c.yaml").write_text("resources:\n  - name: r2\n   serviceName: s\n")
    (tmp_path / "d.yaml").write_text(RESOURCE)
    (tmp_path / "e.yaml").write_text(RESOURCE.replace("name: r,", "name: q,"))
    assert said(read(tmp_path)) == [
        "a.yaml:3:5: /role_rules/0/dom: is missing, a string is needed",
        "a.yaml:3:5: /role_rules/0/obj: is missing, a string is needed",
        "a.yaml:3:5: /role_rules/0/act: is missing, a string is needed",
        "a.yaml:3:5: /role_rules/0/effect: is missing, one of 'allow', 'deny' is needed",
        f"a.yaml:4:1: /rulez: is not a member here; known are {', '.join(sorted(TABLES))}",
        f"b.json:4:2: /resources/0/x: is not a member here; known are {RESOURCE_MEMBERS}",
        "c.yaml:3:4: did not find expected '-' indicator",
        "d.yaml:1:13: /resources/0: 'r' is already used at a.yaml:1 (/resources/0)",
        f"e.yaml:1:48: /resources/0/routes/0: {CONFLICT}",
    ]


SHOWN_TIMES = "created_at: t, updated_at: t, warnings: []"


def test_members_that_the_server_sets_are_read_and_ignored(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(f"""
resources: [{{id: x, name: r, serviceName: s, createdAt: t, updatedAt: t, warnings: [], displayName: R}}]
role_rules: [{{id: a, sub: a, sub_kind: role, dom: '*', obj: r, act: x, effect: allow, {SHOWN_TIMES}}}]
role_bindings: [{{id: b, user: u, user_kind: user, role: a, dom: '*', {SHOWN_TIMES}}}]
attribute_policies: [{{id: c, name: n, resource: r, effect: deny, rule_data: {{type: ALWAYS}}, version: 3,
  deleted_at: null, {SHOWN_TIMES}}}]
""")
    folder = read(tmp_path)
    assert said(folder) == []
    assert dict(folder.documents[0].document) == {
        "id": "x",
        "name": "r",
        "serviceName": "s",
        "displayName": "R",
    }
    assert isinstance(PolicyDirectory(tmp_path, Reading(), MODEL).load(1), Snapshot)


def test_a_deleted_policy_is_not_brought_back_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "attribute_policies: [{id: c, name: n, resource: r, effect: allow, rule_data: {type: ALWAYS},"
        " deleted_at: 2026-01-01T00:00:00Z}]"
    )
    (found,) = said(read(tmp_path))
    assert found.startswith("p.yaml:1:94: /attribute_policies/0/deleted_at: is set: a deleted policy is not")


def test_what_is_not_a_readable_text_is_named_and_the_other_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to("gone")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\x7fELF\x00\xff\xfe")
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\n")
    (tmp_path / "nul.yaml").write_bytes(b"role_rules: []\x00\n")
    (tmp_path / "empty.yaml").write_bytes(b"")
    (tmp_path / "twice.yaml").write_text("role_rules: []\nrole_rules: []\n")
    (tmp_path / "two.yaml").write_text("{}\n---\n{}\n")
    (tmp_path / "aliases.yaml").write_text("role_rules: &a []\nrole_bindings: *a\n")
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "bad.json").write_text("{,}")
    (tmp_path / os.fsdecode(b"odd\n\xff.yaml")).write_text("{}")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfrole_rules: []\r\n")
    (tmp_path / "crlf.yaml").write_bytes(RESOURCE.replace("\n", "\r\n").encode())
    folder = read(tmp_path)
    assert "odd\\n\\xff.yaml" in folder.files
    assert len(folder.documents) == 1
    assert {each.file for each in folder.problems} == set(folder.files) - {
        "bom.yaml",
        "crlf.yaml",
        "odd\\n\\xff.yaml",
    }
    assert not [each for each in said(folder) if "\n" in each]


def test_a_circle_of_links_is_not_walked_and_a_link_to_a_folder_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "sub" / "a.yaml").write_text(RESOURCE)
    (tmp_path / "b.YAML").write_text(DENY)
    folder = read(tmp_path)
    assert folder.files == ("sub/a.yaml",)
    assert [(each.file, each.code) for each in folder.warnings] == [
        ("b.YAML", "not_read"),
        ("sub/up", "not_read"),
    ]


def test_a_folder_that_is_too_deep_for_its_paths_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE)
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert [each.message for each in read(tmp_path).problems] == ["cannot be read: File name too long"]
    finally:
        # pytest's own removal takes whole paths.
        shutil.rmtree(tmp_path / ("d" * 200))


@pytest.mark.parametrize("limits", [Limits(files=2), Limits(entries=2)])
def test_a_folder_beyond_its_limits_is_refused(tmp_path: Path, limits: Limits) -> None:
    for number in range(3):
        (tmp_path / f"{number}.yaml").write_text("{}")
    with pytest.raises(FolderUnreadableError, match="has more than 2 "):
        read(tmp_path, limits)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(FolderUnreadableError, match="more than 67108864 bytes"):
        read(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE)
    for name in ("a.yaml", "missing"):
        with pytest.raises(FolderUnreadableError, match="is not a directory"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"role_rules": [\n {"id": "a" "b"}]}', "2:13: not JSON: Expecting ',' delimiter"),
        ('{"role_rules": [\n {"id": "a", "id": "b"}]}', "2:14: the member 'id' occurs twice"),
        ('{"role_rules": [\n NaN]}', "2:2: NaN is not JSON"),
        ("", "1:1: not JSON: Expecting value"),
        ('{"a": ' + "[" * 200_000, "1:1: nested deeper than 128 levels"),
        ('{"a": 1' + "0" * 5_000 + "}", "1:1: a number out of range"),
    ],
)
def test_faults_of_json_have_a_place(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert said(read(tmp_path)) == [f"a.json:{problem}"]


def test_aliases_of_cases_cannot_stand_for_billions_of_values(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines) + "\n" + CASES)
    assert "aliases make more than 1000000 values" in said(read(tmp_path))[0]
