"""`extauthz token explain` and `token verify --settings`, as commands, with keys from a real HTTP server."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command_line import run_extauthz
from tests.key_server_thread import identity_provider
from tests.tokens import SigningKey, claims

if TYPE_CHECKING:
    import subprocess

KEY = SigningKey.rs256("explained")
FORGER = SigningKey.rs256("explained", serial=1)


@dataclass(frozen=True)
class Service:
    """The settings of a service in a file, and its identity provider."""

    folder: Path
    issuer: str

    @property
    def settings(self) -> Path:
        return self.folder / "service.env"

    def token(self, key: SigningKey = KEY, **changes: object) -> str:
        now = int(time.time())
        return key.sign(claims(**({"iss": self.issuer, "iat": now - 5, "exp": now + 600} | changes)))

    def run(self, *arguments: str, text: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return run_extauthz("token", *arguments, environ=environ, stdin=text.encode())

    def explain(self, text: str) -> dict[str, tuple[str, str]]:
        """Return verdict and detail of each check, and the outcome under `""`."""
        answer = self.run("explain", "--json", "--settings", str(self.settings), text=text)
        assert text.strip().rpartition(".")[0] not in answer.stdout + answer.stderr
        document = json.loads(answer.stdout)
        assert answer.returncode == (0 if document["accepted"] else 1), answer
        found = {step["check"]: (step["verdict"], step["detail"]) for step in document["steps"]}
        return found | {"": ("ok" if document["accepted"] else "refused", document["reason"])}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with identity_provider(KEY) as server:
        found = Service(folder, server.issuer)
        found.settings.write_text(
            f"# of the service\nexport AUTH_SERVER_URL={server.issuer}\n"
            'OIDC_AUDIENCE="extauthz"\nROLES_CLAIM=roles\nEXCLUDED_ROLES=hidden\n'
        )
        yield found


def test_an_accepted_token_is_shown_with_the_attributes_of_rules(service: Service) -> None:
    text = service.token(roles=["clerk", "hidden"], dom="emea")
    answer = service.run("explain", "--settings", str(service.settings), text=f"Bearer {text}\n")
    assert answer.returncode == 0, answer
    assert 'user.id = "alice"' in answer.stdout
    assert 'user.roles = ["clerk"]' in answer.stdout
    assert 'user.domain = "emea"' in answer.stdout
    assert text.split(".")[2] not in answer.stdout
    assert {verdict for verdict, _ in service.explain(text).values()} == {"ok"}


def test_every_fault_of_a_token_is_shown_at_once(service: Service) -> None:
    found = service.explain(
        service.token(FORGER, sub=7, aud="other", exp=int(time.time()) - 60, roles={"clerk": 1}, dom=["emea"])
    )
    assert found["signature"] == ("refused", "the signature does not verify")
    assert found["subject"] == ("refused", "sub is a number, not a string")
    assert found["roles"] == ("refused", "claim 'roles' is an object, not a list of roles")
    assert found["domain"] == ("refused", "claim 'dom' is a list, not one string")
    assert found["provider"][0] == found["keys"][0] == "ok"
    assert found[""][0] == "refused"


def test_audience_and_dates_are_judged_separately(service: Service) -> None:
    found = service.explain(service.token(aud=["a", "b"], exp=int(time.time()) - 60))
    assert found["audience"] == ("refused", "aud names a, b; accepted: extauthz")
    assert found["dates"][0] == "refused"
    assert found["dates"][1].startswith("exp passed ")
    assert found["signature"] == ("ok", "it verifies")


@pytest.mark.parametrize(
    ("text", "check", "detail"),
    [
        ("", "form", "not three segments"),
        ("a.b", "form", "not three segments"),
        ("\x00" * 100, "form", "not three segments"),
        (KEY.sign(b"[]"), "claims", "payload: not a JSON object"),
        (
            KEY.sign(claims(iss="https://other.example")),
            "provider",
            "iss is 'https://other.example'; known are",
        ),
        (KEY.sign(claims(iss=None)), "provider", "iss is missing, or not a string"),
        (KEY.sign(claims(), alg="HS256"), "form", "alg is neither RS256 nor ES256 but HS256"),
    ],
)
def test_a_text_that_is_not_examined_further_is_reported_with_the_reason(
    service: Service, text: str, check: str, detail: str
) -> None:
    answer = service.run("explain", "--json", "--settings", str(service.settings), text=text)
    assert answer.returncode == 1, answer
    last = json.loads(answer.stdout)["steps"][-1]
    assert (last["check"], last["verdict"]) == (check, "refused")
    assert detail in last["detail"]


def test_a_provider_file_is_enough(service: Service, tmp_path: Path) -> None:
    provider = {"issuer": service.issuer, "audiences": ["extauthz"], "service_claim": "azp"}
    (tmp_path / "providers.yaml").write_text(json.dumps({"providers": [provider]}))
    answer = service.run(
        "explain", "--providers", str(tmp_path / "providers.yaml"), text=service.token(azp="batch")
    )
    assert answer.returncode == 0, answer
    assert 'user.kind = "service"' in answer.stdout


def test_a_provider_without_answer_is_reported(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "service.env"
    file.write_text(
        f"AUTH_SERVER_URL={service.issuer}\nOIDC_AUDIENCE=any\nJWKS_URI=http://127.0.0.1:1/jwks\n"
    )
    answer = service.run("explain", "--settings", str(file), text=service.token())
    assert answer.returncode == 1
    assert "keys_unavailable" in answer.stdout
    assert "not judged" in answer.stdout


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("AUTH_SERVER_URL", "line 1: NAME=VALUE is needed"),
        ("A=1\nA=2", "line 2: A is set twice"),
        ("MODE=nothing", "MODE is 'nothing'"),
        ("OIDC_ENABLED=false", "the service reads no tokens"),
        ("IDENTITY_PROVIDERS=/nowhere/providers.yaml", "cannot be read: No such file or directory"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    service: Service, tmp_path: Path, lines: str, problem: str
) -> None:
    file = tmp_path / "service.env"
    file.write_text(lines)
    for command in ("explain", "verify"):
        answer = service.run(command, "--settings", str(file), text="x")
        assert answer.returncode == 2, answer
        assert problem in answer.stderr
        assert answer.stderr.count("\n") == 1


def test_tokens_are_verified_by_the_settings_of_a_service(service: Service) -> None:
    good, forged = service.token(roles=["clerk"]), service.token(FORGER)
    text = f"{good}\n{forged}\nnot a token\n"
    answer = service.run("verify", "--settings", str(service.settings), text=text)
    assert answer.returncode == 0, answer
    verdicts = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [each["reason"] for each in verdicts] == ["ok", "token_bad_signature", "token_malformed"]
    assert verdicts[0]["claims"]["roles"] == ["clerk"]
    assert [each["claims"] for each in verdicts[1:]] == [None, None]


def test_settings_and_other_options_do_not_mix(service: Service) -> None:
    answer = service.run("verify", "--settings", str(service.settings), "--issuer", "x", text="")
    assert answer.returncode == 2
    assert "--settings goes with no other option" in answer.stderr
