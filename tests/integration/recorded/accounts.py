"""Identity providers, tenants, hosts and service keys with a wrong meaning."""

from collections.abc import Iterator, Mapping

from tests.integration.recorded.documents import PROVIDER, Document
from tests.integration.recorded.sent import KEYS, PROVIDERS, TENANTS, Sent, sent

_URLS = (
    "http://login.example.com", "https://login.example.com/", "https://login.example.com?x=1", "https://",
    "https://login.example.com#x", "https://user@login.example.com", "https://u:p@login.example.com",
    "ftp://login.example.com", "login.example.com", "//login.example.com", "HTTPS://login.example.com",
    "https://login.example.com:0", "https://login.example.com:99999", "https://login.example.com:x",
    "https://LOGIN.example.com", "https://[::1", "https://[::1]/x", "https://127.0.0.1/x", "https://10.0.0.1/x",
    "https://localhost/x", "https://169.254.169.254/latest", "https://login..example.com", "https://a b/",
    "https://bücher.example", "https://login.example.com/a/../b", "https://login.example.com/%2e%2e/x",
    "https://login.example.com/\t", "https://x" + "x" * 2000, "file:///etc/passwd", "javascript:alert(1)",
)  # fmt: skip
_CLAIMS: Mapping[str, object] = {
    "text": "x",
    "unknown member": {"groups_claim": "groups"},
    "empty paths": {"roles_claim": "", "domain_claim": "", "admin_domain_claim": ""},
    "empty part": {"roles_claim": "a..b", "domain_claim": ".a", "admin_domain_claim": "a."},
    "17 parts": {"roles_claim": ".".join("a" * 17)},
    "roles text": {"excluded_roles": "x"},
    "roles wrong": {"excluded_roles": [None, 1, "", "*", "a,b"]},
    "roles twice": {"excluded_roles": ["a", "a"]},
    "roles none": {"excluded_roles": []},
    "nulls": {"roles_claim": None, "domain_claim": None, "admin_domain_claim": None, "excluded_roles": None},
    "list": [],
}
_AUDIENCES: tuple[object, ...] = (
    ["a", "b"], ["a", "a"], ["any"], ["any", "a"], [], [""], [None, 1], "any", "a,b", ["a,b"], {}, " a",
    ["x"] * 200,
)  # fmt: skip
_HOSTS: tuple[object, ...] = (
    ["a.example", "a.example"], ["A.Example"], ["*.example"], ["a.example:80"], [""], [None], ["127.0.0.1"],
    ["[::1]"], ["https://a.example"], ["a.example", 7, "", "b"], ["acme.local"], ["SPARE.example."], "a.example",
    [f"h{number}.example" for number in range(1001)], ["*"], ["a_b.example"], ["-a.example"],
)  # fmt: skip
_SLUGS = (
    "acme",
    "-a",
    "a-",
    "a--b",
    "A",
    "a_b",
    "a.b",
    "x" * 63,
    "x" * 64,
    "0",
    "default",
    "admin",
    "a b",
    "é",
)


def accounts() -> Iterator[Sent]:
    """Yield all of them."""
    for number, url in enumerate(_URLS):
        provider = dict(PROVIDER)
        yield sent(f"issuer {number} {url!a:.40}", "POST", PROVIDERS, provider | {"issuer_url": url})
        yield sent(f"key set {number} {url!a:.40}", "POST", PROVIDERS, provider | {"jwks_uri": url})
    for name, config in _CLAIMS.items():
        yield sent(f"claims: {name}", "POST", PROVIDERS, dict(PROVIDER) | {"claim_config": config})
    for number, audience in enumerate(_AUDIENCES):
        yield sent(f"audience {number}", "POST", PROVIDERS, dict(PROVIDER) | {"audience": audience})
    yield sent("second active provider", "POST", PROVIDERS, dict(PROVIDER) | {"active": True})
    yield sent(
        "nothing right", "POST", PROVIDERS, {"issuer_url": "x", "audience": [], "claim_config": {"x": 1}}
    )
    for number, hosts in enumerate(_HOSTS):
        yield sent(f"hosts {number}", "PUT", f"{TENANTS}/spare/hosts", {"hosts": hosts})
        yield sent(f"bare hosts {number}", "PUT", f"{TENANTS}/spare/hosts", hosts)
    for slug in _SLUGS:
        yield sent(f"slug {slug!a:.20} of {len(slug)}", "POST", TENANTS, {"name": "x", "slug": slug})
    for status in ("active", "Active", "deleted", "suspended"):
        yield sent(f"status {status}", "PATCH", f"{TENANTS}/spare", {"status": status})
    for name, patch in (
        ("slug", {"slug": "x"}),
        ("null status", {"status": None}),
        ("empty", {}),
        ("id", {"id": 1}),
    ):
        yield sent(f"patch: {name}", "PATCH", f"{TENANTS}/spare", patch)
    keys: tuple[tuple[str, Document], ...] = (
        ("bootstrap", {"bootstrap": True}), ("parent", {"parent": "x"}), ("key", {"key": "sak_live_x"}),
        ("minimal", {"name": "k", "scopes": ["check"]}), ("description of 1025", {"description": "x" * 1025}),
    )  # fmt: skip
    for name, key in keys:
        yield sent(
            f"key: {name}",
            "POST",
            KEYS,
            key if name == "minimal" else {"name": "k", "scopes": ["check"]} | key,
        )
    for caller in ("keys:write", "tenant"):
        for prefix in ("/", "", "a.example", "a.example/", "*.example/x", "*/x", "/a//b", "/a/../b", "/%61", "/{id}",
                       "https://a.example/x", "/a?b", "A.Example/X", "/é", "/a/**", 7, None):  # fmt: skip
            key = {"name": "k", "scopes": ["resources:write"], "service_name": "s", "prefixes": [prefix]}
            yield sent(f"{caller}: prefix {prefix!r}", "POST", KEYS, key, caller=caller)
