"""Settings that match no token are refused with advice; every value that a token may hold is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.domain.provider_settings import claim_path_problem
from extauthz.settings import Settings, load_settings

ALONE = {"OIDC_ENABLED": "false", "POLICY_SOURCE": "files:/policies"}
CLAIMS = ("ROLES_CLAIM", "DOMAIN_CLAIM", "ADMIN_DOMAIN_CLAIM")


def refused(**environ: str) -> str:
    """Return the one problem with a setting."""
    found = load_settings(ALONE | environ)
    assert isinstance(found, list), found
    (problem,) = found
    assert problem.startswith(next(iter(environ)) + " is ")
    return problem


def loaded(**environ: str) -> Settings:
    found = load_settings(ALONE | environ)
    assert isinstance(found, Settings), found
    return found


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("$.roles", "roles"),
        ("$.realm_access.roles", "realm_access.roles"),
        ("$['realm_access']['roles']", "realm_access.roles"),
        ('$["https://example.com/roles"]', "https://example.com/roles"),
        ("$..roles", "roles"),
        ("$.roles[*]", "roles"),
        ("$", None),
        ("roles[*]", "roles"),
        ("roles[]", "roles"),
        ("roles[0]", "roles"),
        ("roles[:]", "roles"),
        ("realm_access.roles[*]", "realm_access.roles"),
        ("realm_access['roles']", "realm_access.roles"),
        ("roles[?(@.active)]", "roles"),
        ("roles.*", "roles"),
        ("roles.**", "roles"),
        ("resource_access.*.roles", None),
        ("*", None),
        (".roles", "roles"),
        ("roles.", "roles"),
        ("realm_access..roles", "realm_access.roles"),
        (".", None),
        ("/roles", "roles"),
        ("/realm_access/roles", "realm_access.roles"),
        ("#/realm_access/roles", "realm_access.roles"),
        ("/https:~1~1example.com~1roles", "https://example.com/roles"),
        ('"roles"', "roles"),
        ("'realm_access.roles'", "realm_access.roles"),
        ("`roles`", "roles"),
        ('realm_access."roles"', "realm_access.roles"),
        ("{{ roles }}", None),
        ("${ROLES_CLAIM}", None),
        ("$ROLES_CLAIM", None),
        ("<claim>", None),
        ("roles,groups", None),
    ],
)
def test_another_notation_for_a_claim_is_refused_with_what_to_write(
    name: str, path: str, instead: str | None
) -> None:
    problem = refused(**{name: path})
    if instead is None:
        assert "; write " not in problem
    else:
        assert problem.endswith(f"; write {instead}")
        assert getattr(loaded(**{name: instead}), name.lower()) == instead


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(
    "path",
    [
        "roles",
        "realm_access.roles",
        "https://example.com/roles",
        "https://example.com/claims.roles",
        "cognito:groups",
        "urn:zitadel:iam:org:project:roles",
        "resource_access.my-app.roles",
        "resource_access.my app.roles",
        "app_metadata/roles",
        "roles$",
        "a*b",
        "user's",
        "r\u00f4les",
        "_roles",
        "0",
    ],
)
def test_names_that_a_token_may_use_stay_legal(name: str, path: str) -> None:
    assert getattr(loaded(**{name: path}), name.lower()) == path


def test_white_space_around_a_claim_path_is_not_part_of_it() -> None:
    assert loaded(ROLES_CLAIM=" roles ").roles_claim == "roles"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"my-api"', "write my-api"),
        ("'my-api'", "write my-api"),
        ("`my-api`", "write my-api"),
        ('"my-api","other"', "quotes"),
        ('["my-api"]', "without brackets"),
        ('["my-api", "other"]', "without brackets"),
        ("my-api other", "separated by commas"),
        ("my-api,other another", "separated by commas"),
        ("{audience}", "template"),
        ("api://{{client_id}}", "template"),
        ("${OIDC_AUDIENCE}", "template"),
        ("$AUDIENCE", "template"),
        ("<client-id>", "template"),
        ("*", "'any'"),
        ("other,[my-api]", "not a list written as text"),
        ("Any", "'any'"),
        ("ANY", "'any'"),
    ],
)
def test_an_audience_that_matches_nothing_is_refused(value: str, said: str) -> None:
    assert said in refused(OIDC_AUDIENCE=value)


@pytest.mark.parametrize(
    "value",
    [
        "my-api",
        "https://api.example.com",
        "https://api.example.com/",
        "api://0b1c0c5e-5f0f-4d5c-9d0e-0a7a1f0f8a11",
        "0b1c0c5e-5f0f-4d5c-9d0e-0a7a1f0f8a11",
        "urn:example:api",
        "spiffe://example.org/api",
        "http://[::1]:8080",
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "anything",
        "123456789.apps.googleusercontent.com",
    ],
)
def test_audiences_that_a_token_may_name_stay_legal(value: str) -> None:
    assert loaded(OIDC_AUDIENCE=value).oidc_audience == (value,)
    assert loaded(OIDC_AUDIENCE=f"{value}, other").oidc_audience == (value, "other")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("https://login.microsoftonline.com/{tenantid}/v2.0", "your tenant's own id"),
        ("https://login.microsoftonline.com/{tenant}/v2.0", "your tenant's own id"),
        ("https://sts.windows.net/<tenant-id>/", "your tenant's own id"),
        ("https://login.microsoftonline.com/common/v2.0", "your tenant's id where 'common' is"),
        ("https://login.microsoftonline.com/organizations/v2.0", "'organizations'"),
        (
            "https://idp.example/realms/x/.well-known/openid-configuration",
            "write https://idp.example/realms/x",
        ),
        ("https://idp.example/.well-known/openid-configuration/", "write https://idp.example"),
        ("https://idp.example/.well-known/jwks.json", "write https://idp.example"),
        ("https://idp.example/?realm=x", "neither query nor fragment"),
        ("https://idp.example/#x", "neither query nor fragment"),
        ("${ISSUER}", "http or https URL"),
        ('"https://idp.example"', "http or https URL"),
    ],
)
def test_an_issuer_that_no_token_names_is_refused(value: str, said: str) -> None:
    assert said in refused(AUTH_SERVER_URL=value)


@pytest.mark.parametrize(
    "value",
    [
        "https://login.microsoftonline.com/0b1c0c5e-5f0f-4d5c-9d0e-0a7a1f0f8a11/v2.0",
        "https://login.microsoftonline.com/commonwealth/v2.0",
        "https://example.eu.auth0.com/",
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc",
        "http://localhost:8080/realms/x",
        "https://tenant.b2clogin.com/tfp/0b1c0c5e/b2c_1_signin/v2.0/",
    ],
)
def test_issuers_that_tokens_name_stay_legal(value: str) -> None:
    assert loaded(AUTH_SERVER_URL=value).auth_server_url == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("https://login.microsoftonline.com/{tenantid}/discovery/v2.0/keys", "placeholder"),
        ("https://idp.example/.well-known/openid-configuration", "left out, it is discovered"),
        ("https://idp.example/jwks#x", "fragment"),
    ],
)
def test_an_address_that_holds_no_key_set_is_refused(value: str, said: str) -> None:
    assert said in refused(JWKS_URI=value)


def test_an_address_of_keys_may_have_a_query() -> None:
    for value in (
        "https://t.b2clogin.com/x/discovery/keys?p=b2c_1",
        "https://idp.example/.well-known/jwks.json",
    ):
        assert loaded(JWKS_URI=value).jwks_uri == value


@pytest.mark.parametrize(
    "value",
    ['["offline_access","uma_authorization"]', '["offline_access"]', "[offline_access]", '"offline_access"',
     "'a','b'", 'a,"b"', "a,b\u200b", "*", "offline_access,*", "a,[b]"],
)  # fmt: skip
def test_excluded_roles_that_cannot_match_are_refused(value: str) -> None:
    refused(EXCLUDED_ROLES=value)


def test_excluded_roles_are_names() -> None:
    roles = ("offline_access", "default-roles-my realm", "a:b/c", "it's", "[x", "users:*")
    assert loaded(EXCLUDED_ROLES=", ".join(roles)).excluded_roles == roles


@pytest.mark.parametrize("name", ["TENANTS", "GRPC_TLS_CLIENT_SANS"])
def test_quoted_names_in_other_lists_are_refused(name: str) -> None:
    environ = {"GRPC_TLS_CERT": "/c", "GRPC_TLS_KEY": "/k", "GRPC_TLS_CLIENT_CA": "/ca"}
    assert "without quotes" in refused(**{name: '"acme"'}, **environ)
    loaded(**{name: "acme"}, **environ)


@given(st.lists(st.sampled_from(["$", ".", "[", "]", "*", "'", '"', "/", "~1", "a", "roles", "{", "#", "@"])))
def test_every_claim_path_is_examined_and_suggestions_are_valid(parts: list[str]) -> None:
    problem = claim_path_problem("".join(parts))
    if problem is not None and "; write " in problem:
        assert claim_path_problem(problem.partition("; write ")[2]) is None
