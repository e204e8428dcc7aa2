"""`extauthz policy import`: what it writes, what it names, and what it refuses to read."""

import json
import os
from pathlib import Path

import pytest

from extauthz.commands.policy_import import ImportArguments
from extauthz.commands.policy_import import run as run_import
from tests.command_line import run_extauthz
from tests.docs.samples import samples

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act
"""
POLICY = """p, editor, /articles/*, GET, allow
p, editor, /articles/secret, GET, deny
g, alice, editor
"""
ALLOW_GET = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get, namespace: shop}
spec:
  rules:
  - to:
    - operation: {methods: [GET]}
"""
DENY_ADMIN = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  action: DENY
  rules:
  - to:
    - operation: {paths: [/admin*]}
"""


@pytest.fixture
def casbin(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "model.conf").write_text(MODEL)
    (tmp_path / "policy.csv").write_text(POLICY)
    return tmp_path / "model.conf", tmp_path / "policy.csv"


def test_a_casbin_policy_becomes_a_folder_that_validates_and_passes_its_cases(
    tmp_path: Path, casbin: tuple[Path, Path]
) -> None:
    out = tmp_path / "out"
    ended = run_extauthz("policy", "import", "--from", "casbin", *casbin, "--out", out)
    assert (ended.returncode, ended.stderr) == (
        0,
        "set EXCLUDED_ROLES=offline_access,uma_authorization,editor\n",
    )
    assert sorted(path.name for path in out.iterdir()) == ["cases.yaml", "policies.yaml"]
    assert "# policy.csv:2: p, editor, /articles/secret, GET, deny" in (out / "policies.yaml").read_text()
    assert run_extauthz("policy", "validate", out).returncode == 0
    assert run_extauthz("policy", "fmt", "--check", out).returncode == 0
    tested = run_extauthz("policy", "test", out)
    assert tested.returncode == 0
    assert "Casbin answers false to editor, /articles/secret, GET: ok" in tested.stdout


def test_without_out_the_document_is_on_stdout_and_validates(
    tmp_path: Path, casbin: tuple[Path, Path]
) -> None:
    model, policy = casbin
    ended = run_extauthz("policy", "import", "--from", "casbin", "--model", model, "--policy", policy)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "all.yaml").write_text(ended.stdout)
    assert run_extauthz("policy", "validate", tmp_path / "folder").returncode == 0


def test_what_was_not_taken_is_named_with_its_place_in_text_json_and_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "policies.yaml").write_text(
        ALLOW_GET.replace("{methods: [GET]}", '{methods: [GET], ports: ["80"]}') + "---\n" + DENY_ADMIN
    )
    source = tmp_path / "policies.yaml"
    ended = run_extauthz("policy", "import", "--from", "istio", source)
    assert ended.returncode == 1
    line = (
        f"{source}:7: AuthorizationPolicy shop/get, rule 1, operation.ports '80': the port of the workload "
        "is not known here (left out, which allows less); keep this rule in Istio, or leave the condition "
        "out of the source"
    )
    assert ended.stderr == f"not taken: {line}\n"
    assert f"# - {line}" in ended.stdout
    answer = json.loads(run_extauthz("policy", "import", "--from", "istio", source, "--json").stdout)
    assert (answer["ok"], answer["imported"]) == (False, True)
    assert answer["objects"]["attribute_policies"] == 1
    assert answer["not_taken"][0] | {"instead": ""} == {
        "file": str(source),
        "line": 7,
        "object": "AuthorizationPolicy shop/get, rule 1",
        "member": "operation.ports '80'",
        "reason": "the port of the workload is not known here",
        "instead": "",
        "effect": "left_out",
    }
    assert [each["effect"] for each in answer["policies"]["attribute_policies"]] == ["deny"]


def test_a_deny_that_cannot_be_taken_imports_nothing(tmp_path: Path) -> None:
    source = tmp_path / "policies.yaml"
    source.write_text(ALLOW_GET + "---\n" + DENY_ADMIN.replace("paths: [/admin*]", 'ports: ["9000"]'))
    out = tmp_path / "out"
    ended = run_extauthz("policy", "import", "--from", "istio", source, "--out", out)
    assert ended.returncode == 1
    assert not out.exists()
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1].startswith("extauthz: nothing is imported: ")
    answer = json.loads(run_extauthz("policy", "import", "--from", "istio", source, "--json").stdout)
    assert (answer["ok"], answer["imported"], answer["policies"]) == (False, False, {})
    assert set(answer["objects"].values()) == {0}


def test_a_folder_that_exists_is_not_written_to(tmp_path: Path, casbin: tuple[Path, Path]) -> None:
    ended = run_extauthz("policy", "import", "--from", "casbin", *casbin, "--out", tmp_path)
    assert ended.returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.conf", "policy.csv"]
    (tmp_path / "empty").mkdir()
    ended = run_extauthz("policy", "import", "--from", "casbin", *casbin, "--out", tmp_path / "empty")
    assert ended.returncode == 0


def test_a_folder_of_istio_files_is_read_for_one_workload(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "all.yaml").write_text(
        ALLOW_GET.replace("namespace: shop", "namespace: istio-system")
        + "---\n"
        + DENY_ADMIN.replace("spec:", "spec:\n  selector: {matchLabels: {app: web}}")
        + "---\n"
        + DENY_ADMIN.replace("no-admin", "elsewhere").replace("shop", "bank")
    )
    ended = run_extauthz("policy", "import", "--from", "istio", tmp_path / "mesh")
    assert ended.returncode == 2
    assert "3 targets (bank, istio-system, shop/app=web); name one workload with --workload" in ended.stderr
    for labels, found in (("app=web,v=1", 2), ("app=db", 1)):
        given = ["--workload", f"shop/{labels}", "--json"]
        answer = json.loads(
            run_extauthz("policy", "import", "--from", "istio", tmp_path / "mesh", *given).stdout
        )
        assert len(answer["policies"]["attribute_policies"]) == found, labels
        assert any("shop" in note or "bank" in note for note in answer["notes"])


def test_the_policies_of_a_typed_list_are_read(tmp_path: Path) -> None:
    entries = "".join(f"- {text.strip()}\n".replace("\n", "\n  ")[:-2] for text in (ALLOW_GET, DENY_ADMIN))
    file = tmp_path / "list.yaml"
    file.write_text(f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicyList\nitems:\n{entries}")
    ended = run_extauthz("policy", "import", "--from", "istio", file, "--json")
    assert ended.returncode == 0, ended.stderr
    policies = json.loads(ended.stdout)["policies"]["attribute_policies"]
    assert [each["effect"] for each in policies] == ["allow", "deny"]


@pytest.mark.parametrize("kind", ["link to a folder", "suffix", "pipe", "broken link"])
def test_what_could_hold_a_policy_and_is_not_read_with_its_folder_is_refused(
    tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "get.yaml").write_text(ALLOW_GET)
    other = tmp_path / "other"
    other.mkdir()
    (other / "deny.yaml").write_text(DENY_ADMIN)
    match kind:
        case "link to a folder":
            (folder / "more").symlink_to(other)
        case "suffix":
            (folder / "deny.YAML").write_text(DENY_ADMIN)
        case "pipe":
            os.mkfifo(folder / "deny.yaml")
        case _:
            (folder / "deny.yaml").symlink_to(other / "none.yaml")
    ended = run_extauthz("policy", "import", "--from", "istio", folder)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert str(folder) in ended.stderr


def test_a_folder_mounted_by_kubernetes_is_read_once(tmp_path: Path) -> None:
    files = tmp_path / "..2026_11_30"
    files.mkdir()
    (files / "get.yaml").write_text(ALLOW_GET)
    (tmp_path / "..data").symlink_to(files.name)
    (tmp_path / "get.yaml").symlink_to("..data/get.yaml")
    ended = run_extauthz("policy", "import", "--from", "istio", tmp_path, "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["objects"]["attribute_policies"] == 1


def test_a_label_that_decides_and_is_not_named_is_asked_for(tmp_path: Path) -> None:
    selected = DENY_ADMIN.replace("spec:", "spec:\n  selector: {matchLabels: {app: web, version: v1}}")
    (tmp_path / "p.yaml").write_text(f"{ALLOW_GET}---\n{selected}")

    def policies(labels: str) -> int | str:
        given = ["--workload", f"shop{labels}", "--json"]
        ended = run_extauthz("policy", "import", "--from", "istio", tmp_path / "p.yaml", *given)
        if ended.returncode == 2:
            return ended.stderr
        return len(json.loads(ended.stdout)["policies"]["attribute_policies"])

    assert "selects the label 'version'" in str(policies("/app=web"))
    assert "selects the label 'app'" in str(policies(""))
    assert policies("/app=web,version=v1") == 2
    assert policies("/app=web,version=") == policies("/app=db") == 1


def test_the_imports_of_several_workloads_are_one_folder(tmp_path: Path) -> None:
    mesh = DENY_ADMIN.replace("namespace: shop", "namespace: istio-system")
    (tmp_path / "p.yaml").write_text(f"{ALLOW_GET}---\n{mesh}")
    for service in ("web", "db"):
        given = ["--workload", f"shop/app={service}", "--service", service, "--host", f"{service}.example"]
        out = tmp_path / "all" / service
        assert (
            run_extauthz(
                "policy", "import", "--from", "istio", tmp_path / "p.yaml", *given, "--out", out
            ).returncode
            == 0
        )
    assert run_extauthz("policy", "validate", tmp_path / "all").returncode == 0


def test_an_istio_import_has_a_case_for_each_rule_and_is_in_the_form_of_fmt(tmp_path: Path) -> None:
    source, out = tmp_path / "policies.yaml", tmp_path / "out"
    conditions = (
        "when: [{key: 'request.headers[x-a]', values: [b]}, {key: 'request.auth.claims[g]', values: [h]}]"
    )
    caller = "from: [{source: {requestPrincipals: [i@example/s], ipBlocks: [10.0.0.0/8], namespaces: [a]}}]"
    source.write_text(f"{ALLOW_GET}  - {caller}\n    {conditions}\n---\n{DENY_ADMIN}")
    assert run_extauthz("policy", "import", "--from", "istio", source, "--out", out).returncode == 0
    environ = {"CONDITION_HEADERS": "x-a"}
    assert run_extauthz("policy", "fmt", "--check", out).returncode == 0
    assert run_extauthz("policy", "validate", out, environ=environ).returncode == 0
    tested = run_extauthz("policy", "test", out, environ=environ)
    assert tested.stdout.endswith("3 of 3 cases as expected\n"), tested.stdout
    cases = (out / "cases.yaml").read_text()
    assert [cases.count(f"decision: {word}") for word in ("allow", "deny")] == [2, 1]


def refused(tmp_path: Path, source: str, *texts: bytes) -> str:
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"source{number}")
        files[-1].write_bytes(text)
    ended = run_extauthz("policy", "import", "--from", source, *files)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    return ended.stderr


def with_deny(old: str, new: str) -> bytes:
    return f"{ALLOW_GET}---\n{DENY_ADMIN.replace(old, new)}".encode()


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%s: &%s [%s]\n" % (name, name, b",".join([b"*%s" % before] * 10))
    for before, name in zip(b"a b c d e f".split(), b"b c d e f g".split(), strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\x00\x01\x02", "NUL"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        (b"", "no AuthorizationPolicy"),
        (b"a: [", "not YAML"),
        (b"kind: AuthorizationPolicy\n", "apiVersion"),
        (BOMB, "aliases"),
        (b"[" * 5000, ""),
        (ALLOW_GET.replace("name: get", "name: {{ .Values.name }}").encode(), "template"),
        (ALLOW_GET.replace("security.istio.io/v1", "policy.linkerd.io/v1alpha1").encode(), "apiVersion"),
        (ALLOW_GET.replace("spec:", "spec:\n  acton: DENY").encode(), "unknown member 'acton'"),
        (ALLOW_GET.replace("spec:", "spec:\n  action: deny").encode(), "'deny' is none of"),
        (ALLOW_GET.replace("spec:", "spec:\n  selector: [a]").encode(), "selector"),
        (
            b"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: x",
            "spec",
        ),
        (f"{ALLOW_GET}---\n{ALLOW_GET}".encode(), "occurs twice"),
        (ALLOW_GET.replace("spec:", "Spec:").encode(), "unknown member 'Spec'"),
        (f"{ALLOW_GET}action: DENY\n".encode(), "unknown member 'action'"),
        (f"{ALLOW_GET}---\n{DENY_ADMIN.replace(', namespace: shop', '')}".encode(), "namespace"),
        (f"{ALLOW_GET}  rules: []\n".encode(), "twice"),
        (
            with_deny("kind: AuthorizationPolicy", "kind: authorizationPolicy"),
            "'authorizationPolicy' is unknown",
        ),
        (with_deny("kind: AuthorizationPolicy\n", ""), "no kind"),
        (with_deny("kind: AuthorizationPolicy", "kind: null"), "no kind"),
        (f"{ALLOW_GET}---\n- {{a: 1}}\n".encode(), "is not an object"),
        (f"{ALLOW_GET}---\ntext\n".encode(), "is not an object"),
        (f"{ALLOW_GET}---\napiVersion: v1\nkind: List\nitems: {{a: 1}}\n".encode(), "items of the List"),
        (f"{ALLOW_GET}---\nkind: AuthorizationPolicyList\n".encode(), "items of the AuthorizationPolicyList"),
    ],
)
def test_unreadable_istio_files_are_one_line_and_status_2(tmp_path: Path, text: bytes, said: str) -> None:
    assert said in refused(tmp_path, "istio", text)


@pytest.mark.parametrize(
    ("model", "policy", "said"),
    [
        (MODEL, b"\xff", "not UTF-8"),
        (MODEL.replace("[matchers]\nm = ", "#"), POLICY.encode(), "matchers"),
        (MODEL.replace("keyMatch(", "keyMatch(("), POLICY.encode(), "not one expression"),
        ("[request_definition]\nr = sub\n", POLICY.encode(), "does not define"),
        (MODEL, b"a\0b", "NUL"),
        (MODEL, b"# all\rp, mallory, /a, GET, deny\n", "source1:1: holds a carriage return"),
    ],
)
def test_unreadable_casbin_files_are_one_line_and_status_2(
    tmp_path: Path, model: str, policy: bytes, said: str
) -> None:
    assert said in refused(tmp_path, "casbin", model.encode(), policy)


def test_missing_and_wrong_files_are_status_2(tmp_path: Path, casbin: tuple[Path, Path]) -> None:
    for files in (
        [],
        [casbin[0]],
        [casbin[1]],
        [casbin[0], casbin[0], casbin[1]],
        [tmp_path / "none"],
        [tmp_path],
    ):
        assert run_extauthz("policy", "import", "--from", "casbin", *files).returncode == 2, files
    for arguments in (["--from", "istio"], ["--from", "istio", tmp_path / "none"], ["--from", "opa"], []):
        assert run_extauthz("policy", "import", *arguments).returncode == 2, arguments
    ended = run_extauthz("policy", "import", "--from", "istio", casbin[0], "--workload", "/app")
    assert ended.returncode == 2


def test_another_role_model_is_refused(casbin: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    given = ImportArguments(source="casbin", files=casbin)
    assert run_import({"CASBIN_MODEL_PATH": str(casbin[0])}, given) == 2
    assert "CASBIN_MODEL_PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "service"),
    [("casbin model.conf policy.csv", "imported"), ("istio istio.yaml --service shop", "shop")],
)
def test_the_page_shows_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, service: str
) -> None:
    own = [sample for sample in samples() if sample.page.name == "coming-from.md"]
    for sample in own:
        if sample.language == "text" and sample.title is not None:
            (tmp_path / sample.title).write_text(sample.text)
    monkeypatch.chdir(tmp_path)
    written = run_extauthz("policy", "import", "--from", *arguments.split()).stdout
    shown = [
        each.text for each in own if each.language == "yaml" and f"serviceName: {service}\n" in each.text
    ]
    assert [text for text in shown if text in written] == shown != []
