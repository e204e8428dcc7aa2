"""The findings of doctor in Istio objects and Kubernetes manifests: file, line and code."""

from pathlib import Path

import pytest
import yaml

from extauthz.proxyconfig.findings import Severity
from tests.doctor_files import (
    CONTAINER,
    ERROR,
    MESH,
    POLICY,
    WARNING,
    changed,
    examine,
    line_of,
)


def test_valid_istio_objects_need_only_the_removal_of_identity_headers(tmp_path: Path) -> None:
    assert [one.code for one in examine(tmp_path, mesh=MESH, policy=POLICY)] == ["identity-headers"]


@pytest.mark.parametrize(
    ("old", "new", "severity", "code", "at"),
    [
        (
            "failOpen: false",
            "includeRequestBodyInCheck: {maxRequestBytes: 4194305}",
            ERROR,
            "body-large",
            None,
        ),
        ("failOpen: false", "failOpen: true", ERROR, "fail-open", None),
        ("          timeout: 0.2s\n", "", ERROR, "timeout-missing", "service: extauthz.local"),
        ("timeout: 0.2s", "timeout: 600s", ERROR, "timeout-long", None),
        ("timeout: 0.2s", "timeout: 200ms", None, "", None),
        ('          statusOnError: "503"\n', "", WARNING, "status-on-error", "service: extauthz.local"),
        ("normalization: MERGE_SLASHES", "normalization: NONE", ERROR, "path-normalisation", None),
        ("normalization: MERGE_SLASHES", "normalization: BASE", WARNING, "path-normalisation", None),
        ("envoyExtAuthzGrpc", "envoyExtAuthzHttp", ERROR, "headers-withheld", "service: extauthz.local"),
    ],
)
def test_a_single_change_to_the_mesh_is_found_at_its_place(
    tmp_path: Path, old: str, new: str, severity: Severity | None, code: str, at: str | None
) -> None:
    text = changed(MESH, old, new)

    found = [(one.severity, one.code, one.line) for one in examine(tmp_path, mesh=text)]

    assert found == ([] if severity is None else [(severity, code, line_of(text, at or new))])


def test_an_undefined_provider_is_named_with_the_similar_defined_one(tmp_path: Path) -> None:
    policy = changed(POLICY, "name: extauthz\n  rules", "name: ext-authz\n  rules")

    (found,) = [one for one in examine(tmp_path, mesh=MESH, policy=policy) if one.severity is ERROR]

    assert (found.code, found.file) == ("provider-unknown", str(tmp_path / "policy.yaml"))
    assert found.line == line_of(policy, "name: ext-authz")
    assert found.fix == "set provider.name: extauthz"
    # Without the mesh configuration it is unknown.
    alone = examine(tmp_path, policy=policy)
    assert [one.code for one in alone] == ["provider-unverified", "identity-headers"]


def test_the_mesh_may_be_istios_own_config_map(tmp_path: Path) -> None:
    inner = "".join(
        f"    {line}\n" for line in yaml.safe_dump(yaml.safe_load(MESH)["spec"]["meshConfig"]).splitlines()
    )
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n" + inner
    bad = changed(text, "failOpen: false", "failOpen: true")

    found = examine(tmp_path, mesh=bad, policy=POLICY)

    assert [(one.code, one.line) for one in found if one.severity is ERROR] == [
        ("fail-open", line_of(bad, "failOpen: true"))
    ]


def test_a_policy_without_provider_or_without_rules_is_an_error(tmp_path: Path) -> None:
    nothing = changed(POLICY, "  rules: [{}]\n", "")
    unnamed = changed(POLICY, "  provider:\n    name: extauthz\n", "")

    assert "policy-without-rules" in {one.code for one in examine(tmp_path, mesh=MESH, policy=nothing)}
    assert "provider-unknown" in {one.code for one in examine(tmp_path, mesh=MESH, policy=unnamed)}


def test_peers_have_to_be_verified(tmp_path: Path) -> None:
    text = (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nspec:\n  mtls:\n    mode: PERMISSIVE\n"
    )

    (found,) = examine(tmp_path, peers=text)

    assert (found.code, found.line) == ("peers-unverified", 5)


@pytest.mark.parametrize(
    ("entry", "is_secret"),
    [
        ("POSTGRES_PASSWORD: hunter2", True),
        ("ADMIN_API_KEY: hunter2", True),
        ("some.password: hunter2", True),
        ("url: postgres://u:hunter2@db/x", True),
        ("key.pem: '-----BEGIN EC PRIVATE KEY----- hunter2'", True),
        ("note: sak_live_hunter2", True),
        ("POSTGRES_PASSWORD_FILE: /run/secrets/p", False),
        ("TOKEN_LEEWAY: '5'", False),
        ("TOKEN_MAX_BYTES: '16384'", False),
        ("JWKS_URI: https://idp.example.com/jwks", False),
        ("POSTGRES_PASSWORD: ''", False),
    ],
)
def test_a_config_map_holds_no_secret(tmp_path: Path, entry: str, is_secret: bool) -> None:
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n  OIDC_AUDIENCE: my-api\n  {entry}\n"
    )

    found = examine(tmp_path, map=text)

    assert [(one.severity, one.code, one.line) for one in found] == (
        [(ERROR, "secret-exposed", 6)] if is_secret else []
    )
    assert "hunter2" not in str(found)


def test_secrets_in_manifests_and_generators_are_found(tmp_path: Path) -> None:
    pod = CONTAINER + "            - name: ADMIN_API_KEY\n              value: hunter2\n"
    generator = (
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nconfigMapGenerator:\n"
        "  - name: x\n    literals:\n      - POSTGRES_PASSWORD=hunter2\n"
    )
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  key: hunter2\n"

    found = {(Path(str(one.file)).stem, one.code, one.line) for one in examine(
        tmp_path, pod=pod, generator=generator, secret=secret
    )}  # fmt: skip

    assert found == {
        ("pod", "secret-exposed", line_of(pod, "value: hunter2")),
        ("generator", "secret-exposed", 6),
        ("secret", "secret-in-file", 5),
    }


def test_unknown_variables_are_named(tmp_path: Path) -> None:
    text = CONTAINER + "            - name: OIDC_AUDIENCES\n              value: x\n"
    links = changed(CONTAINER, "      enableServiceLinks: false\n", "")

    (unknown,) = examine(tmp_path, pod=text)
    assert (unknown.code, unknown.line, unknown.fix) == (
        "variable-unknown",
        line_of(text, "OIDC_AUDIENCES"),
        "did you mean OIDC_AUDIENCE?",
    )
    assert [one.code for one in examine(tmp_path, pod=links)] == ["service-links"]
    # The variables of another container may have any name.
    other = CONTAINER.replace("extauthz", "shop").replace("OIDC_AUDIENCE", "OIDC_AUDIENCES")
    assert examine(tmp_path, pod=other) == []
