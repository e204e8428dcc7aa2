"""The address and the credential of the admin REST API, from the environment."""

from pathlib import Path

import pytest

from extauthz.folders.rest_access import RestAccess, rest_access

URL = "https://extauthz.example.com"
SECRET = "sak_live_0123456789"  # of nothing


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"EXTAUTHZ_SERVICE_API_KEY": SECRET}, {"X-Service-Api-Key": SECRET}),
        ({"EXTAUTHZ_TOKEN": "a.b.c"}, {"Authorization": "Bearer a.b.c"}),
        ({"ADMIN_API_KEY": "a key with spaces"}, {"X-Admin-Api-Key": "a key with spaces"}),
        ({"ADMIN_API_KEY": SECRET, "EXTAUTHZ_TOKEN": ""}, {"X-Admin-Api-Key": SECRET}),
    ],
)
def test_one_credential_is_sent_in_its_header(variables: dict[str, str], header: dict[str, str]) -> None:
    access = rest_access({"EXTAUTHZ_URL": URL + "/", **variables})
    assert isinstance(access, RestAccess), access
    assert (access.url, access.headers) == (URL, header)
    assert not access.is_exposed
    assert SECRET not in repr(access)


def test_a_credential_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    access = rest_access({"EXTAUTHZ_URL": URL, "EXTAUTHZ_SERVICE_API_KEY_FILE": str(file)})
    assert isinstance(access, RestAccess), access
    assert access.headers == {"X-Service-Api-Key": SECRET}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, ["EXTAUTHZ_URL is not set", "there is no credential"]),
        ({"EXTAUTHZ_URL": "extauthz:8080", "EXTAUTHZ_TOKEN": "t"}, ["EXTAUTHZ_URL is 'extauthz:8080'"]),
        ({"EXTAUTHZ_URL": "ftp://x", "EXTAUTHZ_TOKEN": "t"}, ["EXTAUTHZ_URL is"]),
        ({"EXTAUTHZ_URL": "http://x:99999", "EXTAUTHZ_TOKEN": "t"}, ["EXTAUTHZ_URL is"]),
        ({"EXTAUTHZ_URL": "http://[::1", "EXTAUTHZ_TOKEN": "t"}, ["EXTAUTHZ_URL is"]),
        ({"EXTAUTHZ_URL": "http://x\r\n", "EXTAUTHZ_TOKEN": "t"}, ["EXTAUTHZ_URL is"]),
        ({"EXTAUTHZ_URL": f"https://u:{SECRET}@x", "EXTAUTHZ_TOKEN": "t"}, ["with a user or a password"]),
        ({"EXTAUTHZ_URL": f"{URL}/api/v1/", "EXTAUTHZ_TOKEN": "t"}, ["ends with /api/v1; leave that out"]),
        ({"EXTAUTHZ_URL": URL, "EXTAUTHZ_TOKEN": SECRET, "ADMIN_API_KEY": SECRET}, ["set one of them"]),
        ({"EXTAUTHZ_URL": URL, "EXTAUTHZ_TOKEN": f"{SECRET}\n"}, ["is there a line end"]),
        (
            {"EXTAUTHZ_URL": URL, "EXTAUTHZ_TOKEN_FILE": "/nowhere/token"},
            ["EXTAUTHZ_TOKEN_FILE '/nowhere/token'"],
        ),
        ({"EXTAUTHZ_URL": URL, "EXTAUTHZ_TOKEN_FILE": "a\0b"}, [""]),
        ({"EXTAUTHZ_URL": URL, "EXTAUTHZ_TOKEN": "t", "EXTAUTHZ_CA_FILE": "/nowhere"}, ["EXTAUTHZ_CA_FILE"]),
    ],
)
def test_every_problem_is_told_and_no_secret(variables: dict[str, str], said: list[str]) -> None:
    problems = rest_access(variables)
    assert isinstance(problems, list)
    assert len(problems) == len(said)
    for problem, part in zip(problems, said, strict=True):
        assert part in problem
        assert SECRET not in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("url", "exposed"),
    [("http://extauthz:8080", True), ("http://127.0.0.1:1", False), ("http://[::1]:1", False), (URL, False)],
)
def test_a_credential_without_tls_is_known(url: str, exposed: bool) -> None:
    access = rest_access({"EXTAUTHZ_URL": url, "EXTAUTHZ_TOKEN": "t"})
    assert isinstance(access, RestAccess)
    assert access.is_exposed is exposed
