import re
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.domain.host import MAX_HOST_LENGTH, HostProblem, HostRejected, canonical_host

SECURITY = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
TABLE = [
    line.strip("| ").split(" | ")
    for line in SECURITY.split("### Hosts that are refused\n", 1)[1].split("\n#", 1)[0].splitlines()
    if line.startswith("|")
][2:]
REFUSED = [
    (row[0].strip("`"), example)
    for row in TABLE
    for example in (re.findall("`([^`]+)`", row[2]) if len(row) > 2 else [])
]


def rejection(raw: str) -> str | None:
    host = canonical_host(raw)
    return host.reason.value if isinstance(host, HostRejected) else None


def test_every_reason_has_its_row_in_the_security_document() -> None:
    assert sorted(row[0].strip("`") for row in TABLE) == sorted(problem.value for problem in HostProblem)


@pytest.mark.parametrize(("reason", "raw"), REFUSED)
def test_documented_examples_are_refused_for_the_documented_reason(reason: str, raw: str) -> None:
    assert rejection(raw) == reason


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("acme.local", "acme.local"),
        ("ACME.Local", "acme.local"),
        ("acme.local:8443", "acme.local"),
        ("acme.local:1", "acme.local"),
        ("acme.local:65535", "acme.local"),
        ("acme.local.", "acme.local"),
        ("Acme.Local.:443", "acme.local"),
        ("localhost", "localhost"),
        ("a", "a"),
        ("9to5.example", "9to5.example"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("0xcafe.example", "0xcafe.example"),
        ("my_service.ns.svc.cluster.local", "my_service.ns.svc.cluster.local"),
        ("a--b.example", "a--b.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example:80", "xn--bcher-kva.example"),
        ("xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:9191", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:9191", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[2001:DB8::00A0:0:0]", "[2001:db8::a0:0:0]"),
        ("[2001:db8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]"),
        ("[::FFFF:7F00:1]", "[::ffff:127.0.0.1]"),
        ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_hosts_have_one_spelling(raw: str, host: str) -> None:
    assert canonical_host(raw) == host
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    "raw",
    [
        "", ".", "..", ".:80", ":80", "a..b", ".a.b", "a.b..", "a:", "a:b", "a:80:80", "a:-1",
        "a:0", "a:00", "a:99999", "a:\uff18\uff10", "a: 80", "a:80 ", " a", "a ", "a\t", "a\n",
        "a\r\nX: y", "a\0", "a\0.b", "a/b", "a\\b", "a?b", "a#b", "u@a", "u:p@a", "a@", "@a",
        "a,b", "a;b", "a%2e", "%61", "*.a", "*", "a'b", "a\"b", "a(b", "{a}", "a~b", "a$b",
        "é.example", "\u212aelvin", "a。b", "\uff41", "a\xadb", "a\u200db", "\ud800", "::1",
        "2001:db8::1", "[::1", "::1]", "[]", "[]:80", "[::1]]", "[[::1]]", "[::1]x", "[::1]:",
        "[::1]:0", "[::1].", "x[::1]", "[::g]", "[:::]", "[1:2:3]", "[::1%eth0]", "[::1%251]",
        "[v1.x]", "[127.0.0.1]", "[a.b]", "a[b]c", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01",
        "256.1.1.1", "1.2.3.4.5", "0x7f000001", "0x7f.0.0.1", "2130706433", "0", "a.1", "a.0x",
        "a.0x1f", "127.0.0.1..", "xn--", "xn--a-", "xn--example-", "xn--é", "xn--99999999999",
        "xn--999999999999999809999999a", "xn--" + "9" * 59,
        "XN--EXAMPLE-", "www.xn--google-.com", "xn---", "xn--0", "xn--bcher-kva-", "a" * 64,
        "a." + "b" * 64, "a." * 128, "a" * 10_000, "[" + ":" * 10_000, "a:" + "1" * 10_000,
    ],
)  # fmt: skip
def test_hosts_that_could_mean_two_things_are_refused(raw: str) -> None:
    assert rejection(raw) in {problem.value for problem in HostProblem}


def test_the_longest_name_passes() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(longest) == MAX_HOST_LENGTH
    assert canonical_host(longest + ".:65535") == longest
    assert rejection(longest + "c") == "too_long"


HOSTS = st.one_of(
    st.text(alphabet="aAxnN-0179.:[]%@_fF", max_size=20),
    st.text(alphabet="abz019-", max_size=12).map("xn--".__add__),
    st.text(alphabet="9a0", min_size=16, max_size=59).map("xn--".__add__),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded}]:1"),
    st.text(max_size=12),
)


@given(HOSTS)
def test_reading_a_canonical_host_again_changes_nothing(raw: str) -> None:
    host = canonical_host(raw)
    if isinstance(host, str):
        assert canonical_host(host) == host
        assert canonical_host(raw.upper()) == host
        assert host.isascii()
        assert host == host.lower()
    else:
        assert host.reason in HostProblem


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_every_spelling_of_an_ipv6_address_is_one_host(address: IPv6Address) -> None:
    assert canonical_host(f"[{address}]") == canonical_host(f"[{address.exploded}]:443")
