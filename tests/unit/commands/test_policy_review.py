"""`extauthz policy review`: the comment on a pull request, and what may not become a part of it."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from extauthz.commands.review_markdown import MOST, Review, markdown
from tests.command_line import run_extauthz
from tests.docs.samples import ROOT
from tests.recorded_requests import CLERKS, ORDERS
from tests.unit.commands.test_policy_replay import line

BASE: dict[str, Any] = {
    "resources": [ORDERS],
    "role_rules": [CLERKS],
    "attribute_policies": [
        {
            "id": "sealed",
            "name": "Sealed orders are closed",
            "resource": "shop:orders",
            "effect": "deny",
            "priority": 100,
            "rule_data": {"type": "CONDITION", "attribute": "user.id", "operator": "eq", "value": "mallory"},
        }
    ],
}
HEAD = BASE | {
    "role_rules": [CLERKS, CLERKS | {"id": "sellers", "sub": "seller"}],
    "attribute_policies": [BASE["attribute_policies"][0] | {"priority": 50}],
}
CASE = {
    "name": "sellers read orders",
    "principal": {"id": "bob", "roles": ["seller"]},
    "request": {"resource": "shop:orders", "action": "read"},
    "expect": {"decision": "allow"},
}
# A name with everything that Markdown, HTML, GitHub and a terminal act on.
EVIL = (
    "x```\n````~~~</code></pre><img src=x onerror=alert(1)><!-- @"
    "torvalds #1 [a](javascript:b) \u202e\x1b[31m| `"
)


def folder(root: Path, name: str, documents: object, cases: object = None) -> Path:
    (root / name).mkdir(exist_ok=True)
    (root / name / "policies.json").write_text(json.dumps(documents), "utf-8")
    if cases is not None:
        (root / name / "cases.json").write_text(json.dumps({"cases": cases}), "utf-8")
    return root / name


def review(root: Path, head: object, *options: str, base: object = BASE, cases: object = None) -> Any:
    folders = "--base", folder(root, "base", base), "--head", folder(root, "policies", head, cases)
    return run_extauthz("policy", "review", *folders, *options)


def log(root: Path) -> str:
    lines = [line("seller"), line("seller", subject="bob"), line("clerk"), line("other")]
    (root / "decisions.log").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return str(root / "decisions.log")


def test_the_page_shows_the_comment(tmp_path: Path) -> None:
    cases = [CASE, CASE | {"name": "clerks may not", "principal": {"id": "eve", "roles": ["clerk"]}}]
    cases[1]["expect"] = {"decision": "deny"}
    said = review(
        tmp_path, HEAD, "--log", log(tmp_path), "--max-newly-allowed", "0", "--examples", cases=cases
    )
    assert (said.returncode, said.stderr) == (1, "")
    page = (ROOT / "docs/pull-requests.md").read_text("utf-8")
    assert page.partition(" It begins here:\n\n")[2] == said.stdout


def test_a_change_without_problems_and_failed_cases_succeeds(tmp_path: Path) -> None:
    said = review(tmp_path, HEAD, cases=[CASE])
    assert said.returncode == 0
    assert "1 of 1 case as expected" in said.stdout
    assert "+ role rule role:seller" in said.stdout
    assert "    priority: 100 -> 50" in said.stdout
    unchanged = review(tmp_path, BASE, cases=[])
    assert "No policy changes." in unchanged.stdout
    assert "```" not in unchanged.stdout


def test_a_failed_case_and_a_problem_fail_the_review(tmp_path: Path) -> None:
    failing = review(tmp_path, BASE, cases=[CASE])
    assert failing.returncode == 1
    assert "do not merge this" in failing.stdout
    assert "sellers read orders: decision: expected 'allow', got 'deny'" in failing.stdout
    wrong = review(tmp_path, BASE | {"role_rules": [CLERKS | {"effect": "permit"}]}, "--log", log(tmp_path))
    assert wrong.returncode == 1
    assert "/role_rules/0/effect" in wrong.stdout
    assert "Replay" not in wrong.stdout


def test_a_deleted_resource_is_shown_also_where_rules_still_name_it(tmp_path: Path) -> None:
    said = review(tmp_path, {"role_rules": [CLERKS]})
    assert "- resource shop:orders" in said.stdout
    assert "- attribute policy Sealed orders are closed" in said.stdout


@pytest.mark.parametrize(("most", "status"), [("0", 1), ("1", 1), ("2", 0)])
def test_more_newly_allowed_requests_than_the_maximum_fail_the_review(
    tmp_path: Path, most: str, status: int
) -> None:
    said = review(tmp_path, HEAD, "--log", log(tmp_path), "--max-newly-allowed", most)
    assert said.returncode == status
    assert "| newly allowed | 2 |" in said.stdout
    assert "2 newly allowed by role rule sellers" in said.stdout
    assert "alice" not in said.stdout
    assert "/orders/17" not in said.stdout


def test_nothing_of_a_request_is_in_the_json_without_examples(tmp_path: Path) -> None:
    without = review(tmp_path, HEAD, "--log", log(tmp_path), "--json").stdout
    assert "alice" not in without
    assert "/orders/17" not in without
    assert json.loads(without)["replay"]["newly_allowed"]["requests"] == 2
    with_examples = review(tmp_path, HEAD, "--log", log(tmp_path), "--json", "--examples").stdout
    assert "alice" in with_examples
    assert "/orders/17" in with_examples


def test_requests_that_cannot_be_counted_fail_a_review_with_a_maximum(tmp_path: Path) -> None:
    broken = BASE | {"role_rules": [{}]}
    said = review(tmp_path, HEAD, "--log", log(tmp_path), "--max-newly-allowed", "5", base=broken)
    assert said.returncode == 1
    assert "cannot be replayed" in said.stdout
    assert "cannot be compared" in said.stdout
    assert review(tmp_path, HEAD, base=broken).returncode == 0


def test_the_first_folder_is_compared_with_nothing(tmp_path: Path) -> None:
    head = folder(tmp_path, "policies", HEAD)
    folders = "--base", tmp_path / "absent", "--head", head
    said = run_extauthz("policy", "review", *folders, "--log", log(tmp_path), "--max-newly-allowed", "0")
    assert said.returncode == 1
    assert "+ resource shop:orders" in said.stdout
    assert "| newly allowed | 3 |" in said.stdout


@pytest.mark.parametrize("side", ["base", "policies"])
def test_a_link_that_leaves_a_folder_is_not_read(tmp_path: Path, side: str) -> None:
    folder(tmp_path, "base", BASE)
    folder(tmp_path, "policies", HEAD)
    (tmp_path / "secret").write_text("password: [s3cr3t")
    (tmp_path / side / "sub").mkdir()
    (tmp_path / side / "sub/link.yaml").symlink_to("../../secret")
    said = review(tmp_path, HEAD)
    assert (said.returncode, said.stdout) == (2, "")
    assert "link.yaml is a link that leaves the folder" in said.stderr
    assert "s3cr3t" not in said.stderr
    (tmp_path / side / "sub/link.yaml").unlink()
    # Links that stay inside may be there: a circle of them is a file that cannot be read.
    (tmp_path / side / "circle.yaml").symlink_to("circle.yaml")
    assert "circle.yaml" in review(tmp_path, HEAD).stdout + review(tmp_path, HEAD).stderr or side == "base"
    (tmp_path / side / "circle.yaml").unlink()
    (tmp_path / side / "loop").symlink_to(".")
    (tmp_path / side / "binary.yaml").write_bytes(bytes(range(256)))
    assert review(tmp_path, HEAD).returncode in {0, 1}
    (tmp_path / side / "binary.yaml").unlink()
    (tmp_path / side / "same.json").symlink_to("policies.json")
    assert review(tmp_path, HEAD).returncode in {0, 1}


class Html(HTMLParser):
    """The tags of a page, and the text that is not code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.prose = ""
        self._code = 0
        self.feed(text)

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.add(tag)
        self._code += tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.prose += "" if self._code else data


def assert_harmless(comment: str) -> None:
    html = Html(MarkdownIt("gfm-like", {"linkify": False}).render(comment))
    assert html.tags <= {
        "h3",
        "h4",
        "p",
        "pre",
        "code",
        "strong",
        "em",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert not re.search(r"torvalds|onerror|javascript|alert", html.prose)
    assert comment.count("<!--") - comment.count("x onerror") <= 1 or "<img" not in html.prose
    assert all(sign.isprintable() or sign == "\n" for sign in comment)


def test_names_are_neither_markdown_nor_html_nor_mentions(tmp_path: Path) -> None:
    policies = [BASE["attribute_policies"][0] | {"name": EVIL}, BASE["attribute_policies"][0] | {"id": EVIL}]
    rules = [CLERKS, CLERKS | {"id": EVIL, "sub": EVIL}, CLERKS | {"id": "s", "sub": "seller"}]
    for head in (
        BASE | {"attribute_policies": policies, "role_rules": rules},
        BASE | {"role_rules": [CLERKS | {EVIL: EVIL, "sub": EVIL}]},
        {EVIL: EVIL},
    ):
        said = review(
            tmp_path,
            head,
            "--name",
            EVIL,
            "--log",
            log(tmp_path),
            "--examples",
            cases=[CASE | {"name": EVIL}],
        )
        assert said.returncode in {0, 1}, said.stderr
        assert "torvalds" in said.stdout
        assert_harmless(said.stdout)
    everywhere = Review(EVIL, [EVIL], [EVIL], 1, [EVIL], [EVIL])
    assert_harmless(markdown(everywhere))


def test_a_comment_is_shorter_than_it_may_be() -> None:
    many = [f"+ role rule {number} {'😀`' * 200}" for number in range(5_000)]
    for review_of in (
        Review("n", [], many, 5_000, many, many),
        Review("n", many, many),
        Review("n", changes=["`" * 1_000_000]),
    ):
        comment = markdown(review_of)
        assert len(comment.encode("utf-16-le")) // 2 <= MOST
        assert re.search("more lines|left out|characters", comment)
        assert_harmless(comment)


@pytest.mark.parametrize(
    "options",
    [["--max-newly-allowed", "1"], ["--max-newly-allowed", "-1", "--log", os.devnull]],
    ids=" ".join,
)
def test_a_maximum_without_requests_to_count_is_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    said = review(tmp_path, {"role_rules": [{}]}, *options)
    assert (said.returncode, said.stdout) == (2, "")


def test_a_folder_is_called_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(tmp_path, "shop", HEAD))
    said = run_extauthz("policy", "review", "--base", ".", "--head", ".")
    assert said.stdout.startswith("<!-- extauthz-policy-review shop -->\n### Policy review of `shop`\n")
