"""The hooks of the documentation site: links that leave the documentation, and titles of code blocks."""

from types import SimpleNamespace

import pytest

from tools.mkdocs_hooks import on_page_markdown


def rendered(markdown: str, page: str = "guide.md") -> str:
    return on_page_markdown(markdown, page=SimpleNamespace(file=SimpleNamespace(src_uri=page)))


@pytest.mark.parametrize(
    "link",
    ["[a](other.md)", "[a](adr/0001-x.md#b)", "[a](#b)", "[a](https://example.com/x)", "![a](images/a.svg)"],
)
def test_links_inside_of_the_documentation_stay(link: str) -> None:
    assert rendered(f"see {link}.") == f"see {link}."


@pytest.mark.parametrize(
    ("page", "link", "path"),
    [
        ("guide.md", "[a](../README.md)", "README.md"),
        ("guide.md", "[a](../deploy/istio/mesh.yaml#x)", "deploy/istio/mesh.yaml"),
        ("tutorials/one.md", "[a](../../README.md)", "README.md"),
    ],
)
def test_links_out_of_the_documentation_lead_into_the_repository(
    page: str, link: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPOSITORY_URL", raising=False)
    assert rendered(link, page) == "a"

    monkeypatch.setenv("REPOSITORY_URL", "https://example.com/x/y")
    assert rendered(link, page) == f"[a](https://example.com/x/y/blob/main/{path})"


def test_the_text_of_a_link_may_be_code_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPOSITORY_URL", raising=False)
    assert rendered("[`a[0]`](../extauthz/cli.py)") == "`a[0]`"


def test_titles_of_code_blocks_are_quoted() -> None:
    assert (
        rendered("```yaml title=invoices.yaml\na: 1\n```\n") == '```yaml title="invoices.yaml"\na: 1\n```\n'
    )
