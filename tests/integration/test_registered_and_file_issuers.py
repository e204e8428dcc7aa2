"""A control plane with a file of IDENTITY_PROVIDERS: its issuers are not registered over REST as well."""

import json
from pathlib import Path
from typing import Any

from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import serving
from tests.waiting import await_true

PATH = "/admin/tenants/acme/identity-providers"


def provider(issuer: str, **members: Any) -> dict[str, Any]:
    return {"issuer": issuer, "jwks_uri": "https://keys.example/jwks", "audiences": "any"} | members


def test_an_issuer_of_the_file_is_409_and_one_that_the_file_names_later_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "providers.yaml"

    def write(*providers: dict[str, Any]) -> None:
        new = tmp_path / "new"
        new.write_text(json.dumps({"providers": [each | {"tenant": "globex"} for each in providers]}))
        new.replace(file)

    template = {"issuer_template": "https://sts.example/{id}/", "issuer_values": ["a", "b"]}
    of_template = {name: value for name, value in provider("").items() if name != "issuer"} | template
    write(provider("spiffe://globex", aliases=["globex.example"]), of_template)
    saas: dict[str, Any] = {"MODE": "saas", "OIDC_ENABLED": "true", "MIGRATE_ON_START": "true"}
    with postgres_in_folder() as postgres:
        postgres.start()
        with serving(tmp_path, postgres.environment, **saas, IDENTITY_PROVIDERS=str(file)) as plane:
            plane.start("control-plane")
            for slug in ("acme", "globex"):
                assert plane.rest.ask("POST", "/admin/tenants", {"name": slug, "slug": slug}).status == 201
            for rival in (
                provider("spiffe://globex"),
                provider("https://free.example", aliases=["globex.example"]),
                provider("https://sts.example/b/"),
                {"issuer_url": "https://sts.example/a/", "audience": "mesh"},
            ):
                for path in (PATH, PATH.replace("acme", "globex")):
                    assert plane.rest.ask("POST", path, rival).status == 409, rival
            assert plane.rest.ask("POST", PATH, provider("spiffe://acme")).status == 201
            write(provider("spiffe://acme"), provider("spiffe://free"))
            await_true(
                lambda: "issuer_registered_twice" in plane.process.output.read_text(),
                what="the log of an ambiguous issuer",
            )
            # The file is followed: what it names now is taken, what it named before is free.
            assert plane.rest.ask("POST", PATH, provider("spiffe://free")).status == 409
            assert plane.rest.ask("POST", PATH, provider("spiffe://globex")).status == 201
