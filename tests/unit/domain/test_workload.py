"""Names of workloads: SPIFFE IDs in their one spelling, and the prefixes that rules may name."""

import pytest

from extauthz.domain.workload import names_of, peer_problem, written_problem


def test_a_spiffe_id_has_a_prefix_for_each_of_its_segments() -> None:
    assert names_of("spiffe://td.example/ns/prod") == (
        "spiffe://td.example/ns/prod",
        "spiffe://td.example/ns/prod/**",
        "spiffe://td.example/ns/**",
        "spiffe://td.example/**",
    )
    assert names_of("spiffe://td") == ("spiffe://td", "spiffe://td/**")


@pytest.mark.parametrize("name", ["web.internal", "CN=web,O=Acme", "https://example.org/a/b", "*.example"])
def test_another_name_has_no_prefix(name: str) -> None:
    assert names_of(name) == (name,)
    assert peer_problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["spiffe://td/a", "spiffe://td_1.example-x/A.b_c-d/...", "spiffe://1", "spiffe://td/" + "a" * 2036],
)
def test_a_spiffe_id_is_accepted(name: str) -> None:
    assert peer_problem(name) is None
    assert written_problem(name) is None
    assert written_problem(f"{name}/**") is None


@pytest.mark.parametrize(
    "name",
    [
        "", "spiffe:", "spiffe://", "spiffe:///a", "spiffe:/td/a", "spiffe:td", "SPIFFE://td/a", "Spiffe://td",
        "spiffe://TD/a", "spiffe://td/", "spiffe://td/a/", "spiffe://td//a", "spiffe://td/./a", "spiffe://td/..",
        "spiffe://td/a%2Fb", "spiffe://td:8080/a", "spiffe://user@td/a", "spiffe://td/a?b", "spiffe://td/a#b",
        "spiffe://td/a,spiffe://td/b", "spiffe://td/a spiffe://td/b", "spiffe://td/a;", "spiffe://td/\u00e4",
        "spiffe://t\u0131d/a", " spiffe://td/a", "spiffe://td/a\n", "spiffe://td/a\0", "spiffe://td/**",
        "spiffe://" + "t" * 256 + "/a", "spiffe://td/" + "a" * 2037, "x" * 2049,
    ],
)  # fmt: skip
def test_a_malformed_name_is_refused(name: str) -> None:
    assert peer_problem(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://**", "spiffe://*/a", "spiffe://td/*", "spiffe://td/*/**", "spiffe://td/a*/**", "spiffe://td**",
        "spiffe://td/a/**/**", "spiffe://td/**/a", "SPIFFE://td/**",
        "spiffe://TD/**", "web.internal/**", "a*",
    ],
)  # fmt: skip
def test_a_malformed_subject_of_a_rule_is_refused(name: str) -> None:
    assert written_problem(name) is not None
