"""A plan as it is shown: signs and colours, members that differ, and nothing that a terminal would obey."""

from typing import Any

import pytest

from extauthz.folders.differences import NOT_THERE, differences
from extauthz.folders.plan import Plan
from extauthz.folders.plan_text import SHOWN_EXTRA, plan_json, plan_lines
from extauthz.folders.rows import PolicyRow
from tests.unit.folders.test_plan import BINDING, POLICY, RESOURCE, RULE, Server, all_rows, planned, rows


def where(row: PolicyRow) -> str:
    return f"{row.file}:1"


def lines(plan: Plan, *, colour: bool = False, prune: bool = False) -> list[str]:
    return list(plan_lines(plan, where, colour=colour, prune=prune))


def changed() -> Plan:
    """Return a plan with a row of every action, and one that is not in the folder."""
    server = Server(all_rows())
    second = RESOURCE | {"name": "other", "routes": []}
    wanted = rows(
        resources=[RESOURCE | {"displayName": "D"}, second],
        role_bindings=[BINDING | {"expires_at": "2031-01-31T07:00:00Z"}],
        attribute_policies=[POLICY],
    )
    return planned(wanted, server.live)


def test_each_step_has_its_sign_its_place_and_its_members() -> None:
    assert lines(changed()) == [
        "~ resource doc:read  (f.yaml:1)",
        '    displayName: "doc:read" -> "D"',
        "+ resource other  (f.yaml:1)",
        '    + serviceName: "s"',
        '    + displayName: "other"',
        "~ role binding user:u a *  (f.yaml:1)",
        '    + expires_at: "2031-01-31T07:00:00Z"',
        "! role rule role:a * doc:read read allow  not in the folder",
        "1 to create, 2 to change, 0 to delete; 1 live row not in the folder (--prune deletes)",
    ]


def test_colours_are_per_line_and_end_with_it() -> None:
    coloured = lines(changed(), colour=True)
    plain = lines(changed())
    for one, other in zip(coloured[:-1], plain[:-1], strict=True):
        code = {"+": "32", "-": "31", "!": "36"}.get(other.strip()[0], "33")
        assert one == f"\x1b[{code}m{other}\x1b[0m"
    assert coloured[-1] == plain[-1]


def test_control_characters_of_a_terminal_are_not_printed() -> None:
    evil = {"type": "CONDITION", "attribute": "user.a", "operator": "eq", "value": "\x1b[2J\u202eabc\n"}
    shown = lines(planned(rows(attribute_policies=[POLICY | {"rule_data": evil}]), []))
    assert all(line.isprintable() for line in shown)
    live = PolicyRow("role_rule", "\x1b[31m", {"sub": "a\nb", "sub_kind": "role"})
    assert all(line.isprintable() for line in lines(Plan(extra=(live,))))
    deleted = planned([], [live], prune=True)
    assert all(line.isprintable() for line in lines(deleted))


def test_many_rows_that_are_not_in_the_folder_are_counted() -> None:
    server = Server(
        rows(role_rules=[RULE | {"id": f"r{number}", "act": f"a{number}"} for number in range(50)])
    )
    shown = lines(planned([], server.live))
    assert len(shown) == SHOWN_EXTRA + 2
    assert "and 30 more rows" in shown[-2]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": True}, {"a": 1}, [("/a", True, 1)]),
        ({"a/b": 1}, {}, [("/a~1b", 1, NOT_THERE)]),
        (
            {"actions": ["a", "b"]},
            {"actions": ["b", "c"]},
            [("/actions", "a", NOT_THERE), ("/actions", NOT_THERE, "c")],
        ),
        ({"actions": ["a", "b"]}, {"actions": ["b", "a"]}, []),
        (
            {"rule_data": {"value": ["a", "b"]}},
            {"rule_data": {"value": ["b", "a"]}},
            [("/rule_data/value", ["a", "b"], ["b", "a"])],
        ),
        (
            {"rule_data": {"conditions": [{"v": 1}, {"v": 2}]}},
            {"rule_data": {"conditions": [{"v": 1}, {"v": 3}]}},
            [("/rule_data/conditions/1/v", 2, 3)],
        ),
        ({"defaultRoles": ["a"]}, {"defaultRoles": []}, []),
    ],
)  # fmt: skip
def test_members_that_differ_are_found(before: Any, after: Any, expected: list[Any]) -> None:
    assert [(each.pointer, each.before, each.after) for each in differences(before, after)] == expected


def test_json_has_the_documents_and_the_members() -> None:
    shown = plan_json(changed(), where)
    assert [shown[name] for name in ("create", "change", "delete")] == [1, 2, 0]
    first = shown["changes"][0]  # type: ignore[index]
    assert (first["action"], first["kind"], first["name"], first["place"]) == (
        "change", "resource", "doc:read", "f.yaml:1",
    )  # fmt: skip
    assert first["members"] == [{"pointer": "/displayName", "before": "doc:read", "after": "D"}]
    assert shown["not_in_folder"][0]["kept_for_rules"] is False  # type: ignore[index]
